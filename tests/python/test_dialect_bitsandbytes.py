"""Files in bitsandbytes' dialect: its loaders read what moeq writes, moeq reads what its modules save, values equal.

Shapes are such that bitsandbytes' CPU path decodes them rightly: a last axis that is a multiple of the block, or one
that is no multiple of 16.
"""

import json

import numpy as np
import pytest
from checkpoints import normal, write_model, write_safetensors
from dialects import (
    EXPERTS,
    LAYER,
    STACKS,
    TINY_MOE,
    as_torch,
    convert,
    dense,
    load_files,
    parts,
    projections,
    same_bits,
    save_files,
    write_fused,
)

import moeq

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
parametrize = pytest.importorskip("bitsandbytes.nn.parametrize", reason="this bitsandbytes has no parametrize")
F = bnb.functional

SPECS = ["nf4", "nf4:128,nested", "fp4:32", "fp4:64,nested", "nf4:4096,nested"]
ALIGNED = {"experts": 3, "hidden": 128, "width": 256}
RAGGED = {"experts": 3, "hidden": 40, "width": 3}  # blocks of 64 run from one expert into the next


@pytest.fixture(autouse=True, scope="module")
def quiet_torch():
    """One thread, and no compiler: bitsandbytes has torch.compile around its path for odd shapes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")
    torch.set_num_threads(threads)


def block_of(spec):
    return int(spec.split(":")[1].split(",")[0]) if ":" in spec else 64


def states(tensors):
    """Names of the parameters that have a quant_state."""
    return sorted(name.partition(".quant_state.")[0] for name in tensors if ".quant_state." in name)


# ---- what moeq writes, they read


@pytest.mark.parametrize("spec", SPECS)
def test_experts_apart_are_read_by_quant_state(spec, tmp_path):
    sizes = {"hidden": 4096, "width": 64, "experts": 2} if block_of(spec) > 256 else ALIGNED
    write_model(tmp_path / "source", layers=1, **sizes)
    convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        ours = projections(reader)
    assert states(files) == sorted(ours)
    for name, weight in ours.items():
        state = F.QuantState.from_dict(parts(files, name), device=torch.device("cpu"))
        assert state.nested == ("nested" in spec) and state.blocksize == block_of(spec)
        theirs = F.dequantize_4bit(files[name], state)
        assert theirs.dtype == torch.bfloat16 and theirs.shape == weight.shape
        assert torch.equal(theirs, weight), name


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_the_state_says_the_type_of_the_source(name, tmp_path):
    write_model(tmp_path / "source", layers=1, dtype=np.dtype(name), **ALIGNED)
    convert(tmp_path / "source", tmp_path / "target", spec="nf4", dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        ours = projections(reader)
    for name_of, weight in ours.items():
        state = F.QuantState.from_dict(parts(files, name_of), device=torch.device("cpu"))
        assert state.dtype == weight.dtype == getattr(torch, name)
        assert torch.equal(F.dequantize_4bit(files[name_of], state), weight)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block", [32, 64])
def test_files_have_the_bytes_of_bitsandbytes(kind, block, tmp_path):
    """Without nested statistics every tensor, the JSON included, is what as_dict(packed=True) gives."""
    tensors = write_model(tmp_path / "source", layers=1, **ALIGNED)
    convert(tmp_path / "source", tmp_path / "target", spec=f"{kind}:{block},profile=bnb_cpu", dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    for name in states(files):
        codes, state = F.quantize_4bit(as_torch(tensors[name]), blocksize=block, quant_type=kind)
        theirs = state.as_dict(packed=True)
        found = parts(files, name)
        assert found.keys() == theirs.keys()
        assert same_bits(files[name], codes)
        for key, value in theirs.items():
            if key == "quant_map":  # code 8 of FP4: -0.0 and 0.0 are one value
                assert torch.equal(found[key], value)
            else:
                assert same_bits(found[key], value), (name, key)


def test_nested_files_have_the_keys_of_bitsandbytes(tmp_path):
    tensors = write_model(tmp_path / "source", layers=1, **ALIGNED)
    convert(tmp_path / "source", tmp_path / "target", spec="nf4:nested", dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    for name in states(files):
        _, state = F.quantize_4bit(as_torch(tensors[name]), compress_statistics=True, quant_type="nf4", blocksize=64)
        theirs, found = state.as_dict(packed=True), parts(files, name)
        json_key = "quant_state.bitsandbytes__nf4"
        assert {k: (v.dtype, v.shape) for k, v in found.items() if k != json_key} == {
            k: (v.dtype, v.shape) for k, v in theirs.items() if k != json_key
        }
        said, wanted = (json.loads(bytes(d[json_key].numpy())) for d in (found, theirs))
        assert list(said) == list(wanted)
        assert said.pop("nested_offset") == pytest.approx(wanted.pop("nested_offset"), rel=1e-6)
        assert said == wanted


@pytest.mark.parametrize("spec", ["nf4", "nf4:64,nested", "fp4:32"])
@pytest.mark.parametrize("sizes", [ALIGNED, RAGGED], ids=["aligned", "ragged"])
def test_fused_experts_are_read_by_a_parametrised_module(spec, sizes, tmp_path):
    write_fused(tmp_path / "source", **sizes)
    convert(tmp_path / "source", tmp_path / "target", spec=spec, dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        for stack in STACKS:
            info = reader.find(EXPERTS + stack).stack
            assert info.fused and info.spec.blocking == ("flat" if sizes is RAGGED else "expert")
            module = torch.nn.Module()
            codes = files[EXPERTS + stack]
            module.register_parameter(stack, torch.nn.Parameter(codes, requires_grad=False))
            parametrize.replace_parameter_4bit_prequantized(
                module, stack, parts(files, EXPERTS + stack), torch.device("cpu")
            )
            ours = dense(reader, info)
            theirs = getattr(module, stack)
            assert theirs.dtype == ours.dtype and theirs.shape == ours.shape
            assert torch.equal(theirs, ours), stack


def test_linear4bit_computes_with_a_weight_from_a_file(tmp_path):
    write_model(tmp_path / "source", layers=1, **ALIGNED)
    convert(tmp_path / "source", tmp_path / "target", spec="nf4", dialect="bitsandbytes")
    name = EXPERTS + "1.down_proj.weight"
    files = load_files(tmp_path / "target")
    layer = bnb.nn.Linear4bit(ALIGNED["width"], ALIGNED["hidden"], bias=False, compute_dtype=torch.float32)
    layer.weight = bnb.nn.Params4bit.from_prequantized(files[name], parts(files, name), device="cpu", module=layer)
    layer.train()  # in eval mode it repacks the weight
    with moeq.open(tmp_path / "target") as reader:
        weight = projections(reader, "fp32")[name]
    x = as_torch(normal(9, (5, ALIGNED["width"]))).float()
    assert torch.equal(layer(x), torch.nn.functional.linear(x, weight))


def test_linear8bit_loads_a_state_dict(tmp_path):
    write_model(tmp_path / "source", layers=1, **ALIGNED)
    convert(tmp_path / "source", tmp_path / "target", spec="int8", dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        ours = projections(reader, "fp32")
    for name, weight in ours.items():
        rows, columns = weight.shape
        layer = bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False).to("cpu")
        layer.load_state_dict(parts(files, name.removesuffix(".weight")), strict=True)
        assert layer.weight.dtype == torch.int8
        assert same_bits(F.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB), weight), name


def test_fused_int8_has_the_statistics_of_all_rows(tmp_path):
    """bitsandbytes has no file form for this; its int8 functions take row_stats [E * rows] with the folded codes."""
    write_fused(tmp_path / "source", **RAGGED)
    convert(tmp_path / "source", tmp_path / "target", spec="int8", dialect="bitsandbytes")
    files = load_files(tmp_path / "target")
    with moeq.open(tmp_path / "target") as reader:
        for stack in STACKS:
            ours = dense(reader, EXPERTS + stack, "fp32")
            codes, stats = files[EXPERTS + stack], files[EXPERTS + stack + ".row_stats"]
            assert codes.shape == ours.shape and stats.shape == (ours.shape[0] * ours.shape[1],)
            theirs = F.int8_vectorwise_dequant(codes.reshape(-1, codes.shape[-1]), stats).reshape(codes.shape)
            assert same_bits(theirs, ours), stack


@pytest.mark.parametrize("spec", ["nf4:64,nested", "fp4:128", "int8"])
def test_transformers_loads_linears(spec, tmp_path):
    """Experts stay dense here: transformers 5 has no quantized form for fused ones."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    said = convert(TINY_MOE, tmp_path / "target", rules={"**.self_attn.*.weight": spec}, dialect="bitsandbytes")
    assert {"lm_head", LAYER + "mlp.gate", LAYER + "mlp.experts"} <= set(said["llm_int8_skip_modules"])
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "target", dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(info.values()), info
    kind = bnb.nn.Linear8bitLt if spec == "int8" else bnb.nn.Linear4bit
    compared = 0
    with moeq.open(tmp_path / "target") as reader:
        for name, layer in model.named_modules():
            if not isinstance(layer, kind):
                assert not name.endswith(("q_proj", "k_proj", "v_proj", "o_proj")), name
                continue
            if spec == "int8":
                theirs = F.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
            else:
                theirs = F.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            ours = dense(reader, name + ".weight", "fp32" if spec == "int8" else None)[0]
            assert torch.equal(theirs, ours), name
            compared += 1
    assert compared == 16
    gate = load_files(TINY_MOE)[EXPERTS + "0.gate_proj.weight"]
    assert torch.equal(model.model.layers[0].mlp.experts.gate_up_proj[0, : len(gate)], gate)


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("spec", ["fp4:256,nested", "nf4:64,nested"])
def test_nested_experts_in_one_tensor_are_cut_into_linears(spec, experts, tmp_path):
    """Of a family whose files have no fused weights: codes stay, and each linear's statistics are nested anew."""
    holder = "model.layers.0.moe_block.experts"
    names = [f"{holder}.{e}.{part}.weight" for e in range(experts) for part in ("linear", "linear_v", "linear_1")]
    (tmp_path / "dense").mkdir()
    weights = {name: normal(i, (64, 64)) for i, name in enumerate(names)}
    write_safetensors(tmp_path / "dense" / "model.safetensors", weights)
    (tmp_path / "dense" / "config.json").write_text(json.dumps({"model_type": "grok-1"}))
    convert(tmp_path / "dense", tmp_path / "fused", spec=spec)
    convert(tmp_path / "fused", tmp_path / "kept", dialect="bitsandbytes")
    convert(tmp_path / "dense", tmp_path / "straight", spec=spec, dialect="bitsandbytes")
    kept, straight = load_files(tmp_path / "kept"), load_files(tmp_path / "straight")
    assert states(kept) == states(straight) == sorted(names)
    for name in names:
        assert torch.equal(kept[name], straight[name])  # codes
        ours, wanted = (
            F.dequantize_4bit(files[name], F.QuantState.from_dict(parts(files, name), device=torch.device("cpu")))
            for files in (kept, straight)
        )
        # Twice rounded to the 8-bit map, of which a step is a 64th of how far blocks are from their mean.
        assert (ours - wanted).abs().max() <= wanted.abs().max() / 32


