"""moeq.open against files that were written by hand, and against safetensors."""

import gc
import json
import os
import signal
import threading

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

from checkpoints import (  # noqa: E402
    normal,
    projection,
    stacked,
    tree,
    write_model,
    write_safetensors,
)
from conftest import ROOT  # noqa: E402

TINY = ROOT / "tests" / "data" / "tiny-moe"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return folder, write_model(folder)


@pytest.fixture
def reader(model):
    with moeq.open(model[0]) as opened:
        yield opened


# ---- what is there


def test_tensors_are_those_that_safetensors_lists():
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed: no second reader")
    with moeq.open(TINY) as reader:
        listed = {tensor.name: tensor for tensor in reader.tensors}
        files = sorted(TINY.glob("*.safetensors"))
        peers = [pair for file in files for pair in safetensors.deserialize(file.read_bytes())]
        assert len(peers) == len(listed) == len(reader.tensors)
        assert reader.nbytes == sum(len(peer["data"]) for _, peer in peers)
        for name, peer in peers:
            assert list(listed[name].shape) == list(peer["shape"])
            assert listed[name].bytes == len(peer["data"])
            assert reader.read(name).numpy().tobytes() == bytes(peer["data"])


def test_reader_tells_what_it_found(reader, model):
    folder, tensors = model
    assert reader.dialect is None and reader.model_type == "qwen3_moe" and reader.file_count == 2
    assert reader.path == str(folder)
    assert len(reader.tensors) == len(tensors) and reader.nbytes == sum(t.nbytes for t in tensors.values())
    assert [tensor.index for tensor in reader.tensors] == list(range(len(tensors)))
    metadata = reader.metadata()
    assert metadata["model_type"] == "qwen3_moe" and len(metadata["files"]) == 2


def test_stacks_join_gate_and_up(reader):
    assert [stack.name for stack in reader.stacks] == [
        f"model.layers.{layer}.mlp.experts.{name}" for layer in (0, 1) for name in ("gate_up_proj", "down_proj")
    ]
    gate_up, down = reader.stacks[:2]
    assert (gate_up.shape, gate_up.layout, gate_up.dtype) == ((3, 64, 64), "gate_up", "bf16")
    assert (down.shape, down.layout, down.scale_axis) == ((3, 64, 32), "plain", -1)
    assert not gate_up.quantized and not gate_up.fused and gate_up.spec is None
    assert gate_up.bytes == 3 * 64 * 64 * 2


def test_tensors_say_where_they_belong(reader):
    up = reader.find(projection(1, 2, "up")).tensor
    assert (up.stack, up.expert, up.row, up.column, up.component) == (2, 2, 32, 0, None)
    assert reader.find("lm_head.weight").tensor.stack is None


def test_find_tells_tensors_from_stacks(reader):
    found = reader.find("model.layers.0.mlp.experts.down_proj")
    assert found.tensor is None and found.stack == reader.stacks[1]
    assert reader.find("lm_head.weight").stack is None
    for name in ("nothing", "", "lm_head.weight\0"):
        with pytest.raises(moeq.NotFoundError):
            reader.find(name)
    with pytest.raises(moeq.NotFoundError, match="use load"):
        reader.read("model.layers.0.mlp.experts.down_proj")
    with pytest.raises(moeq.NotFoundError, match="use read"):
        reader.load("lm_head.weight", "nf4")


# ---- reading tensors


def test_read_gives_the_bytes_of_the_file(reader, model):
    for tensor in reader.tensors:
        got = reader.read(tensor)
        assert got.shape == tensor.shape and got.dtype == tensor.dtype == "bf16"
        assert got.numpy().tobytes() == model[1][tensor.name].tobytes()


def test_read_of_a_part_and_into_memory_of_the_callers(reader, model):
    name = projection(0, 1, "gate")
    want = model[1][name]
    assert reader.read(name, begin=5, count=3).numpy().tobytes() == want[5:8].tobytes()
    assert reader.read(name, begin=30).shape == (2, 64)
    out = np.empty((4, 64), ml_dtypes.bfloat16)
    assert reader.read(name, begin=2, out=out) is out
    assert out.tobytes() == want[2:6].tobytes()
    raw = np.empty(10, np.uint8)
    reader.read(name, begin=7, out=raw)
    assert raw.tobytes() == want.tobytes()[7:17]
    with pytest.raises(moeq.RangeError):
        reader.read(name, begin=30, count=3)
    with pytest.raises(moeq.RangeError):
        reader.read(name, begin=-1)
    with pytest.raises(moeq.ArgumentError):
        reader.read(name, count=4, out=out)
    with pytest.raises(moeq.DtypeError, match="want bf16"):
        reader.read(name, out=np.empty((32, 64), np.float32))


