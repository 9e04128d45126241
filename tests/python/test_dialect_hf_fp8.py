"""Files of transformers' finegrained fp8 and of DeepSeek: transformers loads what moeq writes, moeq reads
what transformers quantizes and saves, values equal.

On a CPU transformers decodes while it loads, and takes the tile from the number of scales there: right where both
extents are multiples of the tile, so these tests have no ragged tiles but where they say so.
"""

import types

import pytest
from checkpoints import write_model
from dialects import (
    EXPERTS,
    LAYER,
    STACKS,
    TINY_MOE,
    as_torch,
    convert,
    dense,
    load_files,
    projections,
    same_bits,
    save_files,
    write_fused,
)

import moeq

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
fp8 = pytest.importorskip(
    "transformers.integrations.finegrained_fp8", reason="this transformers has no finegrained fp8"
)

SPECS = ["fp8_e4m3:block128x128", "fp8_e4m3:block64x32", "fp8_e4m3:expert"]
SIZES = {"experts": 3, "hidden": 128, "width": 256}


def quantizer(tile, scale_fmt="float"):
    config = types.SimpleNamespace(weight_block_size=tile, scale_fmt=scale_fmt)
    return types.SimpleNamespace(quantization_config=config)


def tile_of(spec):
    return [int(extent) for extent in spec.partition("block")[2].split("x")] if "block" in spec else None


def their_values(weight, scale, dtype=torch.float32):
    return fp8.Fp8Dequantize(None)._dequantize_one(weight, scale, output_dtype=dtype)


# ---- what moeq writes, they read


@pytest.mark.parametrize("spec", SPECS)
def test_experts_apart_are_decoded_by_transformers(spec, tmp_path):
    write_model(tmp_path / "source", layers=1, **SIZES)
    said = convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="hf-fp8")
    config = transformers.utils.quantization_config.FineGrainedFP8Config(**said)
    assert config.quant_method == "fp8" and config.weight_block_size == tile_of(spec)
    assert LAYER + "mlp.gate" in config.modules_to_not_convert and "lm_head" in config.modules_to_not_convert
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        assert reader.dialect == "hf-fp8"
        ours = projections(reader, "fp32")
    scales = sorted(name.removesuffix("_scale_inv") for name in files if name.endswith("_scale_inv"))
    assert scales == sorted(ours)
    for name, weight in ours.items():
        assert same_bits(their_values(files[name], files[name + "_scale_inv"]), weight), name


def experts_module(tile):
    config = types.SimpleNamespace(
        hidden_size=SIZES["hidden"],
        num_experts=SIZES["experts"],
        moe_intermediate_size=SIZES["width"],
        hidden_act="silu",
    )
    return fp8.FP8Experts(config, block_size=tile)


@pytest.mark.parametrize("spec", ["fp8_e4m3:block128x128", "fp8_e4m3:block64x32"])
def test_fused_experts_have_the_parameters_of_their_module(spec, tmp_path):
    """gemma4's loader takes no linears, so fused experts stay fused."""
    write_fused(tmp_path / "source", **SIZES, model_type="gemma4")
    convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="hf-fp8")
    files = load_files(tmp_path / "target")
    module = experts_module(tile_of(spec))
    own = {name.removeprefix(EXPERTS): value for name, value in files.items() if name.startswith(EXPERTS)}
    module.load_state_dict(own, strict=True)
    with moeq.open(tmp_path / "target") as reader:
        for stack in STACKS:
            assert reader.find(EXPERTS + stack).stack.fused
            theirs = their_values(getattr(module, stack).data, getattr(module, stack + "_scale_inv").data)
            assert same_bits(theirs, dense(reader, EXPERTS + stack, "fp32")), stack