# ---- what they write, moeq reads


class Experts(torch.nn.Module):
    """model.layers.0.mlp.experts.N.{gate,up,down}_proj, of linears of a kind."""

    def __init__(self, make, experts, hidden, width):
        super().__init__()
        torch.manual_seed(5)
        linears = [
            torch.nn.ModuleDict(
                {
                    "gate_proj": make(hidden, width),
                    "up_proj": make(hidden, width),
                    "down_proj": make(width, hidden),
                }
            )
            for _ in range(experts)
        ]
        mlp = torch.nn.ModuleDict({"experts": torch.nn.ModuleList(linears)})
        self.model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.ModuleDict({"mlp": mlp})])})

    def linears(self):
        return {f"{name}.weight": layer for name, layer in self.named_modules() if name.endswith("_proj")}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("storage", ["uint8", "bfloat16", "float32"])
def test_linear4bit_files_are_read(kind, nested, storage, tmp_path):
    def make(columns, rows):
        return bnb.nn.Linear4bit(
            columns, rows, bias=False, quant_type=kind, compress_statistics=nested,
            quant_storage=getattr(torch, storage),
        )  # fmt: skip

    module = Experts(make, **ALIGNED).to(torch.bfloat16).to("cpu")
    for layer in module.linears().values():
        layer.weight = layer.weight.to("cpu")
        assert layer.weight.quant_state is not None
    save_files(tmp_path / "theirs", module.state_dict())
    (tmp_path / "theirs" / "config.json").unlink()  # the names alone tell what it is
    with moeq.open(tmp_path / "theirs") as reader:
        assert reader.dialect == "bitsandbytes"
        ours = projections(reader)
    assert ours.keys() == module.linears().keys()
    for name, layer in module.linears().items():
        theirs = F.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        assert theirs.dtype == ours[name].dtype == torch.bfloat16
        assert torch.equal(theirs, ours[name]), name


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(3, 6, 128), (3, 5, 40), (2, 3, 7), (1, 1, 6)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_parametrised_modules_are_read(shape, nested, dtype, tmp_path):
    """Fused experts; also those whose blocks run across experts."""
    module = torch.nn.Module()
    torch.manual_seed(6)
    module.register_parameter("gate_up_proj", torch.nn.Parameter(torch.randn(shape).to(getattr(torch, dtype))))
    parametrize.replace_parameter_4bit(module, "gate_up_proj", compress_statistics=nested, blocksize=64)
    holder = torch.nn.ModuleDict({"experts": module})
    save_files(tmp_path / "theirs", holder.state_dict())
    with moeq.open(tmp_path / "theirs") as reader:
        assert reader.dialect == "bitsandbytes"
        ours = dense(reader, "experts.gate_up_proj")
        assert reader.stacks[0].fused
    theirs = module.gate_up_proj
    assert theirs.dtype == ours.dtype == getattr(torch, dtype)
    assert torch.equal(theirs.reshape(shape), ours)


