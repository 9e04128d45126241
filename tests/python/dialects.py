"""What the tests of dialects share: checkpoints converted by moeq, and files as other projects see them."""

import json
import pathlib

import numpy as np
from checkpoints import BF16, config, normal, write_safetensors

import moeq

TINY_MOE = pathlib.Path(__file__).resolve().parents[1] / "data" / "tiny-moe"
LAYER = "model.layers.0."
EXPERTS = LAYER + "mlp.experts."
STACKS = ("gate_up_proj", "down_proj")


def write_fused(folder, experts, hidden, width, dtype=BF16, model_type="qwen3_moe"):
    """A checkpoint with one tensor for all experts, [out, in] each; returns its tensors."""
    folder.mkdir(parents=True)
    tensors = {
        EXPERTS + "down_proj": normal(1, (experts, hidden, width), dtype),
        EXPERTS + "gate_up_proj": normal(2, (experts, 2 * width, hidden), dtype),
        LAYER + "mlp.gate.weight": normal(3, (experts, hidden), dtype),
        LAYER + "self_attn.q_proj.weight": normal(4, (64, 64), dtype),
    }
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    text = config(1, experts, hidden, width) | {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(text))
    return tensors


def convert(source, target, **arguments):
    """moeq.convert, and what its target says about quantization in config.json."""
    moeq.convert(source, target, durable=False, **arguments)
    return json.loads((target / "config.json").read_text())["quantization_config"]


def load_files(folder):
    """All tensors of a folder as torch has them, by name."""
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def parts(tensors, name):
    """What lies below a parameter, by the rest of the name."""
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + ".")}


def save_files(folder, tensors, quantization=None, **more):
    """A checkpoint of one file as safetensors writes it, with another project's section in config.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    text = {"model_type": "qwen3_moe", "torch_dtype": "bfloat16"} | more
    if quantization is not None:
        text["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(text))


def dense(reader, stack, dtype=None):
    """A stack as moeq decodes it, [experts, rows, columns], as a torch tensor."""
    import torch

    with reader.load(stack) as q:
        found = torch.from_dlpack(q.dequantize(dtype=dtype)).clone()
    return found.reshape(-1, *found.shape[-2:])


def projections(reader, dtype=None, prefix=EXPERTS):
    """Every 2-D expert weight that a reader decodes, by the name that per-expert files give it."""
    found = {}
    names = [stack.name for stack in reader.stacks]
    for stack in names:
        if not stack.startswith(prefix):
            continue
        kind = stack[len(prefix) :].removesuffix("_proj")
        for expert, weight in enumerate(dense(reader, stack, dtype)):
            halves = weight.chunk(2) if kind == "gate_up" else (weight,)
            for name, half in zip(kind.split("_"), halves, strict=True):
                found[f"{prefix}{expert}.{name}_proj.weight"] = half
    return found


def same_bits(a, b):
    """Equal type, shape and bits; -0.0 is not 0.0."""
    import torch

    as_int = {2: torch.int16, 4: torch.int32, 1: torch.uint8}
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().view(as_int[a.element_size()]), b.contiguous().view(as_int[b.element_size()]))
    )


def as_torch(array):
    """A NumPy array, of bf16 too, as a torch tensor."""
    import torch

    if array.dtype == BF16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())
