"""Checkpoints as people have them: files and indices that disagree, pointers, descriptions left over or in odd places."""

import json

import numpy as np
import pytest
from checkpoints import config, expert_weights, ml_dtypes, normal, write_model, write_safetensors
from command_line import document, process, refused

import moeq

E4M3, E8M0 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e8m0fnu)
MTP = {"mtp.layers.0.eh_proj.weight": normal(9, (32, 64))}


@pytest.fixture
def sharded(tmp_path):
    """With a file that the index does not name, and a tensor that it leaves out."""
    tensors = write_model(tmp_path / "source")
    index = tmp_path / "source" / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    del text["weight_map"]["lm_head.weight"]
    index.write_text(json.dumps(text))
    write_safetensors(tmp_path / "source" / "mtp.safetensors", MTP)
    return tmp_path / "source", tensors


def test_what_the_index_leaves_out_is_said_and_read(sharded, tmp_path):
    source, tensors = sharded
    with moeq.open(source) as reader:
        assert reader.metadata()["strays"] == ["mtp.safetensors"] and reader.metadata()["unlisted"] == 1
        assert np.array_equal(reader.read("lm_head.weight"), tensors["lm_head.weight"])
        assert [problem["kind"] for problem in reader.verify()["problems"]] == ["unlisted"]
    notes = moeq.plan(source, tmp_path / "out", spec="int8").notes
    assert [note for note in notes if note.startswith("1 file, mtp.safetensors: the index does not name it")]
    assert [note for note in notes if note.startswith("1 tensor, lm_head.weight: in a file, but not in the index")]
    moeq.convert(source, tmp_path / "out", spec="int8", durable=False)
    with moeq.open(tmp_path / "out", strict=True) as out:
        assert out.metadata()["unlisted"] == 0 and not out.metadata()["strays"]
        assert np.array_equal(out.read("lm_head.weight"), tensors["lm_head.weight"])
    with pytest.raises(moeq.FormatError, match=r"lm_head\.weight.*is not in model\.safetensors\.index\.json"):
        moeq.open(source, strict=True)


def test_files_that_the_index_does_not_name_come_along_on_request(sharded, tmp_path):
    source, _ = sharded
    moeq.convert(source, tmp_path / "out", all_files=True, durable=False)
    with moeq.open(tmp_path / "out") as out:
        for name, array in MTP.items():
            assert np.array_equal(out.read(name), array)
    plan = document(process("plan", source, "--all-files", "-f", "int8", "--json"))
    assert plan["source"]["files"] == 3 and not any("mtp" in note for note in plan["notes"])


def test_files_without_an_index_are_one_checkpoint_on_request(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"a": normal(1, (2, 2))})
    write_safetensors(tmp_path / "b.safetensors", {"b": normal(2, (2, 2))})
    with pytest.raises(moeq.FormatError, match="2 files"):
        moeq.open(tmp_path)
    with moeq.open(tmp_path, all_files=True) as reader:
        assert [tensor.name for tensor in reader.tensors] == ["a", "b"]
    write_safetensors(tmp_path / "c.safetensors", {"a": normal(3, (2, 2))})
    with pytest.raises(moeq.FormatError, match="is in another file too"):
        moeq.open(tmp_path, all_files=True)


def test_a_pointer_is_called_one(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n")
    refused(process("inspect", file), 3, "Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("path", [(), ("text_config",), ("thinker_config", "text_config")])
def test_the_description_is_found_where_transformers_finds_it(tmp_path, path):
    """And is nowhere in the target when weights are quantized anew."""
    tensors = expert_weights(1, 2, 64, 32)
    name = "model.layers.0.self_attn.q_proj.weight"
    coded = tensors | {name: np.ones((64, 64), E4M3), name + "_scale_inv": np.ones((1, 1), np.float32)}
    source = tmp_path / "source"
    source.mkdir()
    write_safetensors(source / "model.safetensors", coded, {"format": "pt"})
    text = inner = {"model_type": "qwen3_omni_moe"}
    for key in path:
        inner[key] = inner = {}
    inner |= config(1, 2, 64, 32) | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    (source / "config.json").write_text(json.dumps(text))
    with moeq.open(source) as reader:
        assert reader.dialect == "hf-fp8"
        assert next(tensor for tensor in reader.tensors if tensor.name == name).component == "codes"
    rules = {"**.down_proj": "int8"}
    moeq.convert(source, tmp_path / "out", rules=rules, durable=False)
    made = json.loads((tmp_path / "out" / "config.json").read_text())
    assert made.pop("quantization_config")["quant_method"] == "moeq"
    assert "quantization_config" not in json.dumps(made)


@pytest.mark.parametrize("suffix", ["scale", "qscale_weight", "weight_scale_inv"])
@pytest.mark.parametrize("scale_type", [np.dtype(np.float32), E8M0])
def test_scales_of_released_fp8_are_read_under_their_names(tmp_path, suffix, scale_type):
    """.scale as DeepSeek-V4 has it, .qscale_weight as Mistral Large 4."""
    shape, tensors, dense = (192, 256), {}, []
    for expert in range(2):
        x = f"model.layers.0.mlp.experts.{expert}.down_proj."
        codes = np.random.default_rng(expert).normal(size=shape).astype(np.float32).astype(E4M3)
        scale = np.exp2(np.arange(4).reshape(2, 2) - 3).astype(scale_type)
        tensors |= {x + "weight": codes, x + suffix: scale}
        each = np.repeat(np.repeat(scale.astype(np.float32), 128, 0), 128, 1)[: shape[0]]
        dense.append(codes.astype(np.float32) * each)
    tensors["model.norm.scale"] = np.ones(64, np.float32)  # of nobody's codes
    write_safetensors(tmp_path / "model.safetensors", tensors)
    quantization = {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "deepseek_v4", "quantization_config": quantization})
    )
    with moeq.open(tmp_path) as reader:
        values = reader.load("model.layers.0.mlp.experts.down_proj").dequantize(dtype="fp32").numpy()
        assert np.array_equal(values, np.stack(dense))
        assert not reader.metadata()["foreign"] and not reader.verify()["problems"]


def test_files_about_the_source_are_left_behind_with_a_word(tmp_path):
    write_model(tmp_path / "source")
    for name in ("hf_quant_config.json", "quantize_config.json", "generation_config.json"):
        (tmp_path / "source" / name).write_text("{}")
    plan = moeq.plan(tmp_path / "source", tmp_path / "out", spec="int8")
    told = [note for note in plan.notes if "tells how the source is quantized" in note]
    assert ["hf_quant_config.json" in told[0], "quantize_config.json" in told[1]] == [True, True] and len(told) == 2
    moeq.convert(tmp_path / "source", tmp_path / "out", spec="int8", durable=False)
    there = {file.name for file in (tmp_path / "out").iterdir()}
    assert "generation_config.json" in there and not there & {"hf_quant_config.json", "quantize_config.json"}
    moeq.convert(tmp_path / "source", tmp_path / "copy", durable=False)  # nothing new: they stay true
    assert (tmp_path / "copy" / "hf_quant_config.json").exists()