def test_linear8bit_files_are_read(tmp_path):
    def make(columns, rows):
        return bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False)

    module = Experts(make, experts=2, hidden=33, width=20).to("cpu")
    for layer in module.linears().values():
        layer.weight = layer.weight.to("cpu")
    save_files(tmp_path / "theirs", module.state_dict(), {"quant_method": "bitsandbytes", "load_in_8bit": True})
    with moeq.open(tmp_path / "theirs") as reader:
        assert {str(stack.spec) for stack in reader.stacks} == {"int8:dtype=bf16", "int8:layout=gate_up,dtype=bf16"}
        ours = projections(reader, "fp32")
    assert ours.keys() == module.linears().keys()
    for name, layer in module.linears().items():
        assert same_bits(F.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB), ours[name]), name


@pytest.mark.parametrize("bits", [4, 8])
def test_models_saved_by_transformers_are_read(bits, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    config = {
        4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        8: {"load_in_8bit": True},
    }[bits]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        TINY_MOE,
        dtype=torch.bfloat16,
        device_map="cpu",
        quantization_config=transformers.BitsAndBytesConfig(**config),
    )
    model.save_pretrained(tmp_path / "theirs")
    compared = 0
    with moeq.open(tmp_path / "theirs") as reader:
        assert reader.dialect == "bitsandbytes"
        for name, layer in model.named_modules():
            if isinstance(layer, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)):
                if bits == 4:
                    theirs = F.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                else:
                    theirs = F.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
                ours = dense(reader, name + ".weight", "fp32" if bits == 8 else None)[0]
                assert torch.equal(theirs, ours), name
                compared += 1
        assert {stack.quantized for stack in reader.stacks if ".experts." in stack.name} == {False}
    assert compared >= 16


# ---- what neither side can mean


def test_a_quant_map_of_another_type_is_refused(tmp_path):
    codes, state = F.quantize_4bit(torch.randn(4, 64), quant_type="nf4")
    tensors = {"w": codes} | {f"w.{key}": value for key, value in state.as_dict(packed=True).items()}
    tensors["w.quant_map"] = F.get_4bit_type("af4", device="cpu")
    save_files(tmp_path / "theirs", tensors)
    with pytest.raises(moeq.UnsupportedError, match="quant_map"):
        moeq.open(tmp_path / "theirs")


def test_ragged_fused_experts_without_flat_blocks_are_refused(tmp_path):
    q = moeq.quantize(normal(1, (3, 6, 40)), "nf4")
    with pytest.raises(moeq.UnsupportedError, match="blocking=flat"):
        moeq.save(tmp_path / "a.safetensors", {"w": q}, dialect="bitsandbytes")
    assert not list(tmp_path.iterdir())
