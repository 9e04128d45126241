"""What the tests of moeq.transformers share: tiny models in files, and what a quantized one must be."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.transformers has nothing to stand on")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: there is nothing to load with"
)

from families import models  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch_weights import one_thread  # noqa: E402, F401

from moeq.torch import MoeqTensor  # noqa: E402
from moeq.transformers import MoeqConfig  # noqa: E402

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")

transformers.utils.logging.disable_progress_bar()

FAMILIES = ["qwen3_moe", "mixtral", "deepseek_v3", "glm4_moe", "olmoe", "gpt_oss", "llama4", "qwen3_vl_moe",
            "nemotron_h"]  # fmt: skip
SPECS = ["int8", "nf4", "nf4:64,nested", "fp8_e4m3", "fp8_e4m3:block128x128"]


@functools.cache
def _home():
    return tempfile.TemporaryDirectory(prefix="moeq-transformers-")


@functools.cache
def dense_model(model_type):
    """The model whose weights the files have. Not to be changed."""
    return models.build(model_type)


@functools.cache
def folder_of(model_type):
    """Its files. Not to be changed."""
    folder = pathlib.Path(_home().name) / model_type
    dense_model(model_type).save_pretrained(folder)
    return folder


def load(model_type, spec="nf4", folder=None, info=False, **options):
    """The model out of its files; spec None: no quantization_config."""
    if spec is not None:
        options["quantization_config"] = spec if isinstance(spec, MoeqConfig) else MoeqConfig(spec)
    kind = type(dense_model(model_type))
    return kind.from_pretrained(folder or folder_of(model_type), output_loading_info=info, **options)


def load_unlike(cache=None):
    """Nested weights without a whole number of groups in an expert, as gpt-oss' 2880 x 2880 are."""
    config = transformers.Qwen3MoeConfig(
        hidden_size=64, moe_intermediate_size=96, num_experts=3, num_hidden_layers=1, head_dim=16, vocab_size=64,
        num_attention_heads=2, num_key_value_heads=2, num_experts_per_tok=2,
    )  # fmt: skip
    folder = pathlib.Path(_home().name) / "unlike"
    kind = transformers.Qwen3MoeForCausalLM
    if not folder.exists():
        kind._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return kind.from_pretrained(folder, quantization_config=MoeqConfig("nf4:64,nested", cache=cache))


def quantized_in(model):
    return {name: value for name, value in model.named_parameters() if isinstance(value, MoeqTensor)}


def same_bytes(a, b):
    ours, others = a.components(), b.components()
    return (
        a.spec == b.spec
        and ours.keys() == others.keys()
        and all(torch.equal(ours[name].view(torch.uint8), others[name].view(torch.uint8)) for name in ours)
    )


def same_models(a, b):
    """Whether two models have the same parameters, quantized ones byte for byte."""
    theirs = dict(b.named_parameters())
    return all(
        same_bytes(value, theirs[name]) if isinstance(value, MoeqTensor) else torch.equal(value, theirs[name])
        for name, value in a.named_parameters()
    )


def decoded_twin(model_type, model):
    """The dense model that has the values that a quantized one decodes to."""
    twin = models.build(model_type)
    with torch.no_grad():
        for name, value in quantized_in(model).items():
            twin.get_parameter(name).copy_(value.dequantize())
    return twin


def copy_of(folder, target, change):
    """The checkpoint of one file with other tensors: change(dict)."""
    target.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".json":
            (target / file.name).write_bytes(file.read_bytes())
    tensors = tensors_of(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def tensors_of(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def run_python(code, *arguments, moeq_path=True):
    """JSON that a process of its own prints last."""
    environment = dict(os.environ)
    root = pathlib.Path(__file__).resolve().parents[2]
    environment["PYTHONPATH"] = str(root / "bindings" / "python") if moeq_path else ""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
