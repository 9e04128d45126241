"""Saved and loaded again: byte for byte, by moeq's command too, and refused by a transformers without moeq."""

import json
import re
import warnings

import pytest
from families import models
from safetensors import safe_open
from safetensors.torch import save_file
from transformers_models import (  # noqa: F401
    FAMILIES,
    LONG,
    SPECS,
    decoded_twin,
    folder_of,
    load,
    load_unlike,
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

TRIED = [(kind, spec) for i, kind in enumerate(FAMILIES) for j, spec in enumerate(SPECS)
         if LONG or (i + 2) % len(SPECS) == j]  # fmt: skip
SAVED = [(kind, spec) for kind, spec in TRIED if LONG or kind in ("qwen3_moe", "gpt_oss", "qwen3_vl_moe", "nemotron_h")]
PLAIN = """
import json, pathlib, sys, transformers
answers = []
for folder in sys.argv[1:]:
    kind = json.loads((pathlib.Path(folder) / "config.json").read_text())["architectures"][0]
    try:
        getattr(transformers, kind).from_pretrained(folder)
        answers.append("loaded")
    except (RuntimeError, ValueError) as error:
        answers.append(str(error))
assert not [name for name in sys.modules if name.split(".")[0] == "moeq"]
print(json.dumps(answers))
"""
# Linears per expert under two kinds of names, fused ones [in, out] and [out, in], and modules of their own.
REFUSED = ["qwen3_moe", "mixtral", "gpt_oss", "qwen3_vl_moe", "dbrx", "switch_transformers"]


def bytes_of(tensor):
    return tensor.reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("model_type, spec", SAVED)
def test_what_is_saved_loads_byte_for_byte(model_type, spec, tmp_path):
    model = load(model_type, spec)
    model.save_pretrained(tmp_path)
    loaded, info = load(model_type, None, tmp_path, info=True)
    assert not any(info.values()), info
    assert same_models(model, loaded)
    assert torch.equal(models.compute(model_type, model), models.compute(model_type, loaded))
    assert {one.source for one in loaded.hf_quantizer.report().quantized} == {"checkpoint"}
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    ours, theirs = tensors_of(tmp_path / "model.safetensors"), tensors_of(again / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(bytes_of(ours[name]), bytes_of(theirs[name])) for name in ours)


def test_a_sharded_save_loads_byte_for_byte(tmp_path):
    model = load("mixtral", "fp8_e4m3")
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert same_models(model, load("mixtral", None, tmp_path))
    with moeq.open(tmp_path) as checkpoint:
        assert checkpoint.file_count > 2 and len(checkpoint.stacks) == 4 and not checkpoint.verify()["problems"]


def test_layers_that_stay_dense_stay_so(tmp_path):
    config = MoeqConfig("nf4", formats={"**.layers.1.**.down_proj": "int8"}, skip=["**.layers.0.**"])
    model = load("qwen3_moe", config)
    model.save_pretrained(tmp_path)
    loaded, info = load("qwen3_moe", None, tmp_path, info=True)
    assert not any(info.values()) and len(quantized_in(loaded)) == 2
    assert same_models(model, loaded)
    saved = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert "model.layers.0.mlp.experts" in saved["modules_to_not_convert"]
    assert "model.layers.1.mlp.experts" not in saved["modules_to_not_convert"]
    assert "cache" not in saved and saved["skip"] == ["**.layers.0.**"]


def test_nested_statistics_of_single_experts_are_kept(tmp_path):
    model = load_unlike()
    model.save_pretrained(tmp_path)
    assert same_models(model, type(model).from_pretrained(tmp_path))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The same model in every format."""
    folder = tmp_path_factory.mktemp("saved")
    for number, spec in enumerate(SPECS):
        load("qwen3_moe", spec).save_pretrained(folder / str(number))
    load_unlike().save_pretrained(folder / "unlike")
    return sorted(folder.iterdir())


def test_a_transformers_that_does_not_know_moeq_refuses_what_is_saved(saved, monkeypatch):
    from transformers import Qwen3MoeForCausalLM
    from transformers.quantizers import auto

    monkeypatch.delitem(auto.AUTO_QUANTIZATION_CONFIG_MAPPING, "moeq")
    monkeypatch.delitem(auto.AUTO_QUANTIZER_MAPPING, "moeq")
    for folder in saved:
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            Qwen3MoeForCausalLM.from_pretrained(folder)


def test_a_process_without_moeq_refuses_what_is_saved_and_what_the_command_made(saved, tmp_path):
    made = [tmp_path / f"{kind}-{number}" for kind in REFUSED for number in range(len(SPECS))]
    for number, folder in enumerate(made):
        kind, spec = REFUSED[number // len(SPECS)], SPECS[number % len(SPECS)]
        moeq.convert(folder_of(kind), folder, spec=spec, dialect="native", durable=False)
    folders = [*saved, *made]
    answers = dict(zip(folders, run_python(PLAIN, *folders, moeq_path=False), strict=True))
    wrong = {folder.name: answer for folder, answer in answers.items()
             if not re.search("ignore_mismatched_sizes|conversion of the weights|no `quant_method`", answer)}  # fmt: skip
    assert not wrong


def widen(tensors, metadata):
    """The shape that metadata once had for 8-bit codes, whose tensors were then as they are now."""
    for key, text in metadata.items():
        said = json.loads(text) if key.startswith("moeq.weight.") else {"shape": []}
        experts, *rest = said["shape"] or [0]
        if rest and tensors[key.removeprefix("moeq.weight.")].ndim == 4:
            metadata[key] = json.dumps(said | {"shape": [experts, 1, *rest]})
            scale = key.removeprefix("moeq.weight.") + (".moeq.absmax" if "int8" in said["spec"] else ".moeq.scale")
            tensors[scale] = tensors[scale].unsqueeze(1)


def narrow(tensors, metadata):
    """Codes in the shape of the weight, which files of the command once had."""
    for name, value in tensors.items():
        tensors[name] = value.squeeze(1) if value.ndim == 4 else value


@pytest.mark.parametrize("older", [widen, narrow])
@pytest.mark.parametrize("spec", ["int8", "fp8_e4m3", "nf4"])
def test_files_of_older_forms_are_read(older, spec, tmp_path):
    model = load("qwen3_moe", spec)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = tensors_of(file)
    older(tensors, metadata)
    save_file(tensors, file, metadata=metadata)
    assert same_models(model, load("qwen3_moe", None, tmp_path))
    with moeq.open(tmp_path) as checkpoint:
        assert checkpoint.verify()["problems"] == []


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_saved_is_a_checkpoint_of_the_command(spec, tmp_path):
    model = load("qwen3_moe", spec)
    model.save_pretrained(tmp_path)
    with moeq.open(tmp_path) as checkpoint:
        assert checkpoint.dialect == "native" and checkpoint.verify()["problems"] == []
        quantized = quantized_in(model)
        assert sorted(stack.name for stack in checkpoint.stacks) == sorted(quantized)
        for stack in checkpoint.stacks:
            assert same_bytes(MoeqTensor.from_qtensor(checkpoint.load(stack)), quantized[stack.name])


# ---- what the command made


@pytest.mark.parametrize("model_type, spec", TRIED)
def test_what_the_command_made_loads_without_quantizing(model_type, spec, tmp_path, monkeypatch):
    made = tmp_path / "made"
    moeq.convert(folder_of(model_type), made, spec=spec, dialect="native", durable=False)
    monkeypatch.setattr("moeq.transformers.streaming.quantize_experts", None)  # whoever quantizes fails
    monkeypatch.setattr("moeq.transformers.whole.quantize_experts", None)
    loaded, info = load(model_type, None, made, info=True)
    assert not any(info.values()), info
    monkeypatch.undo()
    assert same_models(load(model_type, spec), loaded)


def test_nothing_of_the_codes_is_read_when_they_are_loaded(tmp_path, monkeypatch):
    from transformers import core_model_loading

    load("qwen3_moe", "int8").save_pretrained(tmp_path)
    read, real = [], core_model_loading._materialize_copy

    def materialize(tensor, device=None, dtype=None):
        read.append(tuple(tensor.get_shape()))
        return real(tensor, device, dtype)

    monkeypatch.setattr(core_model_loading, "_materialize_copy", materialize)
    loaded = load("qwen3_moe", None, tmp_path)
    dense = [tuple(value.shape) for value in loaded.parameters() if not isinstance(value, MoeqTensor)]
    assert sorted(read) == sorted(dense)


def test_another_format_than_the_files_have_is_refused(tmp_path):
    load("qwen3_moe", "nf4").save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(moeq.ArgumentError, match="got 'int8' for .*down_proj, which the checkpoint has as 'nf4"):
            load("qwen3_moe", "int8", tmp_path)
        with pytest.raises(moeq.ArgumentError, match="got 'dense' for"):
            load("qwen3_moe", MoeqConfig("nf4", skip=["**.layers.1.**"]), tmp_path)
        assert len(quantized_in(load("qwen3_moe", "nf4", tmp_path))) == 4


def test_another_format_is_refused_under_the_names_of_the_files_too(tmp_path):
    made = tmp_path / "made"
    moeq.convert(folder_of("mixtral"), made, spec="nf4", dialect="native", durable=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(moeq.ArgumentError, match="got 'int8' for .*_proj, which the checkpoint has as 'nf4"):
            load("mixtral", "int8", made)


def test_a_config_json_of_another_version_is_refused(tmp_path):
    load("qwen3_moe", "nf4").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] |= {"version": "7", "moeq_version": "3.0.0"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(moeq.VersionError, match="got version '7', of moeq 3.0.0; wanted '1'"):
        load("qwen3_moe", None, tmp_path)


def test_codes_of_another_shape_than_the_models_are_refused(tmp_path):
    load("qwen3_moe", "int8").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"moe_intermediate_size": 128}))
    with pytest.raises(moeq.ShapeError, match=r"got codes of \[3, 128, 256\]; wanted \[3, 128, 128\]"):
        load("qwen3_moe", None, tmp_path)


# ---- dense again


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss"])
def test_a_dequantized_model_is_an_ordinary_one(model_type, tmp_path):
    model = load(model_type, "nf4")
    twin = decoded_twin(model_type, model)
    model.save_pretrained(tmp_path / "quantized")
    dense = model.dequantize()
    assert not quantized_in(dense) and not hasattr(dense, "hf_quantizer") and not dense.is_quantized
    assert all(value.requires_grad for value in dense.parameters())
    dense.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert (tmp_path / "generation_config.json").exists()
    assert (
        tensors_of(tmp_path / "model.safetensors").keys()
        == tensors_of(folder_of(model_type) / "model.safetensors").keys()
    )
    loaded, info = load(model_type, None, tmp_path, info=True)
    assert not any(info.values()) and not quantized_in(loaded)
    assert torch.equal(models.compute(model_type, loaded), models.compute(model_type, twin))


def test_a_model_can_be_copied_and_the_copy_saved(tmp_path):
    import copy

    model = load("qwen3_moe", "int8")
    copied = copy.deepcopy(model)
    assert same_models(model, copied)
    copied.save_pretrained(tmp_path)
    assert same_models(model, load("qwen3_moe", None, tmp_path))
