"""Checkpoints for tests, written without moeq: header and bytes by hand."""

import json
import math

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

NAMES = {
    "bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64", "int8": "I8", "uint8": "U8",
    "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
BF16 = np.dtype(ml_dtypes.bfloat16)


def write_safetensors(path, tensors, metadata=None):
    """tensors: name -> array, or name -> (dtype as the format spells it, shape, bytes)."""
    header, data, offset = {}, [], 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, value in tensors.items():
        if isinstance(value, tuple):
            dtype, shape, raw = value
        else:
            dtype, shape, raw = NAMES[value.dtype.name], value.shape, value.tobytes()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


def normal(seed, shape, dtype=BF16):
    return np.random.default_rng(seed).standard_normal(shape, np.float32).astype(dtype)


def config(layers, experts, hidden, width):
    return {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": hidden,
        "num_hidden_layers": layers, "num_experts": experts, "moe_intermediate_size": width, "num_experts_per_tok": 2,
        "torch_dtype": "bfloat16", "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip


def projection(layer, expert, name):
    return f"model.layers.{layer}.mlp.experts.{expert}.{name}_proj.weight"


def expert_weights(layers, experts, hidden, width, dtype=BF16):
    """Per-expert 2-D weights of qwen3_moe: name -> array."""
    tensors, seed = {}, 1
    for layer in range(layers):
        for expert in range(experts):
            for name, shape in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
                tensors[projection(layer, expert, name)] = normal(seed, shape, dtype)
                seed += 1
    return tensors


def stacked(tensors, layer, experts, stack):
    """[E, R, C] as moeq stacks it."""
    if stack == "down_proj":
        return np.stack([tensors[projection(layer, e, "down")] for e in range(experts)])
    return np.stack(
        [np.concatenate([tensors[projection(layer, e, n)] for n in ("gate", "up")]) for e in range(experts)]
    )


def write_model(folder, layers=2, experts=3, hidden=64, width=32, dtype=BF16, files=2):
    """A sharded qwen3_moe checkpoint; returns its tensors. Experts are spread over the files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model.embed_tokens.weight": normal(1001, (32, hidden), dtype)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "self_attn.q_proj.weight"] = normal(2000 + layer, (hidden, hidden), dtype)
        tensors[prefix + "mlp.gate.weight"] = normal(3000 + layer, (experts, hidden), dtype)
        tensors[prefix + "input_layernorm.weight"] = normal(4000 + layer, (hidden,), dtype)
    tensors |= expert_weights(layers, experts, hidden, width, dtype)
    tensors["lm_head.weight"] = normal(1002, (32, hidden), dtype)
    names = list(tensors)
    weight_map = {}
    for index in range(files):
        file = f"model-{index + 1:05}-of-{files:05}.safetensors"
        chosen = names[index * len(names) // files : (index + 1) * len(names) // files]
        write_safetensors(folder / file, {name: tensors[name] for name in chosen}, {"format": "pt"})
        weight_map |= dict.fromkeys(chosen, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config(layers, experts, hidden, width)))
    (folder / "tokenizer.json").write_text("{}")
    return tensors


def elements(tensors):
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def tree(folder):
    """Every file below a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
