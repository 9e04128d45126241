"""moeq.Writer and moeq.save against safetensors and numpy."""

import json
import os

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

from checkpoints import normal  # noqa: E402


def header(path):
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def leftovers(folder, *names):
    return sorted(set(os.listdir(folder)) - set(names))


def test_plain_tensors_are_what_safetensors_reads(tmp_path):
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed: no second reader")
    path = tmp_path / "plain.safetensors"
    values = {
        "a": normal(1, (5, 7)), "b": np.arange(6, dtype=np.int64).reshape(2, 3), "c": np.array([True, False]),
        "d": np.float32(3).reshape(()), "e": np.empty((0, 4), np.float16), "t": normal(2, (4, 6), np.float32).T,
        "u": np.arange(3, dtype=np.uint32),
    }  # fmt: skip
    moeq.save(path, values, metadata={"format": "pt"})
    peers = dict(safetensors.deserialize(path.read_bytes()))
    assert set(peers) == set(values)
    for name, value in values.items():
        assert tuple(peers[name]["shape"]) == value.shape
        assert bytes(peers[name]["data"]) == np.ascontiguousarray(value).tobytes()
    assert header(path)["__metadata__"]["format"] == "pt"
    assert leftovers(tmp_path, "plain.safetensors") == []


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested", "fp4", "fp8_e4m3", "fp8_e5m2:expert", "fp8_e4m3:block"])
def test_native_weights_come_back_as_they_were(tmp_path, spec):
    path = tmp_path / "experts.safetensors"
    name = "model.layers.0.mlp.experts.down_proj"
    q = moeq.quantize(normal(3, (3, 128, 256)), spec)
    moeq.save(path, {name: q, "norm": normal(4, (16,))})
    for mmap in (False, True):
        with moeq.open(path, mmap=mmap) as reader:
            assert reader.dialect == "native"
            assert reader.verify()["problems"] == []
            back = reader.load(name)
        assert back.spec == q.spec and back.shape == q.shape
        assert set(back.components) == set(q.components)
        for part, tensor in q.components.items():
            assert back.component(part).numpy().tobytes() == tensor.numpy().tobytes()


def test_put_in_any_order_and_from_any_strides(tmp_path):
    path = tmp_path / "x.safetensors"
    a, b = normal(1, (4, 6)), normal(2, (3, 5), np.float32)
    with moeq.Writer(path, durable=False) as file:
        file.declare("a", (6, 4), "bf16")
        file.declare("b", b.shape, np.float32)
        file.put("b", b)
        file.put("a", a.T)
    with moeq.open(path) as reader:
        assert reader.read("a").numpy().tobytes() == np.ascontiguousarray(a.T).tobytes()
        assert reader.read("b").numpy().tobytes() == b.tobytes()


def test_an_exception_leaves_no_trace(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="stop"), moeq.Writer(path) as file:
        file.declare("a", (2,), "fp32")
        file.put("a", np.zeros(2, np.float32))
        raise RuntimeError("stop")
    assert path.read_bytes() == b"before" and leftovers(tmp_path, "x.safetensors") == []


def test_what_is_missing_is_named_and_may_come_later(tmp_path):
    path = tmp_path / "x.safetensors"
    file = moeq.Writer(path)
    file.declare("first", (2,), "fp32")
    file.declare("second", (2,), "fp32")
    file.put("first", np.zeros(2, np.float32))
    with pytest.raises(moeq.IncompleteError, match="second"):
        file.commit()
    assert not path.exists()
    file.put("second", np.ones(2, np.float32))
    file.commit()
    assert set(header(path)) - {"__metadata__"} == {"first", "second"}
    for call in (file.commit, lambda: file.put("first", np.zeros(2, np.float32))):
        with pytest.raises(moeq.StateError, match="committed"):
            call()
    file.close()
    file.close()


def test_leaving_the_block_without_all_tensors_raises_and_abandons(tmp_path):
    with pytest.raises(moeq.IncompleteError), moeq.Writer(tmp_path / "x.safetensors") as file:
        file.declare("a", (2,), "fp32")
    assert leftovers(tmp_path) == []


def test_mistakes(tmp_path):
    with moeq.Writer(tmp_path / "x.safetensors") as file:
        with pytest.raises(moeq.ArgumentError):
            file.declare("a", (2,))
        with pytest.raises(moeq.ArgumentError):
            file.declare("a", (2,), "fp32", spec="int8")
        with pytest.raises(moeq.ArgumentError):
            file.declare("a\0", (2,), "fp32")
        file.declare("a", (2,), "fp32")
        with pytest.raises(moeq.DuplicateError):
            file.declare("a", (2,), "fp32")
        with pytest.raises(moeq.ShapeError):
            file.put("a", np.zeros(3, np.float32))
        with pytest.raises(moeq.NotFoundError, match="nothing"):
            file.put("nothing", np.zeros(2, np.float32))
        file.put("a", np.zeros(2, np.float32))
        with pytest.raises(moeq.DuplicateError):
            file.put("a", np.zeros(2, np.float32))
    with pytest.raises(moeq.ArgumentError, match="dialect"):
        moeq.Writer(tmp_path / "y.safetensors", "gguf")
    with pytest.raises(moeq.NotFoundError):
        moeq.Writer(tmp_path / "no" / "such" / "folder.safetensors")


def test_a_dialect_says_what_it_cannot_hold(tmp_path):
    q = moeq.quantize(normal(3, (2, 64, 64)), "fp8_e5m2")
    with pytest.raises(moeq.UnsupportedError):
        moeq.save(tmp_path / "x.safetensors", {"model.layers.0.mlp.experts.down_proj": q}, dialect="bitsandbytes")
    assert leftovers(tmp_path) == []


def test_names_are_texts(weight, tmp_path):
    for save in (lambda path: moeq.save(path, {1: weight}), lambda path: moeq.save(path, [weight])):
        with pytest.raises(TypeError, match="wanted"):
            save(tmp_path / "x.safetensors")
    with moeq.Writer(tmp_path / "x.safetensors") as file, pytest.raises(TypeError, match="name: got 1"):
        file.declare(1, (2,), "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]  # the last one, which is empty
