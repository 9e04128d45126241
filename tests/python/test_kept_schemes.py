"""Conversion inside compressed-tensors: what is not changed keeps what config.json and the file say of it."""

import json

import numpy as np
import pytest
from checkpoints import config, ml_dtypes, normal, write_safetensors

import moeq

E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
HIDDEN, WIDTH, EXPERTS = 64, 32, 2
P = "model.layers.0."
CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False}
STATIC = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}


def write(folder, activations):
    """Attention and experts in FP8 per row, static activation scales, a quantized cache."""
    linears = {f"{P}self_attn.q_proj": (HIDDEN, HIDDEN)}
    for expert in range(EXPERTS):
        for name, shape in (("gate", (WIDTH, HIDDEN)), ("up", (WIDTH, HIDDEN)), ("down", (HIDDEN, WIDTH))):
            linears[f"{P}mlp.experts.{expert}.{name}_proj"] = shape
    tensors = {f"{P}self_attn.k_scale": np.ones(1, np.float32), "lm_head.weight": normal(1, (32, HIDDEN))}
    for seed, (name, shape) in enumerate(linears.items()):
        tensors[name + ".weight"] = normal(seed, shape, np.dtype(np.float32)).astype(E4M3)
        tensors[name + ".weight_scale"] = np.full((shape[0], 1), 0.5, np.float32)
        if activations is not None:
            tensors[name + ".input_scale"] = np.ones(1, np.float32)
    group = {"targets": ["Linear"], "weights": WEIGHTS, "input_activations": activations}
    text = config(1, EXPERTS, HIDDEN, WIDTH) | {
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"FP8": group},
            "ignore": ["lm_head"], "kv_cache_scheme": CACHE, "version": "0.12.1",
        }
    }  # fmt: skip
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(text))
    return tensors


def said(folder):
    return json.loads((folder / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize("activations", [None, STATIC])
def test_what_is_kept_keeps_its_group(tmp_path, activations):
    tensors = write(tmp_path / "source", activations)
    rules = {"**.down_proj": "int8"}
    moeq.convert(tmp_path / "source", tmp_path / "out", rules=rules, dialect="compressed-tensors", durable=False)
    made = said(tmp_path / "out")
    assert made["kv_cache_scheme"] == CACHE and made["version"] == "0.12.1" and made["format"] == "mixed-precision"
    groups = made["config_groups"]
    assert groups["FP8"]["input_activations"] == activations and groups["FP8"]["weights"] == WEIGHTS
    assert list(groups) == ["group_0", "FP8"]  # who looks for the first that fits finds the new one
    assert set(groups["group_0"]["targets"]) == {f"{P}mlp.experts.{e}.down_proj" for e in range(EXPERTS)}
    with moeq.open(tmp_path / "out") as out:
        names = {tensor.name for tensor in out.tensors}
        assert f"{P}self_attn.k_scale" in names
        for name in (name for name in tensors if name.endswith(".input_scale")):
            assert (name in names) == ("down_proj" not in name), name
        assert not out.verify()["problems"]
    report = json.loads((tmp_path / "out" / "moeq_report.json").read_text())
    dropped = {entry["name"] for entry in report["dropped"]}
    expected = {f"{P}mlp.experts.{e}.down_proj.input_scale" for e in range(EXPERTS)}
    assert dropped == (expected if activations else set())


def test_a_reader_of_their_own_takes_the_new_group(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    quantization = pytest.importorskip("compressed_tensors.quantization", reason="compressed-tensors is not installed")
    write(tmp_path / "source", None)
    rules = {"**.down_proj": "int8"}
    moeq.convert(tmp_path / "source", tmp_path / "out", rules=rules, dialect="compressed-tensors", durable=False)
    whole = torch.nn.Module()
    for name in (f"{P}mlp.experts.0.down_proj", f"{P}mlp.experts.0.up_proj", f"{P}self_attn.q_proj", "lm_head"):
        at = whole
        for part in name.split(".")[:-1]:
            if part not in dict(at.named_children()):
                at.add_module(part, torch.nn.Module())
            at = at.get_submodule(part)
        at.add_module(name.rpartition(".")[2], torch.nn.Linear(8, 8, bias=False))
    made = quantization.QuantizationConfig.model_validate(said(tmp_path / "out"))
    made.kv_cache_scheme = None
    quantization.apply_quantization_config(whole, made)
    types = {
        name: str(module.quantization_scheme.weights.type)
        for name, module in whole.named_modules()
        if getattr(module, "quantization_scheme", None) is not None
    }
    assert {name.rpartition(".")[2]: kind.rpartition(".")[2].lower() for name, kind in types.items()} == {
        "down_proj": "int", "up_proj": "float", "q_proj": "float"
    }  # fmt: skip


def test_weights_only_is_for_new_weights(tmp_path):
    write(tmp_path / "source", STATIC)
    arguments = {"dialect": "compressed-tensors", "weights_only": True, "durable": False}
    moeq.convert(tmp_path / "source", tmp_path / "out", rules={"**.down_proj": "fp8_e4m3:expert"}, **arguments)
    groups = said(tmp_path / "out")["config_groups"]
    assert groups["group_0"]["input_activations"] is None and groups["FP8"]["input_activations"] == STATIC
    moeq.convert(tmp_path / "source", tmp_path / "all", spec="int8", rules={"**.q_proj.weight": "int8"}, **arguments)
    groups = said(tmp_path / "all")["config_groups"]
    assert [group["input_activations"] for group in groups.values()] == [None]