@pytest.mark.parametrize("spec", ["fp8_e4m3:block64x64", "fp8_e4m3:block32x64", "fp8_e4m3:expert"])
def test_transformers_loads_a_model(spec, tmp_path):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    convert(TINY_MOE, tmp_path / "target", spec=spec, dialect="hf-fp8", rules={"**.q_proj.weight": spec})
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "target", dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(info.values()), info
    with moeq.open(tmp_path / "target") as reader:
        ours = {name: dense(reader, name)[0] for name in (s.name for s in reader.stacks) if name.endswith(".weight")}
        assert len(ours) == 4  # q_proj of each layer
        for name, weight in ours.items():
            assert torch.equal(model.get_parameter(name).data, weight), name
        for layer in range(4):
            prefix = EXPERTS.replace("0", str(layer), 1)
            experts = model.get_submodule(prefix[:-1])
            for name, weight in projections(reader, prefix=prefix).items():
                expert, kind = name.removeprefix(prefix).split(".")[:2]
                if kind == "down_proj":
                    theirs = experts.down_proj[int(expert)]
                else:
                    theirs = experts.gate_up_proj[int(expert)].chunk(2)[kind == "up_proj"]
                assert torch.equal(theirs, weight), name


# ---- what they write, moeq reads


@pytest.mark.parametrize("tile", [[128, 128], [64, 32], None], ids=str)
def test_what_they_quantize_is_read(tile, tmp_path):
    tensors = write_model(tmp_path / "source", layers=1, **SIZES)
    operation = fp8.Fp8Quantize(quantizer(tile))
    theirs = {}
    for name, array in tensors.items():
        theirs |= operation._quantize_one(name, as_torch(array)) if ".experts." in name else {name: as_torch(array)}
    save_files(tmp_path / "theirs", theirs, {"quant_method": "fp8", "weight_block_size": tile})
    with moeq.open(tmp_path / "theirs") as reader:
        ours = projections(reader, "fp32")
    assert len(ours) == 3 * SIZES["experts"]
    for name, weight in ours.items():
        assert same_bits(their_values(theirs[name], theirs[name + "_scale_inv"]), weight), name


@pytest.mark.parametrize("suffix", ["_scale_inv", "_scales_inv"])
@pytest.mark.parametrize("scale_fmt", ["float", "ue8m0"])
def test_fused_and_exponents_are_read(scale_fmt, suffix, tmp_path):
    """Scales that are powers of two lie in one byte; an older revision had another name for scales."""
    tensors = write_fused(tmp_path / "source", **SIZES)
    operation = fp8.Fp8Quantize(quantizer([64, 64], scale_fmt))
    theirs, wanted = {}, {}
    for stack in STACKS:
        made = operation._quantize_one(EXPERTS + stack, as_torch(tensors[EXPERTS + stack]))
        codes, scale = made[EXPERTS + stack], made[EXPERTS + stack + "_scale_inv"]
        assert scale.element_size() == (1 if scale_fmt == "ue8m0" else 4)
        theirs |= {EXPERTS + stack: codes, EXPERTS + stack + suffix: scale}
        wanted[stack] = their_values(codes, scale)
    save_files(tmp_path / "theirs", theirs, {"quant_method": "fp8", "weight_block_size": [64, 64]})
    with moeq.open(tmp_path / "theirs") as reader:
        for stack in STACKS:
            assert same_bits(wanted[stack], dense(reader, EXPERTS + stack, "fp32")), stack


def test_ragged_tiles_are_those_of_the_config(tmp_path):
    """DeepSeek's files have them: 192 rows under tiles of 128 are tiles of 128 and of 64."""
    torch.manual_seed(1)
    codes = torch.randn(192, 200).to(torch.float8_e4m3fn)
    scale = torch.rand(2, 2) + 0.5
    name = EXPERTS + "0.down_proj.weight"
    save_files(
        tmp_path / "theirs",
        {name: codes, name + "_scale_inv": scale},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    )
    factors = scale.repeat_interleave(128, 0)[:192].repeat_interleave(128, 1)[:, :200]
    with moeq.open(tmp_path / "theirs") as reader:
        assert same_bits(dense(reader, EXPERTS + "down_proj", "fp32")[0], codes.float() * factors)


def test_bf16_scales_are_read(tmp_path):
    torch.manual_seed(2)
    codes = torch.randn(2, 128, 64).to(torch.float8_e4m3fn)
    scale = (torch.rand(2, 2, 1) + 0.5).to(torch.bfloat16)
    name = EXPERTS + "down_proj"
    save_files(
        tmp_path / "theirs",
        {name: codes, name + "_scale_inv": scale},
        {"quant_method": "fp8", "weight_block_size": [64, 64]},
    )
    with moeq.open(tmp_path / "theirs") as reader:
        assert same_bits(dense(reader, name, "fp32"), their_values(codes, scale))


