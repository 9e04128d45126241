"""Checkpoints whose experts were quantized in several ways, or lie otherwise than their statistics tell."""

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

from checkpoints import config, normal, projection, write_safetensors  # noqa: E402


def quantized(seed, shape, spec):
    return moeq.quantize(normal(seed, shape), spec)


def test_verify_of_halves_of_several_kinds(tmp_path):
    weights = {}
    for expert, spec in enumerate(("fp8_e4m3:expert", "nf4:64,nested")):
        for seed, name in enumerate(("gate", "up")):
            weights[projection(0, expert, name)] = quantized(seed, (64, 128), spec)
    moeq.save(tmp_path / "mixed.safetensors", weights, durable=False)
    with moeq.open(tmp_path / "mixed.safetensors") as reader:
        assert {"mixed_formats"} <= {problem["kind"] for problem in reader.verify()["problems"]}


@pytest.fixture
def fp8_model(tmp_path):
    """Fused gate and up whose border is inside a tile of 128 rows."""
    import json

    folder, shape = tmp_path / "fp8", (2, 384, 128)
    folder.mkdir()
    codes = normal(3, shape, np.dtype(np.float32)).astype(ml_dtypes.float8_e4m3fn)
    scale = np.ones((2, 3, 1), np.float32)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    write_safetensors(folder / "model.safetensors", {name: codes, name + "_scale_inv": scale})
    settings = config(1, 2, 128, 192)
    settings["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder, codes.astype(np.float32)


def test_a_rank_has_its_part_of_gate_and_of_up(fp8_model):
    folder, dense = fp8_model
    with moeq.open(folder) as reader:
        for rank in (0, 1):
            part = reader.load(0, spec="nf4", tp=(rank, 2))
            rows = np.concatenate([dense[:, 96 * rank : 96 * rank + 96], dense[:, 192 + 96 * rank :][:, :96]], axis=1)
            right = moeq.quantize(rows.astype(ml_dtypes.bfloat16), "nf4")
            np.testing.assert_array_equal(part.component("codes").numpy(), right.component("codes").numpy())
        with pytest.raises(moeq.ShapeError):  # as it is, a tile would be cut
            reader.load(0, tp=(0, 2))
