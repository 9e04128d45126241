"""What is wrong with files, caches and disks is an error that names it, or a load that goes on and says so."""

import json
import resource

import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from transformers_models import (  # noqa: F401
    folder_of,
    load,
    one_thread,
    quantized_in,
    same_models,
    tensors_of,
    torch,
)

import moeq
from moeq.transformers import MoeqConfig
from moeq.transformers.cache import Cache

LOST = "model.layers.1.mlp.experts.down_proj"


@pytest.fixture
def spoiled(tmp_path):
    """Files of save_pretrained, changed: change(tensors, metadata)."""

    def spoil(change, spec="int8"):
        load("qwen3_moe", spec).save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        tensors = tensors_of(file)
        change(tensors, metadata)
        save_file(tensors, file, metadata=metadata)
        return tmp_path

    return spoil


def without(tensors, metadata):
    for names in (tensors, metadata):
        for name in [name for name in names if LOST in name]:
            del names[name]


def without_any(tensors, metadata):
    for names in (tensors, metadata):
        for name in [name for name in names if "experts" in name]:
            del names[name]


def without_scales(tensors, metadata):
    del tensors[LOST + ".moeq.absmax"]


def of_a_newer_moeq(tensors, metadata):
    metadata["moeq.version"] = "2"


def without_description(tensors, metadata):
    del metadata[f"moeq.weight.{LOST}"]


@pytest.mark.parametrize(
    "change, error, text",
    [
        (without, moeq.IncompleteError, rf"{LOST}: got no values from the checkpoint; wanted its experts"),
        (without_any, moeq.IncompleteError, "layers.0.mlp.experts.gate_up_proj: got no values .*, nor for 3 others"),
        (without_scales, moeq.FormatError, rf"{LOST}.*got no tensor NAME.moeq.absmax; want its scale"),
        (of_a_newer_moeq, moeq.VersionError, r'got moeq.version "2"; want 1: a newer moeq wrote it'),
        (without_description, moeq.FormatError, rf"{LOST}.*got a part of a weight that the metadata does not name"),
    ],
)
def test_quantized_files_that_are_not_whole_are_refused(change, error, text, spoiled):
    with pytest.raises(error, match=text):
        load("qwen3_moe", None, spoiled(change))


def test_a_quantized_file_that_is_cut_is_refused(spoiled):
    folder = spoiled(lambda tensors, metadata: None)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(moeq.TruncatedError, match="is it a whole copy"):
        load("qwen3_moe", None, folder)


def test_dense_experts_beside_quantized_ones_are_no_missing_ones(spoiled):
    """One layer's weight is dense, under the name that the model has."""

    def change(tensors, metadata):
        without(tensors, metadata)
        tensors[LOST] = torch.ones(3, 128, 256, dtype=torch.bfloat16)

    model = load("qwen3_moe", None, spoiled(change))
    assert len(quantized_in(model)) == 3 and bool((model.get_parameter(LOST) == 1).all())


@pytest.mark.parametrize("spec", ["nf4:64,nested", "int8"])
def test_a_format_that_a_weight_cannot_have_is_refused_before_anything_is_read(spec, monkeypatch):
    from transformers import core_model_loading

    monkeypatch.setattr(core_model_loading, "_materialize_copy", None)  # whoever reads would fail otherwise
    config = MoeqConfig(spec, formats={"**.down_proj": "nf4:blocking=flat"})
    with pytest.raises(moeq.ArgumentError, match=r"layers.0.mlp.experts.down_proj: got the format .*\[3, 128, 256\]"):
        load("qwen3_moe", config)


@pytest.mark.parametrize("key, value", [("skip", 5), ("formats", ["int8"]), ("format", 7), ("linears", "nf4")])
def test_a_config_json_with_values_of_other_kinds_is_refused(key, value, spoiled):
    folder = spoiled(lambda tensors, metadata: None)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(moeq.MoeqError, match="wanted "):
        load("qwen3_moe", None, folder)


# ---- the cache


def test_a_disk_that_is_full_does_not_stop_the_load(tmp_path):
    """The kernel says no to what lies behind 200 kB of a file, as it does where there is no room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        model = load("qwen3_moe", MoeqConfig("int8", cache=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (note,) = model.hf_quantizer.report().notes
    assert "the load goes on without it: " in note and not list(tmp_path.iterdir())
    assert same_models(model, load("qwen3_moe", "int8"))


def test_a_folder_where_the_entry_should_be_does_not_stop_the_load(tmp_path):
    load("qwen3_moe", MoeqConfig("int8", cache=tmp_path))
    (entry,) = tmp_path.iterdir()
    entry.unlink()
    (entry / "something").mkdir(parents=True)
    model = load("qwen3_moe", MoeqConfig("int8", cache=tmp_path))
    assert "goes on without it" in " ".join(model.hf_quantizer.report().notes)
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]
    assert same_models(model, load("qwen3_moe", "int8"))


def test_two_that_write_one_entry_at_once_both_finish_and_leave_a_whole_one(tmp_path):
    """In turns, expert weight by expert weight; test_transformers_cache.py has two processes."""
    model = load("qwen3_moe", "nf4")
    plan, quantized = model.hf_quantizer.plan, quantized_in(model)
    two = [Cache(str(tmp_path), "0" * 40, plan) for _ in range(2)]
    for name in plan:
        for one in two:
            assert one.load(name) is None
            one.put(name, quantized[name])
    for number, one in enumerate(two):
        one.finish()
        assert "were written to" in " ".join(one.notes), number
    (entry,) = tmp_path.iterdir()
    third = Cache(str(tmp_path), "0" * 40, plan)
    assert all(torch.equal(third.load(name).dequantize(), quantized[name].dequantize()) for name in plan)
    assert entry.name == "0" * 40 + ".safetensors"