@pytest.mark.parametrize("tile", [[64, 64], None], ids=str)
def test_the_modules_of_transformers_are_read(tile, tmp_path):
    """State dicts of FP8Experts and FP8Linear; without tiles gate and up have a scale each."""
    experts, linear = experts_module(tile), fp8.FP8Linear(200, 72, block_size=tile)
    torch.manual_seed(4)
    for module in (experts, linear):
        for name, value in module.named_parameters():
            scale = name.endswith("scale_inv")
            value.data = torch.rand(value.shape) + 0.5 if scale else torch.randn(value.shape).to(torch.float8_e4m3fn)
    theirs = {EXPERTS + name: value.data for name, value in experts.named_parameters()}
    theirs |= {LAYER + "mlp.shared." + name: value.data for name, value in linear.named_parameters()}
    save_files(tmp_path / "theirs", theirs, {"quant_method": "fp8", "weight_block_size": tile})
    rows, columns = tile or linear.weight.shape
    factors = linear.weight_scale_inv.data.reshape(-(-72 // rows), -(-200 // columns))
    factors = factors.repeat_interleave(rows, 0)[:72].repeat_interleave(columns, 1)[:, :200]
    with moeq.open(tmp_path / "theirs") as reader:
        for stack in STACKS:
            wanted = their_values(getattr(experts, stack).data, getattr(experts, stack + "_scale_inv").data)
            assert same_bits(wanted, dense(reader, EXPERTS + stack, "fp32")), stack
        ours = dense(reader, LAYER + "mlp.shared.weight", "fp32")[0]
        assert same_bits(linear.weight.data.float() * factors, ours)


# ---- what the dialect cannot mean


def test_fused_experts_become_linears_where_the_loader_takes_them(tmp_path):
    """Fused scales are read on a GPU only; linears everywhere, and gate and up need not end with a tile."""
    tensors = write_fused(tmp_path / "source", experts=2, hidden=128, width=160)
    convert(tmp_path / "source", tmp_path / "target", spec="fp8_e4m3:block128x128", dialect="hf-fp8")
    files = load_files(tmp_path / "target")
    up = as_torch(tensors[EXPERTS + "gate_up_proj"])[1, 160:].float()
    codes, scale = (files[f"{EXPERTS}1.up_proj.weight{end}"] for end in ("", "_scale_inv"))
    assert scale.shape == (2, 1)
    decoded = codes.float() * scale.repeat_interleave(128, 0)[:160]
    assert (decoded - up).abs().max() <= up.abs().max() / 16
    assert not any("gate_up" in name for name in files)


@pytest.mark.parametrize("model_type", ["gpt_oss", "llama4"])
def test_experts_of_inputs_times_outputs_are_refused(model_type, tmp_path):
    """No loader turns them around; square ones would load without a word."""
    write_fused(tmp_path / "source", experts=2, hidden=128, width=64, model_type=model_type)
    with pytest.raises(moeq.UnsupportedError, match="no loader of the dialect hf-fp8"):
        convert(tmp_path / "source", tmp_path / "target", spec="fp8_e4m3:block64x64", dialect="hf-fp8")
    assert not list(tmp_path.glob("target*"))


def test_gate_and_up_of_broken_tiles_are_refused(tmp_path):
    """Halves of 160 rows under tiles of 128: the two sides would not count the same tiles."""
    write_fused(tmp_path / "source", experts=2, hidden=128, width=160, model_type="gemma4")
    with pytest.raises(moeq.UnsupportedError, match="multiple of 128"):
        convert(tmp_path / "source", tmp_path / "target", spec="fp8_e4m3:block128x128", dialect="hf-fp8")
    with pytest.raises(moeq.UnsupportedError, match="one for up"):
        convert(tmp_path / "source", tmp_path / "target", spec="fp8_e4m3:expert", dialect="hf-fp8")
    assert not (tmp_path / "target").exists()
