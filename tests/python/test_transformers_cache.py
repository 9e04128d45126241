"""The cache of quantized experts: mapped the second time, made anew where it is wrong, and never in the way."""

import shutil
import subprocess
import sys

import pytest
from transformers_models import (  # noqa: F401
    LONG,
    copy_of,
    folder_of,
    load,
    load_unlike,
    one_thread,
    run_python,
    same_models,
    torch,
)

import moeq
from moeq.transformers import MoeqConfig
from moeq.transformers.cache import Cache


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def sources(model):
    return {one.source for one in model.hf_quantizer.report().quantized}


def notes(model):
    return " ".join(model.hf_quantizer.report().notes)


@pytest.mark.parametrize("model_type, spec", [("qwen3_moe", "int8"), ("gpt_oss", "nf4:64,nested"), ("mixtral", "nf4")])
def test_the_second_load_is_mapped_and_has_the_same_bytes(model_type, spec, tmp_path):
    first, second = (load(model_type, MoeqConfig(spec, cache=tmp_path)) for _ in range(2))
    assert sources(first) == {"streamed"} and sources(second) == {"cache"}
    assert same_models(first, second)
    assert "were written to" in notes(first) and "are mapped from" in notes(second)
    (entry,) = entries(tmp_path)
    assert entry.endswith(".safetensors")


def test_experts_with_nested_statistics_of_their_own_are_cached_too(tmp_path):
    first, second = load_unlike(tmp_path), load_unlike(tmp_path)
    assert sources(first) == {"streamed"} and sources(second) == {"cache"}
    assert same_models(first, second)


def test_weights_that_are_quantized_whole_are_cached_too(tmp_path, monkeypatch):
    monkeypatch.setattr("moeq.transformers.quantizer.is_streamable", lambda operations: False)
    first, second = (load("qwen3_moe", MoeqConfig("int8", cache=tmp_path)) for _ in range(2))
    assert sources(first) == {"whole"} and sources(second) == {"cache"}
    assert same_models(first, second)


def test_no_dense_expert_is_read_from_a_cache(tmp_path, monkeypatch):
    from transformers import core_model_loading

    load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))
    read, real = [], core_model_loading._materialize_copy

    def materialize(tensor, device=None, dtype=None):
        read.append(tuple(tensor.get_shape()))
        return real(tensor, device, dtype)

    monkeypatch.setattr(core_model_loading, "_materialize_copy", materialize)
    model = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))
    dense = [tuple(value.shape) for name, value in model.named_parameters() if ".experts." not in name]
    assert sorted(read) == sorted(dense)


def test_another_format_or_another_source_has_another_entry(tmp_path):
    cache = tmp_path / "cache"
    load("qwen3_moe", MoeqConfig("nf4", cache=cache))
    assert sources(load("qwen3_moe", MoeqConfig("int8", cache=cache))) == {"streamed"}
    assert sources(load("qwen3_moe", MoeqConfig("nf4", skip=["**.layers.0.**"], cache=cache))) == {"streamed"}
    changed = copy_of(folder_of("qwen3_moe"), tmp_path / "other", lambda tensors: [
        value.neg_() for name, value in tensors.items() if "experts" in name])  # fmt: skip
    assert sources(load("qwen3_moe", MoeqConfig("nf4", cache=cache), changed)) == {"streamed"}
    assert len(entries(cache)) == 4


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def clear_header(path):
    content = path.read_bytes()
    path.write_bytes(content[:8] + bytes(64) + content[72:])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, clear_header, empty])
def test_a_damaged_entry_is_made_anew_and_said(damage, tmp_path):
    model = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    damage(entry)
    again = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))
    assert "is made anew, it cannot be read" in notes(again)
    assert sources(again) == {"streamed"} and same_models(model, again)
    assert entry.read_bytes() == whole and entries(tmp_path) == [entry.name]


def test_an_entry_of_another_source_is_made_anew_and_said(tmp_path):
    load("qwen3_moe", MoeqConfig("int8", cache=tmp_path / "other"))
    load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path / "own"))
    (foreign,), (own,) = (tmp_path / "other").iterdir(), (tmp_path / "own").iterdir()
    shutil.copy(foreign, own)
    model = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path / "own"))
    assert "is made anew, it belongs to another source" in notes(model) and sources(model) == {"streamed"}
    assert sources(load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path / "own"))) == {"cache"}


