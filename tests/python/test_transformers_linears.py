"""MoeqConfig(linears=BitsAndBytesConfig(...)): experts by moeq, linears by transformers' own quantizer, side by side.

Judged by what transformers makes with bitsandbytes alone, whose experts stay dense, and by the dense model.
"""

import copy
import json

import pytest
from families import models
from transformers_models import (  # noqa: F401
    dense_model,
    folder_of,
    load,
    one_thread,
    quantized_in,
    same_bytes,
    torch,
    transformers,
)

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: nobody to hand linears to")
peft = pytest.importorskip("peft", reason="peft is not installed: there are no adapters to train")

import moeq  # noqa: E402
from moeq.transformers import MoeqConfig  # noqa: E402

WAYS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "nested": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True},
}
BYTES_OF_TABLES = 256 * 4 + 16 * 4 + 64  # code maps and an offset, of any size of weight


def bnb(way):
    return transformers.BitsAndBytesConfig(**WAYS[way])


def both(way, model_type="qwen3_moe", folder=None, **options):
    return load(model_type, MoeqConfig("nf4", linears=bnb(way)), folder, **options)


def stock(way, model_type="qwen3_moe"):
    kind = type(dense_model(model_type))
    return kind.from_pretrained(folder_of(model_type), quantization_config=bnb(way))


def linears_of(model):
    return {name: module for name, module in model.named_modules()
            if isinstance(module, (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt))}  # fmt: skip


def state_of(module):
    return {name: value.cpu() for name, value in module.state_dict().items()}


def same_linears(a, b):
    ours, theirs = linears_of(a), linears_of(b)
    states = [(state_of(module), state_of(theirs[name])) for name, module in ours.items() if name in theirs]
    return ours.keys() == theirs.keys() and all(
        one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one) for one, other in states
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
def test_linears_are_those_of_bitsandbytes_alone_and_experts_those_of_moeq_alone(model_type, way):
    model, info = both(way, model_type, info=True)
    assert not any(info.values()), info
    alone = stock(way, model_type)
    assert len(linears_of(model)) == 8 and same_linears(model, alone)
    experts = quantized_in(load(model_type, "nf4"))
    assert quantized_in(model).keys() == experts.keys()
    assert all(same_bytes(value, experts[name]) for name, value in quantized_in(model).items())
    with torch.no_grad():
        for name, value in experts.items():
            alone.get_parameter(name).copy_(value.dequantize())
    assert torch.equal(models.compute(model_type, model), models.compute(model_type, alone))


@pytest.mark.parametrize("way", WAYS)
def test_saved_and_loaded_again_it_is_the_same(way, tmp_path):
    model = both(way)
    model.save_pretrained(tmp_path)
    loaded, info = load("qwen3_moe", None, tmp_path, info=True)
    assert not any(info.values()), info
    assert same_linears(model, loaded)
    assert all(same_bytes(value, quantized_in(loaded)[name]) for name, value in quantized_in(model).items())
    assert {one.source for one in loaded.hf_quantizer.report().quantized} == {"checkpoint"}
    loaded.save_pretrained(tmp_path / "again")
    saved = [json.loads((folder / "config.json").read_text())["quantization_config"]
             for folder in (tmp_path, tmp_path / "again")]  # fmt: skip
    assert saved[0] == saved[1] and saved[0]["linears"]["quant_method"] == "bitsandbytes"
    assert not [name for name in saved[0]["modules_to_not_convert"] if "self_attn" in name]
    assert torch.equal(models.compute("qwen3_moe", model), models.compute("qwen3_moe", loaded))


def test_linears_are_handed_on_beside_experts_that_were_quantized_before(tmp_path):
    made, cache = tmp_path / "made", tmp_path / "cache"
    moeq.convert(folder_of("qwen3_moe"), made, spec="nf4", dialect="native", durable=False)
    wanted = both("nf4")
    with pytest.warns(UserWarning, match="already has a `quantization_config`"):
        of_command = load("qwen3_moe", MoeqConfig(linears=bnb("nf4")), made)
    cached = [load("qwen3_moe", MoeqConfig("nf4", linears=bnb("nf4"), cache=cache)) for _ in range(2)][1]
    for model, source in ((of_command, "checkpoint"), (cached, "cache")):
        assert {one.source for one in model.hf_quantizer.report().quantized} == {source}
        assert same_linears(model, wanted)
        assert all(same_bytes(value, quantized_in(wanted)[name]) for name, value in quantized_in(model).items())