def test_every_element_type_can_be_read(tmp_path):
    values = {
        name: np.arange(12).reshape(3, 4).astype(name)
        for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
                     "uint64", "bool")
    }  # fmt: skip
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        values[name] = np.arange(12).reshape(3, 4).astype(getattr(ml_dtypes, name))
    values["scalar"] = np.float32(2.5).reshape(())
    values["none"] = np.empty((0, 3), np.float32)
    values["exponents"] = ("F8_E8M0", (5,), bytes(range(5)))
    path = tmp_path / "types.safetensors"
    write_safetensors(path, values)
    with moeq.open(path) as reader:
        assert len(reader.tensors) == len(values) and not reader.stacks and reader.model_type == ""
        for tensor in reader.tensors:
            got = reader.read(tensor).numpy()
            want = values[tensor.name]
            if isinstance(want, tuple):
                assert tensor.dtype == "fp8_e8m0" and got.tobytes() == want[2]
                continue
            assert got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


# ---- loading stacks


@pytest.mark.parametrize("spec", ["int8", "nf4", "nf4:64,nested", "fp8_e4m3", "fp8_e4m3:expert"])
def test_loading_gives_the_bytes_of_one_call(reader, model, spec):
    for layer in (0, 1):
        for name in ("gate_up_proj", "down_proj"):
            handle = reader.load(f"model.layers.{layer}.mlp.experts.{name}", spec)
            layout = "gate_up" if name == "gate_up_proj" else "plain"
            whole = moeq.quantize(stacked(model[1], layer, 3, name), moeq.Spec(spec, layout=layout))
            assert handle.spec == whole.spec and handle.shape == whole.shape
            got, want = handle.components, whole.components
            assert set(got) == set(want)
            for component in want:
                assert got[component].numpy().tobytes() == want[component].numpy().tobytes(), component


@pytest.mark.parametrize("experts, want", [(range(1, 3), (1, 3)), (slice(1, None), (1, 3)), ((0, 1), (0, 1))])
def test_an_expert_range(reader, model, experts, want):
    part = reader.load(reader.stacks[0], "int8", experts=experts)
    whole = moeq.quantize(stacked(model[1], 0, 3, "gate_up_proj")[want[0] : want[1]], "int8")
    assert part.component("codes").numpy().tobytes() == whole.component("codes").numpy().tobytes()


@pytest.mark.parametrize("experts", [range(2, 2), range(0, 4), (-1, 2), (2, 1), slice(3, 5)])
def test_experts_out_of_range(reader, experts):
    with pytest.raises(moeq.RangeError):
        reader.load(0, "int8", experts=experts)


@pytest.mark.parametrize("experts", [5, "ab", range(0, 3, 2), (1,)])
def test_experts_that_are_none(reader, experts):
    with pytest.raises(moeq.ArgumentError):
        reader.load(0, "int8", experts=experts)


@pytest.mark.parametrize("experts", [[0, 2], np.array([0, 2]), 1, (0, 1, 2)])
def test_lists_of_experts_are_refused(reader, experts):
    """dequantize takes a list of experts, so that two numbers in one may not mean a range here."""
    with pytest.raises(TypeError, match=r"wanted a tuple \(begin, end\), a range or a slice"):
        reader.load(0, "int8", experts=experts)


def test_arguments_of_another_kind(reader):
    for tp in (2, "ab", (1,), (0, 1.0)):
        with pytest.raises(TypeError, match=r"tp: .*wanted \(rank, size\)"):
            reader.load(0, "int8", tp=tp)
    for tp in ((0, 0), (2, 2), (-1, 2)):
        with pytest.raises(moeq.RangeError, match="tp: got rank"):
            reader.load(0, "int8", tp=tp)
    with pytest.raises(TypeError, match="use read for tensors"):
        reader.load(reader.tensors[0], "int8")
    with pytest.raises(TypeError, match="use load for stacks"):
        reader.read(reader.stacks[0])
    for call in (reader.load, reader.read):
        with pytest.raises(TypeError, match="a name or an index"):
            call(None)


def test_tensor_parallel_cuts(reader, model):
    gate_up, down = (stacked(model[1], 0, 3, name) for name in ("gate_up_proj", "down_proj"))
    for rank in (0, 1):
        rows = slice(16 * rank, 16 * rank + 16)
        mine = np.concatenate([gate_up[:, :32][:, rows], gate_up[:, 32:][:, rows]], axis=1)
        got = reader.load(0, "int8", tp=(rank, 2)).component("codes").numpy()
        assert got.tobytes() == moeq.quantize(mine, "int8").component("codes").numpy().tobytes()
        cut = np.ascontiguousarray(down[:, :, rows])
        got = reader.load(1, "int8", tp=(rank, 2)).dequantize(dtype="fp32").numpy()
        assert got.shape == cut.shape
        np.testing.assert_allclose(got, cut.astype(np.float32), atol=0.05)


def test_given_amax_is_used(reader):
    amax = np.array([8, 16, 32], np.float32)
    handle = reader.load(1, "fp8_e4m3:expert", amax=amax)
    want = moeq.scale_from_amax(amax, "fp8_e4m3:expert").numpy()
    np.testing.assert_allclose(handle.component("scale").numpy().reshape(-1), want)