@pytest.mark.parametrize("step", ["declare", "put", "commit"])
def test_a_full_disk_does_not_stop_the_load(step, tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise moeq.FileError("moeq_writer: no space left on device")

    monkeypatch.setattr(moeq.Writer, step, full)
    model = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))
    monkeypatch.undo()
    assert "goes on without it: moeq_writer: no space left" in notes(model) and entries(tmp_path) == []
    assert same_models(model, load("qwen3_moe", "nf4"))


def test_a_folder_that_cannot_be_made_does_not_stop_the_load(tmp_path):
    (tmp_path / "file").write_text("")
    model = load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path / "file" / "below"))
    assert "goes on without it" in notes(model) and sources(model) == {"streamed"}


def test_a_load_that_fails_leaves_nothing(tmp_path):
    def change(tensors):
        tensors["model.layers.1.mlp.experts.2.up_proj.weight"][0, 0] = float("nan")

    folder, cache = copy_of(folder_of("qwen3_moe"), tmp_path / "nan", change), tmp_path / "cache"
    with pytest.raises(moeq.BadValueError):
        load("qwen3_moe", MoeqConfig("nf4", cache=cache), folder)
    assert entries(cache) == []


ONE_OF_TWO = """
import sys, torch
from transformers import Qwen3MoeForCausalLM
from moeq.transformers import MoeqConfig
print("ready", flush=True)
sys.stdin.readline()
model = Qwen3MoeForCausalLM.from_pretrained(sys.argv[1], quantization_config=MoeqConfig("nf4", cache=sys.argv[2]))
print(float(model.model.layers[0].mlp.experts.down_proj.dequantize().double().abs().sum()))
"""


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: two processes take as long as importing torch twice")
def test_two_processes_at_once_both_load_and_leave_one_whole_entry(tmp_path):
    import os
    import pathlib

    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(moeq.__file__).parents[1])}
    two = [subprocess.Popen([sys.executable, "-c", ONE_OF_TWO, folder_of("qwen3_moe"), tmp_path], env=environment,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]  # fmt: skip
    assert [one.stdout.readline() for one in two] == ["ready\n"] * 2
    for one in two:
        one.stdin.write("go\n")
        one.stdin.flush()
    sums = [one.communicate(timeout=200)[0] for one in two]
    assert [one.returncode for one in two] == [0, 0] and sums[0] == sums[1]
    (entry,) = entries(tmp_path)
    assert entry.endswith(".safetensors")
    assert sources(load("qwen3_moe", MoeqConfig("nf4", cache=tmp_path))) == {"cache"}


def test_what_a_killed_process_left_is_never_read(tmp_path):
    plan = load("qwen3_moe", "nf4").hf_quantizer.plan
    left = Cache(str(tmp_path), "0" * 40, plan)
    assert left._writer is not None  # as if the process ended here
    assert Cache(str(tmp_path), "0" * 40, plan).load(next(iter(plan))) is None


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: a model of 400 MB was not made")
def test_the_second_load_takes_a_tenth_of_the_first(tmp_path):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(hidden_size=1024, moe_intermediate_size=1024, num_experts=32, num_hidden_layers=2,
                            num_attention_heads=2, num_key_value_heads=2, head_dim=64, vocab_size=256,
                            num_experts_per_tok=2, intermediate_size=64)  # fmt: skip
    Qwen3MoeForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path / "dense")
    cache = tmp_path / "cache"
    found = run_python(TIMED, tmp_path / "dense", cache, folder_of("qwen3_moe"))
    print(found)
    assert found[1] <= 0.1 * found[0]


TIMED = """
import gc, json, sys, time, torch
from transformers import Qwen3MoeForCausalLM
from moeq.transformers import MoeqConfig
Qwen3MoeForCausalLM.from_pretrained(sys.argv[3], quantization_config=MoeqConfig("nf4"))  # what is imported late
times = []
for _ in range(4):
    begin = time.perf_counter()
    config = MoeqConfig("nf4:64,nested", cache=sys.argv[2])
    model = Qwen3MoeForCausalLM.from_pretrained(sys.argv[1], quantization_config=config)
    times.append(time.perf_counter() - begin)
    del model
    gc.collect()
print(json.dumps(times))
"""
