"""Files in the dialect of compressed-tensors: its compressors read what moeq writes, moeq reads what they write,
values equal. transformers loads what its integration has: fp8 experts, and linears."""

import json

import pytest
from checkpoints import config, normal, write_model, write_safetensors
from dialects import (
    EXPERTS,
    LAYER,
    TINY_MOE,
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
pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")

from compressed_tensors.compressors import BaseCompressor, ModelCompressor  # noqa: E402
from compressed_tensors.quantization import (  # noqa: E402
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.utils.match import match_name  # noqa: E402

SPECS = ["int8", "int8:expert", "fp8_e4m3", "fp8_e4m3:expert", "fp8_e4m3:block128x128", "fp8_e4m3:block32x64"]
SIZES = {"experts": 3, "hidden": 128, "width": 192}  # 192 rows: the second tile of 128 is ragged


def module_names(tensors):
    return sorted(name.removesuffix(".weight_scale") for name in tensors if name.endswith(".weight_scale"))


def decompress(tensors, module, scheme):
    """A module's weight by the project's own compressor, in fp32 as its scale is."""
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    own = {key: tensors[f"{module}.{key}"] for key in ("weight", "weight_scale")}
    return compressor.decompress(own, scheme)["weight"]


def only_scheme(config):
    (scheme,) = config.config_groups.values()
    return scheme


# ---- what moeq writes, they read


@pytest.mark.parametrize("form", ["apart", "fused"])
@pytest.mark.parametrize("spec", SPECS)
def test_their_compressors_read_every_expert(spec, form, tmp_path):
    if form == "fused":
        write_fused(tmp_path / "source", **SIZES)
    else:
        write_model(tmp_path / "source", layers=1, **SIZES)
    said = convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="compressed-tensors")
    config = QuantizationConfig.model_validate(said)
    assert config.quant_method == "compressed-tensors"
    assert config.quantization_status == QuantizationStatus.COMPRESSED
    assert config.format == ("int-quantized" if "int8" in spec else "float-quantized")
    for name in ("mlp.gate", "self_attn.q_proj"):
        assert any(match_name(LAYER + name, ignored) for ignored in config.ignore), name
    assert not any(match_name(EXPERTS + "0.up_proj", ignored) for ignored in config.ignore)
    scheme = only_scheme(config)
    assert scheme.targets == ["Linear"] and scheme.weights.symmetric and not scheme.weights.dynamic
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        assert reader.dialect == "compressed-tensors"
        ours = projections(reader, "fp32")
    assert module_names(files) == sorted(name.removesuffix(".weight") for name in ours)
    for name, weight in ours.items():
        assert same_bits(decompress(files, name.removesuffix(".weight"), scheme), weight), name


@pytest.mark.parametrize("spec", SPECS)
def test_scales_have_the_shapes_that_their_modules_have(spec, tmp_path):
    """A module set up by their own lifecycle takes the tensors of a file without a key or a shape out of place."""
    write_model(tmp_path / "source", layers=1, **SIZES)
    said = convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="compressed-tensors")
    config = QuantizationConfig.model_validate(said)
    files = load_files(tmp_path / "target")
    name = EXPERTS + "2.down_proj"
    model = torch.nn.ModuleDict({"down_proj": torch.nn.Linear(SIZES["width"], SIZES["hidden"], bias=False)})
    whole = torch.nn.ModuleDict({"experts": torch.nn.ModuleDict({"2": model})})  # names decide what is quantized
    apply_quantization_config(whole, config)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(whole)
    own = {f"down_proj.{key}": files[f"{name}.{key}"] for key in ("weight", "weight_scale")}
    assert {key: (value.dtype, value.shape) for key, value in model.state_dict().items()} == {
        key: (value.dtype, value.shape) for key, value in own.items()
    }
    model.load_state_dict(own)
    compressor.decompress_model(whole)
    with moeq.open(tmp_path / "target") as reader:
        ours = projections(reader, "fp32")[name + ".weight"]
    assert torch.equal(model["down_proj"].weight.float(), ours)