def test_dense_stacks_need_a_spec(reader):
    with pytest.raises(moeq.ArgumentError, match="want a spec"):
        reader.load(0)


def test_patterns_make_stacks_of_other_names(tmp_path):
    weight = normal(5, (4, 8, 64))
    write_safetensors(tmp_path / "model.safetensors", {"blocks.0.bank.w": weight})
    path = tmp_path / "model.safetensors"
    with moeq.open(path) as reader:
        assert not reader.stacks
    pattern = {"match": "blocks.*.bank.w", "stack": "blocks.*.bank", "scale_axis": -2}
    with moeq.open(path, patterns=[pattern]) as reader:
        (stack,) = reader.stacks
        assert (stack.name, stack.shape, stack.scale_axis, stack.fused) == ("blocks.0.bank", (4, 8, 64), -2, True)
        got = reader.load(stack, "int8").component("codes").numpy()
    assert got.tobytes() == moeq.quantize(weight, "int8:axis=-2").component("codes").numpy().tobytes()
    with pytest.raises(moeq.ArgumentError, match="nonsense"):
        moeq.open(path, patterns=[{"nonsense": 1}])


# ---- progress


def test_progress_is_told_and_ends_with_everything(reader):
    told = []
    reader.load(0, "nf4", progress=lambda *step: told.append(step))
    stages = {stage for stage, *_ in told}
    assert stages and stages <= {"read", "quantize", "write", "verify"}
    assert told[-1][2] == told[-1][3] > 0
    assert [done for _, _, done, _ in told] == sorted(done for _, _, done, _ in told)


class Stop(Exception):
    pass


def test_an_exception_of_the_callback_comes_out(reader):
    def stop(*_):
        raise Stop("enough")

    with pytest.raises(Stop, match="enough"):
        reader.load(0, "nf4", progress=stop)
    with pytest.raises(Stop):
        reader.verify(progress=stop)
    assert reader.load(0, "nf4").nbytes > 0  # and the reader is as good as before


def test_a_signal_during_the_callback_stops_the_work(reader):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        reader.verify(progress=interrupt)


# ---- life


def test_closed_readers_say_so(model):
    reader = moeq.open(model[0])
    reader.close()
    reader.close()
    for call in (reader.metadata, reader.verify, lambda: reader.load(0), lambda: reader.find("x")):
        with pytest.raises(moeq.StateError):
            call()
    assert "closed" in repr(reader)


def test_handles_outlive_their_reader(model, tmp_path):
    with moeq.open(model[0]) as reader:
        handle = reader.load(0, "int8")
    gc.collect()
    assert np.isfinite(handle.dequantize(dtype="fp32").numpy()).all()
    path = tmp_path / "native.safetensors"
    moeq.save(path, {"w": handle})
    with moeq.open(path, mmap=True) as reader:
        mapped = reader.load("w")
    gc.collect()
    assert mapped.component("codes").numpy().tobytes() == handle.component("codes").numpy().tobytes()


def test_threads_share_a_reader(reader, model):
    want = moeq.quantize(stacked(model[1], 0, 3, "gate_up_proj"), "int8").component("codes").numpy().tobytes()
    same = []

    def work():
        for _ in range(5):
            same.append(reader.load(0, "int8").component("codes").numpy().tobytes() == want)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 20


# ---- what is wrong with files


def test_missing_files(tmp_path):
    with pytest.raises(moeq.NotFoundError, match="nothing"):
        moeq.open(tmp_path / "nothing")
    with pytest.raises(moeq.ArgumentError):
        moeq.open("a\0b")


@pytest.mark.parametrize(
    "content, error, class_id",
    [
        (b"", moeq.TruncatedError, "F01"),
        (b"\x05\0\0", moeq.TruncatedError, "F01"),
        (b"\xff" * 8 + b"{}", moeq.FormatError, "F01"),
        (b"\x02" + b"\0" * 7 + b"[]", moeq.FormatError, "F12"),
    ],
)
def test_damaged_files(tmp_path, content, error, class_id):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(error) as refusal:
        moeq.open(path)
    assert refusal.value.class_id == class_id


def test_a_lacking_expert_is_named(model, tmp_path):
    tensors = dict(model[1])
    del tensors[projection(0, 1, "up")]
    write_safetensors(tmp_path / "model.safetensors", tensors)
    (tmp_path / "config.json").write_bytes((model[0] / "config.json").read_bytes())
    with moeq.open(tmp_path) as reader:
        with pytest.raises(moeq.IncompleteError, match="expert 1"):
            reader.load("model.layers.0.mlp.experts.gate_up_proj", "int8")
        (problem,) = reader.verify()["problems"]
    assert (problem["kind"], problem["name"], problem["expert"]) == (
        "missing_expert", "model.layers.0.mlp.experts.gate_up_proj", 1
    )  # fmt: skip


def test_verify_finds_nothing_in_a_sound_model(reader, model):
    before = tree(model[0])
    found = reader.verify()
    assert found["problems"] == [] and found["checked"]
    json.dumps(found)
    assert tree(model[0]) == before
