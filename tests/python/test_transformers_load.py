"""from_pretrained(quantization_config=MoeqConfig(...)): codes, sizes, forward and generation of every family."""

import copy
import json

import pytest
from families import models
from transformers_models import (  # noqa: F401
    FAMILIES,
    LONG,
    SPECS,
    copy_of,
    decoded_twin,
    dense_model,
    folder_of,
    load,
    one_thread,
    quantized_in,
    run_python,
    same_bytes,
    same_models,
    tensors_of,
    torch,
)

import moeq
from moeq.torch import MoeqTensor
from moeq.transformers import MoeqConfig
from moeq.transformers.streaming import Keep, StreamingConverter, is_streamable

# Each family with one format, each format with a family or two; all of them take a minute.
TRIED = [(kind, spec) for i, kind in enumerate(FAMILIES) for j, spec in enumerate(SPECS)
         if LONG or i % len(SPECS) == j]  # fmt: skip

UNQUANTIZED = {"gpt_oss": 4}  # its biases


@pytest.mark.parametrize("model_type, spec", TRIED)
def test_codes_are_those_of_the_whole_stack_and_forward_is_that_of_their_values(model_type, spec):
    model, info = load(model_type, spec, info=True)
    assert not any(info.values()), info
    dense = dict(dense_model(model_type).named_parameters())
    quantized = quantized_in(model)
    stacks = [name for name, value in dense.items() if ".experts." in name and value.ndim == 3]
    assert sorted(quantized) == sorted(stacks)
    for name, value in quantized.items():
        assert value.shape == dense[name].shape and value.dtype == torch.bfloat16 and not value.requires_grad
        assert same_bytes(value, MoeqTensor.quantize(dense[name].detach(), value.spec))
    for name, value in model.named_parameters():
        assert name in quantized or torch.equal(value, dense[name])
    result = models.compute(model_type, model)
    assert torch.equal(result, models.compute(model_type, decoded_twin(model_type, model)))
    assert not torch.equal(result, models.compute(model_type, dense_model(model_type)))
    report = model.hf_quantizer.report()
    assert {one.source for one in report.quantized} == {"streamed"} and len(report.quantized) == len(stacks)
    assert len(report.skipped) == UNQUANTIZED.get(model_type, 0)


