"""Conversion into dense weights, judged by the projects that the dialects are of: what their own decoders give for the
quantized files, rounded by torch to the asked type, is what the dense files have. transformers loads these."""

import json

import numpy as np
import pytest
from checkpoints import normal, tree, write_model, write_safetensors
from dialects import EXPERTS, LAYER, STACKS, TINY_MOE, as_torch, load_files, parts, same_bits, save_files, write_fused

import moeq

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SIZES = {"experts": 3, "hidden": 128, "width": 256}


@pytest.fixture(autouse=True, scope="module")
def quiet_torch():
    """One thread, and no compiler: bitsandbytes has torch.compile around its path for odd shapes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")
    torch.set_num_threads(threads)


# ---- decoders of others: all weights of a folder in fp32, by name


def by_bitsandbytes(folder):
    functional = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed").functional
    files, found = load_files(folder), {}
    for name in files:
        stem = name.partition(".quant_state.")[0]
        if stem != name:
            state = functional.QuantState.from_dict(parts(files, stem), device=torch.device("cpu"))
            state.dtype = torch.float32
            found[stem] = functional.dequantize_4bit(files[stem], state)
        elif name.endswith(".SCB"):
            codes = name.removesuffix("SCB") + "weight"
            found[codes] = functional.int8_vectorwise_dequant(files[codes], files[name])
        elif name.endswith(".row_stats"):
            codes = files[name.removesuffix(".row_stats")]
            flat = functional.int8_vectorwise_dequant(codes.reshape(-1, codes.shape[-1]), files[name])
            found[name.removesuffix(".row_stats")] = flat.reshape(codes.shape)
    return found


def by_compressed_tensors(folder):
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    files, found = load_files(folder), {}
    said = json.loads((folder / "config.json").read_text())["quantization_config"]
    (scheme,) = QuantizationConfig.model_validate(said).config_groups.values()
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    for name in files:
        if name.endswith(".weight_scale"):
            module = name.removesuffix(".weight_scale")
            own = {key: files[f"{module}.{key}"] for key in ("weight", "weight_scale")}
            found[module + ".weight"] = compressor.decompress(own, scheme)["weight"]
    return found


def by_transformers(folder):
    fp8 = pytest.importorskip("transformers.integrations.finegrained_fp8", reason="there is no finegrained fp8")
    files = load_files(folder)
    decode = fp8.Fp8Dequantize(None)._dequantize_one
    return {
        name.removesuffix("_scale_inv"): decode(
            files[name.removesuffix("_scale_inv")], files[name], output_dtype=torch.float32
        )
        for name in files
        if name.endswith("_scale_inv")
    }


JUDGES = {"bitsandbytes": by_bitsandbytes, "compressed-tensors": by_compressed_tensors, "hf-fp8": by_transformers}
CASES = [
    ("bitsandbytes", "nf4"), ("bitsandbytes", "nf4:64,nested"), ("bitsandbytes", "fp4:32"), ("bitsandbytes", "int8"),
    ("compressed-tensors", "int8"), ("compressed-tensors", "fp8_e4m3"), ("compressed-tensors", "fp8_e4m3:block64x32"),
    ("hf-fp8", "fp8_e4m3:block128x128"), ("hf-fp8", "fp8_e4m3:block64x32"), ("hf-fp8", "fp8_e4m3:expert"),
]  # fmt: skip


def expect_rounded(folder, quantized, wanted, dtype):
    """Every tensor of a dense folder: a decoded one, rounded once, or one that was dense."""
    before, after = load_files(quantized), load_files(folder)
    assert wanted and wanted.keys() <= after.keys()
    for name, tensor in after.items():
        if name in wanted:
            assert tensor.shape == wanted[name].shape, name
            assert same_bits(tensor, wanted[name].to(TYPES[dtype])), name
        else:
            assert same_bits(tensor, before[name]), name


@pytest.mark.parametrize("form", ["apart", "fused"])
@pytest.mark.parametrize("dialect, spec", CASES)
def test_values_are_those_of_the_projects(dialect, spec, form, tmp_path):
    if form == "fused" and (dialect, spec) == ("hf-fp8", "fp8_e4m3:expert"):
        pytest.skip("gate and up of a fused weight would share a scale, which the dialect refuses")
    (write_fused if form == "fused" else lambda *a, **k: write_model(*a, layers=1, **k))(tmp_path / "source", **SIZES)
    rules = {"**.q_proj.weight": spec}  # a linear too
    quantized = tmp_path / "quantized"
    moeq.convert(tmp_path / "source", quantized, spec=spec, rules=rules, dialect=dialect, durable=False)
    wanted = JUDGES[dialect](quantized)
    assert LAYER + "self_attn.q_proj.weight" in wanted and len(wanted) >= 3
    for dtype in TYPES:
        moeq.convert(quantized, tmp_path / dtype, spec=dtype, durable=False)
        expect_rounded(tmp_path / dtype, quantized, wanted, dtype)
        assert "quantization_config" not in json.loads((tmp_path / dtype / "config.json").read_text())
        with moeq.open(tmp_path / dtype) as reader:
            assert reader.dialect is None and reader.verify()["problems"] == []


def test_files_of_bitsandbytes_itself(tmp_path):
    """Parameters of shape [n/2, 1] get the shape of their weight back; a fused one and linears."""
    functional = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed").functional
    tensors, wanted = {}, {}
    shapes = {LAYER + "self_attn.q_proj.weight": (48, 64), EXPERTS + "down_proj": (2, 64, 128)}
    for seed, (name, shape) in enumerate(shapes.items()):
        codes, state = functional.quantize_4bit(
            as_torch(normal(seed, shape)), blocksize=64, quant_type="nf4", compress_statistics=True
        )
        tensors[name] = codes
        tensors |= {f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
        state.dtype = torch.float32
        wanted[name] = functional.dequantize_4bit(codes, state)
    save_files(tmp_path / "theirs", tensors, {"quant_method": "bitsandbytes", "load_in_4bit": True})
    for dtype in TYPES:
        moeq.convert(tmp_path / "theirs", tmp_path / dtype, spec=dtype, durable=False)
        expect_rounded(tmp_path / dtype, tmp_path / "theirs", wanted, dtype)
        assert load_files(tmp_path / dtype).keys() == wanted.keys()


def test_every_code_of_e4m3_by_ml_dtypes(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16).view(ml_dtypes.float8_e4m3fn)
    scales = np.array([1, 1 + 2**-8, 1 + 2**-11, 0.0123, 2**-20, 2**-140], np.float32)
    tensors = {}
    for index, scale in enumerate(scales):
        name = f"model.layers.{index}.self_attn.q_proj.weight"
        tensors |= {name: codes, name + "_scale_inv": np.array([[scale]])}
    (tmp_path / "theirs").mkdir()
    write_safetensors(tmp_path / "theirs" / "model.safetensors", tensors)
    said = {"model_type": "qwen3_moe", "quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(said))
    for dtype, kind in (("bf16", ml_dtypes.bfloat16), ("fp16", np.float16), ("fp32", np.float32)):
        moeq.convert(tmp_path / "theirs", tmp_path / dtype, spec=dtype, durable=False)
        files = load_files(tmp_path / dtype)
        for index, scale in enumerate(scales):
            product = codes.astype(np.float32) * scale
            found = files[f"model.layers.{index}.self_attn.q_proj.weight"].float().numpy()
            np.testing.assert_array_equal(found, product.astype(kind).astype(np.float32))


# ---- loaded by transformers


def decoded_model(quantized, judge, linears):
    """A model of the original architecture with decoded weights put in by hand."""
    import transformers

    wanted = judge(quantized) if judge else linears
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY_MOE, dtype=torch.float32)
    done = 0
    for layer in range(4):
        prefix = EXPERTS.replace("0", str(layer), 1)
        module = model.get_submodule(prefix[:-1])
        for name, value in wanted.items():
            if not name.startswith(prefix):
                continue
            expert, kind = name.removeprefix(prefix).split(".")[:2]
            if kind == "down_proj":
                module.down_proj.data[int(expert)] = value
            else:
                module.gate_up_proj.data[int(expert)].chunk(2)[kind == "up_proj"].copy_(value)
            done += 1
    assert done == 96
    return model


@pytest.mark.parametrize(
    "dialect, spec",
    [
        ("bitsandbytes", "nf4:nested"),
        ("compressed-tensors", "int8"),
        ("hf-fp8", "fp8_e4m3:block64x64"),
        ("native", "nf4"),
    ],
)
def test_transformers_loads_the_result(dialect, spec, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    quantized = tmp_path / "quantized"
    moeq.convert(TINY_MOE, quantized, spec=spec, dialect=dialect, durable=False)
    moeq.convert(quantized, tmp_path / "dense", spec="fp32", durable=False)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "dense", dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    if dialect == "native":  # no other project decodes it: bitsandbytes has the same codes
        moeq.convert(TINY_MOE, tmp_path / "twin", spec=spec, dialect="bitsandbytes", durable=False)
        peer = decoded_model(tmp_path / "twin", by_bitsandbytes, None)
    else:
        peer = decoded_model(quantized, JUDGES[dialect], None)
    for (name, ours), (_, theirs) in zip(model.named_parameters(), peer.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, peer(tokens).logits)


def test_transposed_experts_keep_their_orientation(tmp_path):
    """gpt-oss: [E, in, out], gate and up in turns, as its dense checkpoints have it."""
    tensors = {
        EXPERTS + "gate_up_proj": normal(1, (2, 64, 192)), EXPERTS + "down_proj": normal(2, (2, 96, 64)),
    }  # fmt: skip
    (tmp_path / "source").mkdir()
    write_safetensors(tmp_path / "source" / "model.safetensors", tensors)
    (tmp_path / "source" / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
    for dialect in ("native", "bitsandbytes"):
        moeq.convert(tmp_path / "source", tmp_path / f"q-{dialect}", spec="nf4", dialect=dialect, durable=False)
        moeq.convert(tmp_path / f"q-{dialect}", tmp_path / dialect, spec="bf16", durable=False)
        for name, found in load_files(tmp_path / dialect).items():
            assert found.shape == tensors[name].shape
            error = (found.float() - as_torch(tensors[name]).float()).square().mean().sqrt()
            assert 0.05 < error < 0.15, name  # of NF4, and of numbers in their places


# ---- the calls


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    write_model(folder / "source")
    moeq.convert(folder / "source", folder / "quantized", spec="nf4", dialect="bitsandbytes", durable=False)
    return folder / "quantized"


def test_units_and_plans(quantized, tmp_path):
    plan = moeq.plan(quantized, tmp_path / "parts", spec="bf16")
    assert plan.dialect == "none" and plan.totals.weights_quantized == 0
    assert plan.totals.weights_made_dense == 18
    made = [weight for unit in plan.units for weight in unit.weights]
    assert {weight.spec for weight in made} == {"bf16"} and all("nf4" in w.decoded_from for w in made)
    moeq.convert(quantized, tmp_path / "whole", spec="bf16", durable=False)
    for unit in reversed(range(len(plan.units))):
        moeq.convert(quantized, tmp_path / "parts", spec="bf16", units=(unit, unit + 1), finish=False, durable=False)
    moeq.convert(quantized, tmp_path / "parts", spec="bf16", units=(0, 0), durable=False)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    assert plan.totals.bytes_out == sum(t.nbytes for t in load_files(tmp_path / "whole").values())


def test_rules_make_some_dense(quantized, tmp_path):
    rules = {"model.layers.0.**": "bf16", "**.down_proj": "fp32"}
    moeq.convert(quantized, tmp_path / "out", rules=rules, dialect="bitsandbytes", durable=False)
    with moeq.open(tmp_path / "out") as reader:
        found = {
            stack.name.removeprefix("model.layers."): stack.spec.format if stack.spec else stack.dtype
            for stack in reader.stacks
        }
    assert found == {
        f"0.mlp.experts.{STACKS[0]}": "bf16", f"0.mlp.experts.{STACKS[1]}": "bf16",
        f"1.mlp.experts.{STACKS[0]}": "nf4", f"1.mlp.experts.{STACKS[1]}": "fp32",
    }  # fmt: skip


@pytest.mark.parametrize("spec", ["bf8", "float16", ""])
def test_other_words_are_refused(quantized, tmp_path, spec):
    with pytest.raises(moeq.ArgumentError):
        moeq.convert(quantized, tmp_path / "out", spec=spec)
    with pytest.raises(moeq.ArgumentError):
        moeq.convert(quantized, tmp_path / "out", rules={"**": spec})
    assert list(tmp_path.iterdir()) == []


def test_values_that_fp16_cannot_hold_are_refused(tmp_path):
    name = LAYER + "self_attn.q_proj.weight"
    save_files(
        tmp_path / "theirs",
        {name: torch.full((4, 4), 7.0).to(torch.float8_e4m3fn), name + "_scale_inv": torch.full((1, 1), 1e4)},
        {"quant_method": "fp8"},
    )
    with pytest.raises(moeq.BadValueError, match="too large for fp16, at row 0, column 0"):
        moeq.convert(tmp_path / "theirs", tmp_path / "out", spec="fp16", durable=False)
    moeq.convert(tmp_path / "theirs", tmp_path / "bf16", spec="bf16", durable=False)
    assert load_files(tmp_path / "bf16")[name].float().unique().item() == torch.tensor(7e4).bfloat16().item()


# ---- the command line


def test_the_command_line(quantized, tmp_path):
    from command_line import command, document, refused

    plan = document(command("plan", quantized, "-f", "bf16", "--json"))
    assert plan["totals"]["weights_made_dense"] == 18
    shown = command("plan", quantized, "-f", "bf16")
    assert "made dense: 18 weights from nf4 to bf16" in shown.stdout and "quantized:" not in shown.stdout
    done = document(command("convert", quantized, tmp_path / "a", "-f", "bf16", "--json"))
    assert done["made_dense"] == [{"from": "nf4", "to": "bf16", "weights": 18}]
    assert done["dialect"] == "none" and done["skipped"] == [] and done["weights_quantized"] == 0
    assert command("quantize", quantized, tmp_path / "b", "-f", "bf16", "--quiet").returncode == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    refused(command("convert", quantized, tmp_path / "c"), 2, "--dialect: got none", "-f bf16")
    refused(command("convert", tmp_path / "a", tmp_path / "c", "-f", "fp32"), 3, "nothing in it is quantized")
    refused(command("quantize", quantized, tmp_path / "c", "-f", "bf"), 2, "did you mean bf16?")
    mixed = command("quantize", quantized, tmp_path / "m", "--rule", "model.layers.1.**=bf16",
                    "--dialect", "bitsandbytes", "--json")  # fmt: skip
    facts = document(mixed)
    assert facts["weights_quantized"] == 2 and facts["layers_quantized"] == 1 and facts["skipped"] == []
    found = document(command("verify", tmp_path / "m", "--against", quantized, "--json"))
    assert found["problems"] == [] and len(found["left_dense"]) == 2 and len(found["made_dense"]) == 9
    assert {"nf4:layout=gate_up,dtype=bf16", "nf4:dtype=bf16"} <= {line["spec"] for line in found["errors"]}


@pytest.mark.parametrize("dtype, most", [("bf16", 2**-8), ("fp16", 2**-11), ("fp32", 0)])
def test_verify_sees_one_rounding(quantized, tmp_path, dtype, most):
    from command_line import command, document

    moeq.convert(quantized, tmp_path / "out", spec=dtype, durable=False)
    found = document(command("verify", tmp_path / "out", "--against", quantized, "--json"))
    assert found["problems"] == [] and len(found["made_dense"]) == 18 and "errors" not in found
    assert all(line["different"] == 0 and line["relative_rms"] <= most for line in found["made_dense"])
    assert any(line["relative_rms"] > most / 8 for line in found["made_dense"]) or dtype == "fp32"
    # One element, one last place off: no digest is asked, as there is no report.
    path = sorted((tmp_path / "out").glob("*.safetensors"))[0]
    (tmp_path / "out" / "moeq_report.json").unlink()
    raw = bytearray(path.read_bytes())
    raw[-4 if dtype == "fp32" else -2] ^= 1
    path.write_bytes(raw)
    found = document(command("verify", tmp_path / "out", "--against", quantized, "--json"), 1)
    (problem,) = found["problems"]
    assert problem["problem"] == f"1 elements are not the source's values, rounded once to {dtype}"
    shown = command("verify", tmp_path / "out", "--against", quantized)
    assert "1 problem" in shown.stdout and "made dense" not in shown.stdout


# ---- what the rest of the source asks for


def test_codes_of_others_are_not_left_without_a_word(tmp_path):
    """FP8 attention that moeq reads, beside experts in 4 bits that it does not: config.json would go."""
    name, other = LAYER + "self_attn.q_proj.", EXPERTS + "0.down_proj."
    group = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}
    said = {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision",
        "config_groups": {
            "a": {"format": "float-quantized", "weights": group, "targets": ["re:.*q_proj"]},
            "b": {"format": "pack-quantized", "weights": {"num_bits": 4, "type": "int"}, "targets": ["Linear"]},
        },
    }
    tensors = {
        name + "weight": torch.ones(8, 8).to(torch.float8_e4m3fn), name + "weight_scale": torch.ones(1),
        other + "weight_packed": torch.ones(8, 4, dtype=torch.int32), other + "weight_scale": torch.ones(8, 1),
        other + "weight_shape": torch.tensor([8, 32]),
    }  # fmt: skip
    save_files(tmp_path / "theirs", tensors, said)
    for dialect in ("native", "compressed-tensors"):
        with pytest.raises(moeq.UnsupportedError, match="which moeq does not read"):
            moeq.convert(tmp_path / "theirs", tmp_path / "out", spec="bf16", dialect=dialect, durable=False)
    assert not (tmp_path / "out").exists()
    moeq.convert(tmp_path / "theirs", tmp_path / "out", spec="bf16", keep_foreign=True, durable=False)
    found = load_files(tmp_path / "out")
    assert found[name + "weight"].dtype == torch.bfloat16 and name + "weight_scale" not in found
    assert found.keys() >= {other + "weight_packed", other + "weight_scale", other + "weight_shape"}


def test_experts_in_two_axes_stay_so(tmp_path):
    """dbrx has the rows of all experts below each other; quantized by bitsandbytes."""
    functional = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed").functional
    stem, tensors, wanted = "transformer.blocks.0.ffn.experts.mlp.", {}, {}
    for seed, name in enumerate(("w1", "v1", "w2")):
        codes, state = functional.quantize_4bit(as_torch(normal(seed, (4 * 32, 64))), blocksize=64, quant_type="nf4")
        tensors[stem + name] = codes
        tensors |= {f"{stem}{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
        state.dtype = torch.float32
        wanted[stem + name] = functional.dequantize_4bit(codes, state)
    said = {"model_type": "dbrx", "d_model": 64, "ffn_config": {"moe_num_experts": 4, "ffn_hidden_size": 32}}
    save_files(tmp_path / "theirs", tensors, {"quant_method": "bitsandbytes", "load_in_4bit": True}, **said)
    with moeq.open(tmp_path / "theirs") as reader:
        assert all(stack.shape[0] == 4 for stack in reader.stacks)
    for dtype in TYPES:
        moeq.convert(tmp_path / "theirs", tmp_path / dtype, spec=dtype, durable=False)
        expect_rounded(tmp_path / dtype, tmp_path / "theirs", wanted, dtype)
        assert load_files(tmp_path / dtype).keys() == wanted.keys()
