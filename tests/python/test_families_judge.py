"""The judge of tests/python/families sees what is wrong: right files are spoiled in several ways, and it says so."""

import json
import shutil

import pytest
from command_line import process

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
for _package in ("accelerate", "compressed_tensors", "safetensors"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

from families import decode, judge, loading, models  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

WAYS = {"compressed-tensors": "fp8_e4m3", "hf-fp8": "fp8_e4m3:block", "native": "int8"}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return loading.Family("mixtral", tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def converted(request, family, tmp_path_factory):
    """The dialect, and a folder that moeq wrote in it."""
    target = tmp_path_factory.mktemp("converted") / request.param
    done = process("quantize", family.source("hub"), target, "-f", WAYS[request.param], "--dialect", request.param)
    assert done.returncode == 0, done.stderr
    return request.param, target


@pytest.fixture
def spoil(converted, tmp_path):
    """Changes a copy: change(tensors, config) of one file for all."""

    def spoiled(change):
        dialect, right = converted
        folder = tmp_path / "spoiled"
        shutil.copytree(right, folder)
        tensors, metadata = decode.read_files(folder)
        config = json.loads((folder / "config.json").read_text())
        change(tensors, config)
        for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
            file.unlink(missing_ok=True)
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors", metadata)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return spoiled


def outcome(family, converted, folder, notes=()):
    return judge.judge_files(family, "hub", converted[0], folder, notes)


def quantized_names(tensors, part=""):
    """Codes of experts whose name has a part."""
    eight_bits = (torch.int8, torch.float8_e4m3fn)
    return sorted(name for name, value in tensors.items() if value.dtype in eight_bits and part in name)


def of(*dialects):
    return pytest.mark.parametrize("converted", dialects or sorted(WAYS), indirect=True)


def swap(tensors, one, other):
    """Two weights with all that belongs to them change places."""
    for name in [name for name in tensors if name.startswith(one)]:
        twin = other + name.removeprefix(one)
        tensors[name], tensors[twin] = tensors[twin], tensors[name]


@of()
def test_what_is_right_is_called_right(family, converted):
    assert outcome(family, converted, converted[1]) == "right"


@of("compressed-tensors", "hf-fp8")
def test_two_experts_that_changed_places(family, converted, spoil):
    folder = spoil(lambda tensors, _: swap(tensors, *quantized_names(tensors, "layers.0.")[:12:3][:2]))
    assert outcome(family, converted, folder).startswith("wrong: logits off by")


@of("compressed-tensors", "hf-fp8")
def test_gate_and_up_that_changed_places(family, converted, spoil):
    pair = "model.layers.0.block_sparse_moe.experts.0.w{}.weight"
    folder = spoil(lambda tensors, _: swap(tensors, pair.format(1), pair.format(3)))
    assert outcome(family, converted, folder).startswith("wrong: logits off by")


@of("native")
@pytest.mark.parametrize("axis", [0, 1], ids=["experts", "rows"])
def test_another_order_of_native_files(axis, family, converted, spoil):
    """Codes and statistics together, so that every vector is there."""

    def change(tensors, _):
        name = quantized_names(tensors, "gate_up")[0]
        for part in (name, name + ".moeq.absmax"):
            tensors[part] = tensors[part].roll(1, axis)

    assert outcome(family, converted, spoil(change)).startswith("wrong conversion: ")


@of()
def test_a_scale_of_another_weight(family, converted, spoil):
    def change(tensors, _):
        scales = [name for name in tensors if name.endswith(("_scale", "_scale_inv", ".moeq.absmax"))]
        tensors[scales[0]] = tensors[scales[0]] * 1.5

    assert outcome(family, converted, spoil(change)).startswith("wrong conversion: ")


@of("compressed-tensors")
def test_scales_along_another_axis(family, converted, spoil):
    """Codes and scales that fit each other, but not the layer."""

    def change(tensors, _):
        name = quantized_names(tensors)[0]
        weight = tensors[name].float() * tensors[name + "_scale"]
        largest = weight.abs().amax()
        tensors[name] = (weight / (largest / 448)).to(torch.float8_e4m3fn)
        tensors[name + "_scale"] = (largest / 448).expand_as(tensors[name + "_scale"]).clone()

    assert outcome(family, converted, spoil(change)).startswith("wrong conversion: ")


@of()
def test_an_expert_that_was_left_out(family, converted, spoil):
    def change(tensors, metadata):
        name = quantized_names(tensors)[0]
        shift = tensors[name].view(torch.int8).roll(1, -1)
        tensors[name] = shift.view(tensors[name].dtype)

    assert outcome(family, converted, spoil(change)).startswith("wrong conversion: ")


@of("compressed-tensors")  # on a CPU only its loader looks at the list
def test_a_config_without_its_list(family, converted, spoil):
    def change(_, config):
        config["quantization_config"]["ignore"] = []
        for group in config["quantization_config"]["config_groups"].values():
            group["targets"] = ["Linear"]

    folder = spoil(change)
    assert outcome(family, converted, folder).startswith("wrong: logits are not finite")
    assert outcome(family, converted, folder, ["no word of it"]).startswith("wrong: ")
    assert outcome(family, converted, folder, ["transformers cannot load it"]).startswith("told: ")


@of("hf-fp8")
def test_a_note_of_a_gpu_is_looked_into(family, converted):
    """It excuses only what keeps the right codes and scales on one."""
    exact = {expert.name: expert.vectors().float() for expert in models.experts_of(family.model)}
    note = ["transformers reads this on a GPU only"]
    assert loading.outcome_of_loading(family, converted[1], exact, note).startswith("on a GPU too: ")
    found = judge.match_files(family, "hf-fp8", converted[1]).vectors
    assert loading.judge_kept(family, converted[1], found) == ""