@pytest.mark.parametrize(
    "spec, turned", [("int8", "int8:scale=factor"), ("fp8_e4m3:block32x64", "fp8_e4m3:block64x32")]
)
def test_transposed_and_interleaved_experts_become_linears(spec, turned, tmp_path):
    """gpt-oss has [in, out] with gate and up in turns; per-expert files have [out, in], gate and up apart. A tile is
    one of the source, and turns with it."""
    experts, hidden, width = 2, 64, 96
    folder = tmp_path / "source"
    folder.mkdir()
    fused = {"gate_up_proj": normal(1, (experts, hidden, 2 * width)), "down_proj": normal(2, (experts, width, hidden))}
    write_safetensors(folder / "model.safetensors", {EXPERTS + name: value for name, value in fused.items()})
    (folder / "config.json").write_text(json.dumps(config(1, experts, hidden, width) | {"model_type": "gpt_oss"}))
    said = convert(folder, tmp_path / "target", spec=spec, dialect="compressed-tensors")
    scheme = only_scheme(QuantizationConfig.model_validate(said))
    files = load_files(tmp_path / "target")
    wanted = {
        "gate_proj": fused["gate_up_proj"][:, :, 0::2],
        "up_proj": fused["gate_up_proj"][:, :, 1::2],
        "down_proj": fused["down_proj"],
    }
    for name, weights in wanted.items():
        for expert in range(experts):
            alone = moeq.quantize(weights[expert].T, turned)
            ours = torch.from_dlpack(alone.dequantize(dtype="fp32"))
            assert same_bits(decompress(files, f"{EXPERTS}{expert}.{name}", scheme), ours), (name, expert)


def test_several_schemes_are_told_apart(tmp_path):
    write_model(tmp_path / "source", layers=2, **SIZES)
    rules = {"**.layers.0.mlp.experts.down_proj": "int8", "**.self_attn.q_proj.weight": "fp8_e4m3:block64x64"}
    said = convert(tmp_path / "source", tmp_path / "target", spec="fp8_e4m3", rules=rules, dialect="compressed-tensors")
    config = QuantizationConfig.model_validate(said)
    assert config.format == "mixed-precision" and len(config.config_groups) == 3
    schemes = {}
    for scheme in config.config_groups.values():
        schemes |= dict.fromkeys(scheme.targets, scheme)
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        ours = projections(reader, "fp32") | projections(reader, "fp32", EXPERTS.replace("0", "1", 1))
        for layer in (0, 1):
            name = f"model.layers.{layer}.self_attn.q_proj.weight"
            ours[name] = dense(reader, name, "fp32")[0]
    assert len(ours) == 20
    for name, weight in ours.items():
        module = name.removesuffix(".weight")
        scheme = schemes.get(module, schemes["Linear"])
        assert same_bits(decompress(files, module, scheme), weight), name


@pytest.mark.parametrize("spec", ["fp8_e4m3", "fp8_e4m3:expert"])
def test_transformers_loads_fp8_experts(spec, tmp_path):
    """Of compressed experts its integration has these two, and packed ones."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    convert(TINY_MOE, tmp_path / "target", spec=spec, dialect="compressed-tensors")
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "target", dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(info.values()), info
    with moeq.open(tmp_path / "target") as reader:
        for stack in reader.stacks:
            theirs = model.get_parameter(stack.name).data if stack.shape[1] != 192 else None
            if theirs is None:  # gate and up apart: one scale for each
                both = model.get_parameter(stack.name.replace("gate_proj", "gate_up_proj").replace(".up_", ".gate_up_"))
                theirs = both.data.chunk(2, dim=1)[stack.name.endswith(".up_proj")]
            assert torch.equal(theirs, dense(reader, stack)), stack.name


@pytest.mark.parametrize("spec", ["fp8_e4m3", "fp8_e4m3:expert", "fp8_e4m3:block64x64"])
def test_transformers_loads_linears(spec, tmp_path):
    """Dense experts beside them stay as they are."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    said = convert(TINY_MOE, tmp_path / "target", rules={"**.self_attn.*.weight": spec}, dialect="compressed-tensors")
    for name in ("lm_head", LAYER + "mlp.gate", LAYER + "mlp.experts", EXPERTS + "7.gate_proj"):
        assert any(match_name(name, entry) for entry in said["ignore"]), name
    for name in (LAYER + "self_attn.q_proj", LAYER + "mlp.experts_of_another_kind"):
        assert not any(match_name(name, entry) for entry in said["ignore"]), name
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "target",
        dtype=torch.bfloat16,
        output_loading_info=True,
        quantization_config=transformers.CompressedTensorsConfig(dequantize=True),
    )
    assert not any(info.values()), info
    with moeq.open(tmp_path / "target") as reader:
        names = [stack.name for stack in reader.stacks if "self_attn" in stack.name]
        assert len(names) == 16
        for name in names:
            assert torch.equal(model.get_parameter(name).data, dense(reader, name)[0]), name
    gate = load_files(TINY_MOE)[EXPERTS + "0.gate_proj.weight"]
    assert torch.equal(model.model.layers[0].mlp.experts.gate_up_proj[0, : len(gate)], gate)


# ---- what they write, moeq reads