@pytest.mark.parametrize("model_type", FAMILIES if LONG else ["qwen3_moe", "gpt_oss", "nemotron_h"])
def test_generation_is_that_of_the_decoded_model(model_type):
    model = load(model_type, "int8")
    given = {"input_ids": torch.arange(100, 108)[None], "attention_mask": torch.ones(1, 8, dtype=torch.int64),
             "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}  # fmt: skip
    twin = decoded_twin(model_type, model)
    if model_type == "llama4":  # its class with pictures cannot generate from text alone, dense or not
        model, twin = model.language_model, twin.language_model
    assert torch.equal(model.generate(**given), twin.generate(**given))


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
def test_every_way_to_run_experts_gives_the_decoded_models_result(experts):
    model = load("qwen3_moe", "nf4", experts_implementation=experts)
    twin = decoded_twin("qwen3_moe", model)
    twin.set_experts_implementation(experts)
    assert torch.equal(models.compute("qwen3_moe", model), models.compute("qwen3_moe", twin))


def test_a_transposed_weight_has_its_scales_along_what_is_summed_over():
    spec = load("gpt_oss", "int8").model.layers[0].mlp.experts.gate_up_proj.spec
    assert (spec.scale_axis, spec.layout) == (-2, "gate_up_interleaved")
    spec = load("qwen3_moe", "int8").model.layers[0].mlp.experts.gate_up_proj.spec
    assert (spec.scale_axis, spec.layout) == (-1, "gate_up")


def test_formats_by_glob_and_what_is_skipped_are_in_the_report():
    config = MoeqConfig("nf4", formats={"**.down_proj": "int8"}, skip=["**.layers.0.**"])
    model = load("qwen3_moe", config)
    assert {name: str(value.spec) for name, value in quantized_in(model).items()} == {
        "model.layers.1.mlp.experts.gate_up_proj": "nf4:layout=gate_up",
        "model.layers.1.mlp.experts.down_proj": "int8",
    }
    report = model.hf_quantizer.report()
    assert [(one.name, one.reason) for one in report.skipped] == [
        (f"model.layers.0.mlp.experts.{name}_proj", "the configuration says so") for name in ("gate_up", "down")
    ]
    assert "quantized (int8, nf4:layout=gate_up; streamed)" in report.line()
    assert report.nbytes == model.hf_quantizer.footprint(model) - sum(one.nbytes for one in model.buffers())


def test_a_glob_that_names_nothing_is_told():
    with pytest.warns(UserWarning, match=r"'\*\*.down_projj' names no parameter of experts"):
        load("qwen3_moe", MoeqConfig("nf4", formats={"**.down_projj": "int8"}))


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested"])
def test_experts_of_two_kinds_that_are_numbered_through_are_streamed(spec):
    model, info = load("ernie4_5_vl_moe", spec, info=True)
    assert not any(info.values())
    dense = dict(dense_model("ernie4_5_vl_moe").named_parameters())
    quantized = quantized_in(model)
    assert {name.split("mlp.")[1].partition(".")[0] for name in quantized} == {"text_moe", "vision_moe"}
    assert all(same_bytes(value, MoeqTensor.quantize(dense[name].detach(), value.spec))
               for name, value in quantized.items())  # fmt: skip
    assert {one.source for one in model.hf_quantizer.report().quantized} == {"streamed"}
    assert torch.equal(
        models.compute("ernie4_5_vl_moe", model),
        models.compute("ernie4_5_vl_moe", decoded_twin("ernie4_5_vl_moe", model)),
    )


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_one_kind_of_experts_stays_dense(kind):
    model, info = load("ernie4_5_vl_moe", MoeqConfig("int8", skip=[f"**.{kind}_moe.**"]), info=True)
    assert not any(info.values())
    dense = dict(dense_model("ernie4_5_vl_moe").named_parameters())
    other = {"text": "vision", "vision": "text"}[kind]
    assert quantized_in(model) and all(f".{other}_moe." in name for name in quantized_in(model))
    assert all(torch.equal(value, dense[name]) for name, value in model.named_parameters()
               if not isinstance(value, MoeqTensor))  # fmt: skip


@pytest.mark.parametrize("expert, kind", [(1, "text"), (5, "vision")])
def test_a_missing_expert_of_one_kind_is_named(expert, kind, tmp_path):
    name = f"model.layers.1.mlp.experts.{expert}.up_proj.weight"
    folder = copy_of(folder_of("ernie4_5_vl_moe"), tmp_path / "less", lambda tensors: tensors.pop(name))
    with pytest.raises(moeq.IncompleteError, match=rf"experts.gate_up_proj: .*up_proj.*expert {expert} missing"):
        load("ernie4_5_vl_moe", "nf4", folder)


def test_experts_that_are_tied_to_others_are_quantized_once_and_saved_once(tmp_path):
    model, info = load("diffusion_gemma", "int8", info=True)
    assert not any(info.values()), info
    both = [model.get_parameter(f"model.{part}.layers.0.experts.down_proj")
            for part in ("encoder.language_model", "decoder")]  # fmt: skip
    assert isinstance(both[0], MoeqTensor) and both[0]._store is both[1]._store
    report = model.hf_quantizer.report()
    assert [one.name for one in report.quantized if "layers.0" in one.name and "down" in one.name] == [
        "model.decoder.layers.0.experts.down_proj"
    ]
    assert [(one.reason, one.bytes) for one in report.skipped] == [("it is tied to another parameter", 0)] * 4
    assert report.nbytes == model.hf_quantizer.footprint(model) - sum(one.nbytes for one in model.buffers())
    model.save_pretrained(tmp_path)
    loaded, info = load("diffusion_gemma", None, tmp_path, info=True)
    assert not any(info.values()), info
    assert same_models(model, loaded) and len(quantized_in(loaded)) == 4


def test_converters_that_mix_experts_are_quantized_whole_and_said_so(monkeypatch):
    """As those of inkling2_loop are, which also decode."""
    monkeypatch.setattr("moeq.transformers.quantizer.is_streamable", lambda operations: False)
    model, info = load("qwen3_moe", "int8", info=True)
    assert not any(info.values()) and same_models(model, load_streamed(monkeypatch))
    assert {one.source for one in model.hf_quantizer.report().quantized} == {"whole"}


def load_streamed(monkeypatch):
    monkeypatch.undo()
    return load("qwen3_moe", "int8")


def test_weights_that_the_hub_has_the_other_way_round_are_turned_expert_by_expert(tmp_path):
    def change(tensors):
        for name in [name for name in tensors if ".experts." in name]:
            tensors[name] = tensors[name].transpose(1, 2).contiguous()

    turned = copy_of(folder_of("qwen3_vl_moe"), tmp_path / "turned", change)
    model, info = load("qwen3_vl_moe", "int8", turned, info=True)
    assert not any(info.values()) and same_models(model, load("qwen3_vl_moe", "int8"))
    assert {one.source for one in model.hf_quantizer.report().quantized} == {"streamed"}


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
def test_values_are_cast_to_the_type_of_the_load_before(model_type, tmp_path):
    def change(tensors):
        for name, value in tensors.items():
            tensors[name] = value.float() * 1.001

    wide = copy_of(folder_of(model_type), tmp_path / "fp32", change)
    model = load(model_type, "int8", wide, dtype=torch.bfloat16)
    dense = dict(load(model_type, None, wide, dtype=torch.bfloat16).named_parameters())
    for name, value in quantized_in(model).items():
        assert value.dtype == torch.bfloat16
        assert same_bytes(value, MoeqTensor.quantize(dense[name].detach(), value.spec))


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
def test_files_of_another_kind_load_too(model_type, tmp_path):
    """They cannot be read in parts, but give the same bytes."""
    state = tensors_of(folder_of(model_type) / "model.safetensors")
    kind = type(dense_model(model_type))
    model = kind.from_pretrained(
        None, config=dense_model(model_type).config, state_dict=state, quantization_config=MoeqConfig("nf4"),
        dtype=torch.bfloat16,
    )  # fmt: skip
    assert same_models(model, load(model_type, "nf4"))


def test_nested_weights_whose_groups_cross_experts_have_statistics_for_each():
    """gpt-oss' 2880 x 2880 is such a one: no whole number of groups in an expert."""
    experts = torch.randn(3, 96, 128, generator=torch.Generator().manual_seed(1))
    whole = MoeqTensor.quantize(experts, "nf4:64,nested")
    assert all(same_bytes(whole[e : e + 1].clone(), MoeqTensor.quantize(experts[e : e + 1], "nf4:64,nested"))
               for e in range(3))  # fmt: skip


# ---- sizes


@pytest.mark.parametrize("spec", SPECS)
def test_the_host_is_told_the_size_that_will_be(spec):
    model = load("qwen3_moe", spec)
    quantizer = model.hf_quantizer
    for name, value in quantized_in(model).items():
        told = quantizer.param_element_size(model, name, dense_model("qwen3_moe").get_parameter(name))
        assert told * value.numel() == value.quantized_nbytes
    assert quantizer.param_element_size(model, "lm_head.weight", model.lm_head.weight) == 2


def test_parameters_are_counted_as_of_the_dense_model_and_the_footprint_as_held():
    model, dense = load("qwen3_moe", "nf4"), dense_model("qwen3_moe")
    assert model.num_parameters() == dense.num_parameters()
    held = sum(sum(part.nbytes for part in value.components().values()) for value in quantized_in(model).values())
    rest = sum(value.nbytes for name, value in dense.named_parameters() if ".experts." not in name)
    buffers = sum(value.nbytes for value in dense.buffers())
    assert model.hf_quantizer.footprint(model) == held + rest + buffers


@pytest.mark.parametrize(
    "options, place",
    [
        ({"device_map": {"model.layers.0": "disk", "model": "cpu", "lm_head": "cpu"}}, "'model.layers.0'"),
        ({"device_map": {"model": 0, "lm_head": "cpu"}}, "'lm_head'"),
        ({"device_map": "auto", "max_memory": {"cpu": "600KB"}}, "on 'disk'"),
    ],
)
def test_offload_is_refused_before_the_load(options, place, monkeypatch, tmp_path):
    from transformers import core_model_loading

    monkeypatch.setattr(core_model_loading, "_materialize_copy", None)  # whoever reads would fail otherwise
    with pytest.raises(moeq.UnsupportedError, match=f"{place}.*smaller format"):
        load("qwen3_moe", "nf4", offload_folder=str(tmp_path), **options)


def test_one_device_for_all_is_no_offload():
    model = load("qwen3_moe", "nf4", device_map="cpu")
    assert len(quantized_in(model)) == 4
    assert len(quantized_in(load("qwen3_moe", "nf4", device_map="auto"))) == 4


def test_the_hosts_progress_bar_runs_to_its_end(capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    try:
        load("qwen3_moe", "nf4")
    finally:
        logging.disable_progress_bar()
    shown = capfd.readouterr().err
    assert "Loading weights: 100%" in shown, shown


def test_no_load_reads_ahead_in_threads(tmp_path, monkeypatch):
    """Of dense files, of a cache, of codes, and of both: what is read is what is quantized next."""
    from transformers import core_model_loading

    started = []

    class Counted(core_model_loading.ThreadPoolExecutor):
        def __init__(self, *args, **kwargs):
            started.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(core_model_loading, "ThreadPoolExecutor", Counted)
    load("qwen3_moe", None)
    assert len(started) == 1  # the host's own, of a dense load
    config = MoeqConfig("nf4", cache=tmp_path / "cache", skip=["**.layers.0.**"])
    for _ in range(2):
        model = load("qwen3_moe", config)
    model.save_pretrained(tmp_path / "saved")
    assert same_models(load("qwen3_moe", None, tmp_path / "saved"), model)
    assert len(started) == 1


@pytest.mark.parametrize("options", [{}, {"enable_expert_parallel": True}])
def test_tensor_and_expert_parallelism_are_refused_before_the_load(options, monkeypatch):
    from transformers import core_model_loading
    from transformers.distributed import DistributedConfig

    monkeypatch.setattr(core_model_loading, "_materialize_copy", None)  # whoever reads would fail otherwise
    with pytest.raises(
        moeq.UnsupportedError, match="distributed_config: got tensor or expert parallelism; wanted none"
    ):
        load("qwen3_moe", "nf4", distributed_config=DistributedConfig(**options))


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_refused_before_the_load(stage, monkeypatch):
    from transformers import core_model_loading
    from transformers.integrations import deepspeed

    class Active:  # what TrainingArguments(deepspeed=...) leaves for loads
        config = {"zero_optimization": {"stage": stage}}

        def is_zero3(self):
            return stage == 3

    active = Active()
    monkeypatch.setattr(core_model_loading, "_materialize_copy", None)
    monkeypatch.setattr(deepspeed, "_hf_deepspeed_config_weak_ref", lambda: active)
    with pytest.raises(moeq.UnsupportedError, match="DeepSpeed: got its configuration.*Use FSDP2"):
        load("qwen3_moe", "nf4")


@pytest.mark.parametrize(
    "method, name",
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FineGrainedFP8Config"),
        ({"quant_method": "mxfp4"}, "Mxfp4Config"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "BitsAndBytesConfig"),
    ],
)
def test_a_base_of_another_method_is_refused_by_its_name(method, name, tmp_path, monkeypatch):
    """By the host, before anything of ours is asked."""
    from transformers import core_model_loading

    folder = copy_of(folder_of("qwen3_moe"), tmp_path / "other", lambda tensors: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    monkeypatch.setattr(core_model_loading, "_materialize_copy", None)
    with pytest.raises(ValueError, match=f"quantized with {name} but you are passing a MoeqConfig"):
        load("qwen3_moe", "nf4", folder)


# ---- what is wrong


def test_a_model_without_experts_is_refused(tmp_path):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, vocab_size=64, head_dim=32)  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(moeq.ArgumentError, match="got nothing to quantize in Qwen3ForCausalLM: it has no experts"):
        Qwen3ForCausalLM.from_pretrained(tmp_path, quantization_config=MoeqConfig("nf4"))
    model = Qwen3ForCausalLM.from_pretrained(tmp_path, quantization_config=MoeqConfig("nf4", allow_nothing=True))
    assert not quantized_in(model)


def test_experts_that_are_all_skipped_are_refused():
    with pytest.raises(moeq.ArgumentError, match="got nothing to quantize .*: the configuration says so"):
        load("qwen3_moe", MoeqConfig("nf4", skip=["**"]))


def test_a_missing_expert_is_named(tmp_path):
    name = "model.layers.1.mlp.experts.1.up_proj.weight"
    folder = copy_of(folder_of("qwen3_moe"), tmp_path / "less", lambda tensors: tensors.pop(name))
    with pytest.raises(moeq.IncompleteError, match=r"layers.1.mlp.experts.gate_up_proj: .*up_proj.*expert 1 missing"):
        load("qwen3_moe", "nf4", folder)


def test_a_layer_without_experts_is_named(tmp_path):
    def change(tensors):
        for name in [name for name in tensors if "layers.1.mlp.experts" in name and "down" in name]:
            del tensors[name]

    folder = copy_of(folder_of("qwen3_moe"), tmp_path / "less", change)
    with pytest.raises(moeq.IncompleteError, match=r"layers.1.mlp.experts.down_proj: got no values"):
        load("qwen3_moe", "nf4", folder)


@pytest.mark.parametrize("spec", ["int8", "nf4", "nf4:64,nested", "fp8_e4m3"])
@pytest.mark.parametrize("part, row", [("gate", 3), ("up", 256 + 3)])
def test_nan_is_named_by_tensor_expert_and_row(tmp_path, spec, part, row):
    name = f"model.layers.0.mlp.experts.2.{part}_proj.weight"

    def change(tensors):
        tensors[name][3, 7] = float("nan")

    folder = copy_of(folder_of("qwen3_moe"), tmp_path / "nan", change)
    with pytest.raises(moeq.BadValueError, match=f"in expert 2, row {row}, column 7, from {name}; ") as caught:
        load("qwen3_moe", spec, folder)
    assert (caught.value.expert, caught.value.row, caught.value.column) == (2, row, 7)


def test_an_expert_of_another_shape_is_named(tmp_path):
    def change(tensors):
        tensors["model.layers.0.mlp.experts.1.down_proj.weight"] = torch.zeros(128, 128, dtype=torch.bfloat16)

    folder = copy_of(folder_of("qwen3_moe"), tmp_path / "other", change)
    text = r"down_proj: got \[128, 128\] from model.layers.0.mlp.experts.1.down_proj.weight; wanted \[128, 256\]"
    with pytest.raises(moeq.ShapeError, match=text):
        load("qwen3_moe", "nf4", folder)


def test_nan_in_a_fused_weight_is_named(tmp_path):
    def change(tensors):
        tensors["model.layers.1.mlp.experts.down_proj"][1, 5, 9] = float("inf")

    folder = copy_of(folder_of("gpt_oss"), tmp_path / "nan", change)
    with pytest.raises(moeq.BadValueError, match="layers.1.mlp.experts.down_proj: .* expert 1, row 5, column 9"):
        load("gpt_oss", "nf4", folder)


def test_a_format_that_a_shape_cannot_have_names_weight_and_cure():
    with pytest.raises(moeq.ArgumentError, match=r"gate_up_proj: got the format .*\[3, 512, 128\].*formats=") as caught:
        load("qwen3_moe", "nf4:blocking=flat")
    assert isinstance(caught.value.__cause__, moeq.MoeqError)


def test_a_format_is_needed_for_dense_files():
    with pytest.raises(moeq.ArgumentError, match="format: got none for a checkpoint that is not quantized"):
        load("qwen3_moe", MoeqConfig())


# ---- what the host does to converters


def gate_and_up():
    from transformers.core_model_loading import Concatenate, MergeModulelist, WeightConverter

    converter = WeightConverter(["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"],
                                ["mlp.experts.gate_up_proj"],
                                [MergeModulelist(dim=0), Concatenate(dim=1)])  # fmt: skip
    converter.scope_prefix, converter.base_model_prefix = "language_model", "model"
    return converter


def test_a_copied_converter_shares_its_operations_and_collects_for_itself():
    converter = StreamingConverter.like(gate_and_up())
    copied = copy.deepcopy(converter)
    copied.add_tensor("a", "b", "c", None)
    assert copied.operations is converter.operations and not converter.collected_tensors
    assert copied.compiled_sources is converter.compiled_sources


def test_the_scope_of_a_converter_stays():
    converter = StreamingConverter.like(gate_and_up())
    for one in (converter, copy.deepcopy(converter), converter.reverse_transform()):
        assert (one.scope_prefix, one.base_model_prefix) == ("language_model", "model")
    assert converter.rename_source_key("model.language_model.mlp.experts.1.up_proj.weight")[0].endswith("gate_up_proj")


def test_a_reversed_converter_is_the_hosts_own():
    reverse, wanted = StreamingConverter.like(gate_and_up()).reverse_transform(), gate_and_up().reverse_transform()
    assert type(reverse) is type(wanted) and repr(reverse) == repr(wanted)


def test_only_operations_that_keep_experts_apart_are_streamed():
    from transformers.core_model_loading import Chunk, Concatenate, MergeModulelist, Transpose

    assert is_streamable([MergeModulelist(0), Concatenate(1), Transpose(1, 2), Keep()])
    assert (
        not is_streamable([Transpose(0, 1)]) and not is_streamable([Concatenate(0)]) and not is_streamable([Chunk(0)])
    )


# ---- memory

MEASURED = """
import json, pathlib, sys, threading, time
import torch
from transformers import Qwen3MoeForCausalLM
from moeq.transformers import MoeqConfig

def anonymous():
    text = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) * 1024

torch.set_num_threads(1)
Qwen3MoeForCausalLM.from_pretrained(sys.argv[3], quantization_config=MoeqConfig(sys.argv[2]))  # what is imported late
before, peak, stop = anonymous(), 0, False
def watch():
    global peak
    while not stop:
        peak = max(peak, anonymous())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
model = Qwen3MoeForCausalLM.from_pretrained(sys.argv[1], quantization_config=MoeqConfig(sys.argv[2]))
end = anonymous()
stop = True
thread.join()
print(json.dumps({"peak": max(peak, end) - before, "end": end - before, "held": model.hf_quantizer.footprint(model)}))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two layers of experts; the largest parameter is 256 MiB of bf16. Files with one tensor for each expert."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    experts, width, hidden = 32, 2048, 1024
    config = Qwen3MoeConfig(hidden_size=hidden, moe_intermediate_size=width, num_experts=experts, num_hidden_layers=2,
                            num_attention_heads=4, num_key_value_heads=4, head_dim=64, vocab_size=512,
                            num_experts_per_tok=2, intermediate_size=64)  # fmt: skip
    folder = tmp_path_factory.mktemp("large")
    model = Qwen3MoeForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder, experts * 2 * width * hidden * 2


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: a model of 800 MB was not made")
@pytest.mark.parametrize("spec", ["int8", "nf4", "nf4:64,nested"])
def test_a_load_takes_the_result_and_a_twentieth_of_the_largest_parameter(large, spec):
    folder, largest = large
    found = run_python(MEASURED, folder, spec, folder_of("qwen3_moe"))
    print(spec, found)
    assert found["end"] > 0.9 * found["held"]  # it is in memory, not mapped
    assert found["peak"] - found["end"] <= 0.05 * largest + (64 << 20)
    assert found["peak"] - found["held"] <= 0.05 * largest + (64 << 20)
