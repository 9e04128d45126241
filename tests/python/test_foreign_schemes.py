"""Codes of schemes that moeq does not read, beside experts that it does: nothing is relabelled, nothing is silent."""

import json

import numpy as np
import pytest
from checkpoints import BF16, config, ml_dtypes, normal, write_safetensors
from command_line import document, process, refused

import moeq

E4M3, E8M0 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e8m0fnu)
HIDDEN, WIDTH, EXPERTS = 256, 128, 2
LAYER = "model.layers.{layer}.mlp.experts."
SHAPES = {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}


def zeros(shape, dtype):
    return np.zeros(shape, dtype)


def linear(kind):
    """A scheme whose tensors stand for each linear "X": kind(X, rows, columns) -> tensors."""
    tensors = {}
    for expert in range(EXPERTS):
        for name, (rows, columns) in SHAPES.items():
            tensors |= kind(f"{LAYER.format(layer=0)}{expert}.{name}_proj.", rows, columns)
    return tensors


def nvfp4(x, n, k):
    return {x + "weight": zeros((n, k // 2), np.uint8), x + "weight_scale": zeros((n, k // 16), E4M3),
            x + "weight_scale_2": zeros((), np.float32)}  # fmt: skip


def packed(x, n, k):
    return {x + "weight_packed": zeros((n, k // 8), np.int32), x + "weight_scale": zeros((n, k // 32), BF16),
            x + "weight_shape": np.array([n, k])}  # fmt: skip


def gptq(x, n, k):
    return {x + "qweight": zeros((k // 8, n), np.int32), x + "qzeros": zeros((k // 128, n // 8), np.int32),
            x + "scales": zeros((k // 128, n), np.float16), x + "g_idx": zeros(k, np.int32)}  # fmt: skip


def awq(x, n, k):
    return {x + "qweight": zeros((k, n // 8), np.int32), x + "qzeros": zeros((k // 128, n // 8), np.int32),
            x + "scales": zeros((k // 128, n), np.float16)}  # fmt: skip


def fp8_per_tensor(x, n, k):
    return {x + "weight": zeros((n, k), E4M3), x + "weight_scale": zeros((), np.float32)}


def quark(x, n, k):
    return {x + "weight": zeros((n, k // 2), np.uint8), x + "weight_scale": zeros((n, k // 32), np.uint8)}


def deepseek_fp4(x, n, k):
    return {x + "weight": zeros((n, k // 2), np.int8), x + "scale": zeros((n, k // 32), E8M0)}


def mlx(x, n, k):
    return {x + "weight": zeros((n, k // 8), np.uint32), x + "scales": zeros((n, k // 64), BF16),
            x + "biases": zeros((n, k // 64), BF16)}  # fmt: skip


def blocks():
    x = LAYER.format(layer=0)
    return {
        x + "gate_up_proj_blocks": zeros((EXPERTS, 2 * WIDTH, HIDDEN // 32, 16), np.uint8),
        x + "gate_up_proj_scales": zeros((EXPERTS, 2 * WIDTH, HIDDEN // 32), np.uint8),
    }


GROUP = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}}
SCHEMES = {
    "modelopt nvfp4": (linear(nvfp4), {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "modelopt fp8": (linear(fp8_per_tensor), {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "mxfp4": (blocks(), {"quant_method": "mxfp4"}),
    "int4": (linear(packed), {"quant_method": "compressed-tensors", "format": "pack-quantized",
                              "config_groups": {"group_0": GROUP}, "ignore": ["lm_head"]}),
    "gptq": (linear(gptq), {"quant_method": "gptq", "bits": 4}),
    "awq": (linear(awq), {"quant_method": "awq", "bits": 4}),
    "quark": (linear(quark), {"quant_method": "quark"}),
    "deepseek fp4": (linear(deepseek_fp4), {"quant_method": "fp8", "weight_block_size": [128, 128],
                                            "expert_dtype": "fp4"}),
    "mlx": (linear(mlx), {"group_size": 64, "bits": 4, "mode": "affine"}),
    "not stated": (linear(nvfp4), None),
}  # fmt: skip
SPECS = {
    "native": "int8",
    "bitsandbytes": "nf4",
    "compressed-tensors": "fp8_e4m3",
    "hf-fp8": "fp8_e4m3:block",
}
CASES = [(scheme, dialect) for scheme in SCHEMES for dialect in SPECS]


def write(folder, tensors, quantization):
    folder.mkdir()
    rest = {"model.embed_tokens.weight": normal(1, (32, HIDDEN)), "lm_head.weight": normal(2, (32, HIDDEN))}
    for expert in range(EXPERTS):  # of the layer that predicts one more token
        for name, shape in SHAPES.items():
            rest[f"{LAYER.format(layer=1)}{expert}.{name}_proj.weight"] = normal(3 + expert, shape)
    write_safetensors(folder / "model.safetensors", tensors | rest, {"format": "pt"})
    text = config(2, EXPERTS, HIDDEN, WIDTH)
    if quantization is not None:
        text["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(text))
    return folder


def is_described(scheme, dialect):
    """compressed-tensors has a group for each scheme, and those that are there stay."""
    return scheme == "int4" and dialect == "compressed-tensors"


@pytest.mark.parametrize(("scheme", "dialect"), [case for case in CASES if not is_described(*case)])
def test_what_would_lose_its_description_is_refused(tmp_path, scheme, dialect):
    source = write(tmp_path / "source", *SCHEMES[scheme])
    with pytest.raises(moeq.UnsupportedError, match=r"which moeq does not read, such as .*layers\.0\.mlp\.experts"):
        moeq.convert(source, tmp_path / "out", spec=SPECS[dialect], dialect=dialect, durable=False)
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(moeq.UnsupportedError):
        moeq.plan(source, tmp_path / "out", spec=SPECS[dialect], dialect=dialect)


# Scales that would be those of the target's own codes, of another shape.
CLASHES = [("modelopt fp8", "compressed-tensors")]


@pytest.mark.parametrize(("scheme", "dialect"), CLASHES)
def test_what_the_target_would_misread_is_refused_even_on_request(tmp_path, scheme, dialect):
    source = write(tmp_path / "source", *SCHEMES[scheme])
    with pytest.raises(moeq.UnsupportedError, match="has another meaning for"):
        moeq.convert(source, tmp_path / "out", spec=SPECS[dialect], dialect=dialect, keep_foreign=True, durable=False)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("scheme", "dialect"), [case for case in CASES if case not in CLASHES])
def test_what_is_kept_on_request_is_reported_and_opens_again(tmp_path, scheme, dialect):
    tensors, quantization = SCHEMES[scheme]
    source = write(tmp_path / "source", tensors, quantization)
    arguments = {"spec": SPECS[dialect], "dialect": dialect, "keep_foreign": True}
    plan = moeq.plan(source, tmp_path / "out", **arguments)
    assert plan.foreign.codes > 0
    assert is_described(scheme, dialect) or any("does not read" in note for note in plan.notes)
    moeq.convert(source, tmp_path / "out", durable=False, **arguments)
    report = json.loads((tmp_path / "out" / "moeq_report.json").read_text())
    assert report["foreign"] == plan.json["foreign"]
    assert report.get("source_quantization_config") == quantization
    with moeq.open(tmp_path / "out") as out:
        assert any(stack.quantized for stack in out.stacks)
        for name, array in tensors.items():
            assert bytes(out.read(out.find(name).tensor, out=np.empty(array.nbytes, np.uint8))) == array.tobytes()


def test_groups_of_packed_weights_stay_beside_new_ones(tmp_path):
    source = write(tmp_path / "source", *SCHEMES["int4"])
    moeq.convert(source, tmp_path / "out", spec="fp8_e4m3", dialect="compressed-tensors", durable=False)
    made = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    old, new = made["config_groups"].pop("group_0"), made["config_groups"].pop("group_1")
    assert made["format"] == "mixed-precision" and not made["config_groups"]
    assert old == GROUP | {"format": "pack-quantized"}
    assert new["format"] == "float-quantized" and "Linear" not in new["targets"]
    assert "model.layers.1.mlp.experts.0.up_proj" in new["targets"]
    compressed = pytest.importorskip("compressed_tensors.utils.match")
    for name in ("model.layers.0.mlp.experts.0.up_proj", "model.layers.1.mlp.experts.1.down_proj"):
        assert not [ignored for ignored in made["ignore"] if compressed.match_name(name, ignored)]
    assert any(compressed.match_name("model.embed_tokens", ignored) for ignored in made["ignore"])


def test_the_command_says_it_in_its_own_words(tmp_path):
    source = write(tmp_path / "source", *SCHEMES["modelopt nvfp4"])
    assert "quantized by modelopt NVFP4, which moeq does not read" in process("inspect", source).stdout.splitlines()[0]
    line = refused(process("quantize", source, tmp_path / "out", "-f", "int8"), 3, "modelopt NVFP4", "--keep-foreign")
    assert "MOEQ_" not in line
    done = process("quantize", source, tmp_path / "out", "-f", "int8", "--keep-foreign", "--no-sync")
    assert done.returncode == 0 and "note: codes that moeq does not read are copied" in done.stderr


def test_a_copy_of_what_is_not_read_says_what_it_is(tmp_path):
    tensors, quantization = SCHEMES["gptq"]
    folder = write(tmp_path / "source", tensors, quantization)
    plan = document(process("plan", folder, "--json"))
    assert plan["foreign"]["scheme"] == "gptq" and plan["totals"]["weights_quantized"] == 0
    moeq.convert(folder, tmp_path / "copy", durable=False)  # nothing new: what config.json says stays true
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["quantization_config"] == quantization


def test_codes_without_scales_are_refused_even_where_nothing_changes(tmp_path):
    name = LAYER.format(layer=0) + "0.up_proj.weight"
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    source = write(tmp_path / "source", {name: zeros((WIDTH, HIDDEN), E4M3)}, quantization)
    for arguments in ({}, {"spec": "int8"}, {"dialect": "hf-fp8"}):
        with pytest.raises(moeq.FormatError, match="scales are in no file") as error:
            moeq.convert(source, tmp_path / "out", durable=False, **arguments)
        assert name in str(error.value)
    assert not list(tmp_path.glob("out*"))