def weights_args(kind, strategy, **more):
    return {"num_bits": 8, "type": kind, "symmetric": True, "strategy": strategy, **more}


THEIRS = [
    weights_args("int", "channel"),
    weights_args("int", "tensor"),
    weights_args("float", "channel"),
    weights_args("float", "tensor"),
    weights_args("float", "block", block_structure=[64, 32]),
]


@pytest.mark.parametrize("scale_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("args", THEIRS, ids=lambda args: f"{args['type']}-{args['strategy']}")
def test_their_compressed_weights_are_read(args, scale_dtype, tmp_path):
    """Scales in the type of the model, as they are mostly written, are widened and lose nothing."""
    from compressed_tensors.quantization.utils import calculate_qparams

    storage = "int-quantized" if args["type"] == "int" else "float-quantized"
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format=storage)
    compressor = BaseCompressor.get_value_from_registry(storage)
    torch.manual_seed(3)
    tensors, expected = {}, {}
    for expert in range(2):
        for name, shape in (("gate", (128, 96)), ("up", (128, 96)), ("down", (96, 128))):
            weight = torch.randn(shape)
            tiles = weight.unsqueeze(0).unsqueeze(2)  # [1, rows, 1, columns]: one tile
            if args["strategy"] == "channel":
                tiles = weight.reshape(shape[0], 1, 1, shape[1])
            elif args["strategy"] == "block":
                rows, columns = args["block_structure"]
                tiles = torch.nn.functional.pad(weight, (0, -shape[1] % columns, 0, -shape[0] % rows))
                tiles = tiles.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))
            scale, _ = calculate_qparams(tiles.amin((1, 3)), tiles.amax((1, 3)), scheme.weights)
            scale = scale.to(getattr(torch, scale_dtype))
            if args["strategy"] == "tensor":
                scale = scale.reshape(1)
            module = f"{EXPERTS}{expert}.{name}_proj"
            own = compressor.compress({"weight": weight, "weight_scale": scale.float()}, scheme)
            own["weight_scale"] = scale
            exact = own | {"weight_scale": scale.float()}
            expected[module + ".weight"] = compressor.decompress(exact, scheme)["weight"]
            tensors |= {f"{module}.{key}": value for key, value in own.items()}
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, format=storage, quantization_status="compressed", ignore=["lm_head"]
    )
    save_files(tmp_path / "theirs", tensors, config.model_dump(mode="json"))
    with moeq.open(tmp_path / "theirs") as reader:
        assert reader.dialect == "compressed-tensors"
        ours = projections(reader, "fp32")
    assert ours.keys() == expected.keys()
    for name, weight in expected.items():
        assert same_bits(ours[name], weight), name


def test_a_model_that_they_compress_is_read(tmp_path):
    """Their whole way: apply a preset to a model, compress, write the config."""
    linears = {"a": torch.nn.Linear(96, 64, bias=False), "lm_head": torch.nn.Linear(96, 8, bias=False)}
    model = torch.nn.ModuleDict(linears)
    config = QuantizationConfig(config_groups={"W8A8": ["Linear"]}, ignore=["lm_head"])
    apply_quantization_config(model, config)
    layer = model["a"]
    layer.weight_scale.data = layer.weight.data.abs().amax(1, keepdim=True) / 127.5
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    save_files(tmp_path / "theirs", {"lm_head.weight": model["lm_head"].weight.data} | dict(model.state_dict()))
    compressor.update_config(tmp_path / "theirs")
    with moeq.open(tmp_path / "theirs") as reader:
        (stack,) = reader.stacks
        assert (stack.name, str(stack.spec)) == ("a.weight", "int8:scale=factor,dtype=bf16")
        ours = dense(reader, stack, "fp32")[0]
    compressor.decompress_model(model)
    assert torch.equal(model["a"].weight.data, ours)


def test_another_format_stays_readable_as_plain_tensors(tmp_path):
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme("W4A16", ["Linear"])
    module = EXPERTS + "0.down_proj"
    own = BaseCompressor.get_value_from_registry("pack-quantized").compress(
        {"weight": torch.randn(64, 128), "weight_scale": torch.full((64, 1), 0.1)}, scheme
    )
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, format="pack-quantized", quantization_status="compressed"
    )
    tensors = {f"{module}.{key}": value for key, value in own.items()} | {"lm_head.weight": torch.ones(4, 8)}
    save_files(tmp_path / "theirs", tensors, config.model_dump(mode="json"))
    with moeq.open(tmp_path / "theirs") as reader:
        assert reader.stacks == ()
        assert sorted(tensor.name for tensor in reader.tensors) == sorted(tensors)
        assert reader.find("lm_head.weight").tensor.component is None