def test_what_decides_about_experts_stays_dense_and_shared_experts_do_not():
    model = both("nf4", "qwen2_moe")
    linears = linears_of(model)
    assert "model.layers.0.mlp.shared_expert.up_proj" in linears
    assert not [name for name in linears if name.endswith("gate") or name == "lm_head"]
    skipped = model.config.quantization_config.linears.llm_int8_skip_modules
    assert "model.layers.0.mlp.shared_expert_gate" in skipped and "lm_head" in skipped
    gate = model.get_submodule("model.layers.0.mlp.shared_expert_gate")
    assert torch.equal(
        gate.weight, dense_model("qwen2_moe").get_submodule("model.layers.0.mlp.shared_expert_gate").weight
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_report_says_what_went_where_and_sizes_are_right(way):
    model = both(way)
    quantizer, report = model.hf_quantizer, model.hf_quantizer.report()
    assert [one.name for one in report.linears] == [f"{name}.weight" for name in linears_of(model)]
    how = {"int8": "llm_int8"}.get(way, "nf4")
    assert f"8 linears: 262 kB by bitsandbytes {how}, now" in report.line()
    assert report.nbytes == quantizer.footprint(model) - sum(one.nbytes for one in model.buffers())
    dense = dict(dense_model("qwen3_moe").named_parameters())
    for one in report.linears:
        assert one.dense_bytes == dense[one.name].nbytes
        told = quantizer.param_element_size(model, one.name, dense[one.name]) * dense[one.name].numel()
        assert 0 <= one.bytes - told <= BYTES_OF_TABLES
    assert model.num_parameters() == dense_model("qwen3_moe").num_parameters()


def test_a_dequantized_model_has_neither(tmp_path):
    model = both("nf4")
    dense = model.dequantize()
    assert not linears_of(dense) and not quantized_in(dense) and not hasattr(dense, "hf_quantizer")
    dense.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    loaded, info = load("qwen3_moe", None, tmp_path, info=True)
    assert not any(info.values())
    assert torch.equal(models.compute("qwen3_moe", loaded), models.compute("qwen3_moe", dense))


@pytest.mark.parametrize("way", ["nf4", "int8"])
def test_adapters_on_both_learn_what_they_learn_on_the_decoded_model(way):
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False,
                             target_parameters=["experts.gate_up_proj", "experts.down_proj"])  # fmt: skip
    words = torch.arange(100, 116)[None]
    found = []
    for model in (both(way, dtype=torch.float32), both(way, dtype=torch.float32).dequantize()):
        torch.manual_seed(4)
        adapted = peft.get_peft_model(model, copy.deepcopy(config)).train()  # else bitsandbytes computes in bf16
        adapted(input_ids=words, labels=words).loss.backward()
        found.append({name: value.grad for name, value in adapted.named_parameters() if value.requires_grad})
    quantized, decoded = found
    assert len(quantized) == 16 and quantized.keys() == decoded.keys()
    slack = 0.1 if way == "int8" else 1e-4  # bitsandbytes rounds activations to int8 as well
    for name, value in quantized.items():
        assert value.abs().max() > 0
        assert (value - decoded[name]).norm() <= slack * decoded[name].norm(), name


# ---- what is refused


def test_what_is_no_configuration_of_bitsandbytes_is_refused():
    with pytest.raises(moeq.ArgumentTypeError, match="linears: got str; wanted a transformers.BitsAndBytesConfig"):
        MoeqConfig("nf4", linears="nf4")


def test_other_linears_than_the_files_have_are_refused(tmp_path):
    both("nf4").save_pretrained(tmp_path)
    with pytest.warns(UserWarning), pytest.raises(moeq.ArgumentError, match="got 'llm_int8', .* has as 'nf4'"):
        load("qwen3_moe", MoeqConfig(linears=bnb("int8")), tmp_path)


def test_the_configuration_that_was_given_is_not_changed():
    given = bnb("nf4")
    load("qwen3_moe", MoeqConfig("nf4", linears=given))
    assert given.llm_int8_skip_modules is None
