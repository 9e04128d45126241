"""moeq's own files: safetensors reads them as plain tensors that are the handle's components, bit for bit; and what
safetensors writes with the same names and metadata opens as the same weight."""

import json

import numpy as np
import pytest
from checkpoints import normal, stacked, write_model
from dialects import EXPERTS, STACKS, convert

import moeq

safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

SUFFIX = {
    "codes": "",
    "nested_scale": ".moeq.nested_absmax",
    "nested_map": ".moeq.nested_map",
    "nested_offset": ".moeq.nested_offset",
}
SPECS = [
    "int8", "int8:expert", "int8:block32x48", "int8:scale=factor",
    "nf4", "nf4:128,nested", "nf4:32,blocking=row", "nf4:64,nested,blocking=flat",
    "fp4:4096", "fp4:64,nested,blocking=row",
    "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e4m3:scale=absmax", "fp8_e5m2:expert",
]  # fmt: skip
SHAPES = [(3, 40, 96), (2, 7, 33), (5, 6), (2, 3, 4, 10), (1, 1, 1), (0, 4, 8)]


def suffix(name, spec):
    if name == "scale":
        return ".moeq.scale" if spec.scale_kind == "factor" else ".moeq.absmax"
    return SUFFIX[name]


def raw(tensor):
    """Type, shape and bytes of a component, or of an array of safetensors."""
    array = tensor.numpy() if isinstance(tensor, moeq.Tensor) else tensor
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def load(path):
    """Every tensor as (dtype, shape, bytes) straight from the file, by safetensors' own parser."""
    found = {}
    for name, info in safetensors.deserialize(path.read_bytes()):
        found[name] = (info["dtype"], tuple(info["shape"]), bytes(info["data"]))
    return found


NUMPY = {"I8": "int8", "U8": "uint8", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


@pytest.mark.parametrize("spec", SPECS)
def test_files_hold_the_components(spec, tmp_path):
    for index, shape in enumerate(SHAPES):
        q = moeq.quantize(normal(index, shape, np.float32), spec)
        path = tmp_path / f"{index}.safetensors"
        moeq.save(path, {"a.w": q}, durable=False)
        found = load(path)
        dtype, in_file, content = found["a.w"]
        assert in_file != shape  # nobody can take codes for the weight
        if in_file == (shape[0], 1, *shape[1:]):
            found["a.w"] = dtype, shape, content
        stored = {name: tensor for name, tensor in q.components.items() if name != "code_map"}
        wanted = {"a.w" + suffix(name, q.spec): raw(tensor) for name, tensor in stored.items()}
        assert {name: (NUMPY[dtype], *rest) for name, (dtype, *rest) in found.items()} == wanted, shape
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata()
        assert metadata["moeq.version"] == "1"
        assert json.loads(metadata["moeq.weight.a.w"]) == {"spec": str(q.spec), "shape": list(shape)}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_files_are_read_back(spec, mmap, tmp_path):
    for index, shape in enumerate(SHAPES):
        q = moeq.quantize(normal(index, shape, np.float32), spec)
        moeq.save(tmp_path / f"{index}.safetensors", {"w": q, "norm": normal(9, (8,), np.float32)}, durable=False)
        with moeq.open(tmp_path / f"{index}.safetensors", mmap=mmap) as reader:
            assert reader.dialect == "native"
            (stack,) = reader.stacks
            again = reader.load(stack)
        assert again.spec == q.spec and again.folded_shape == q.folded_shape
        for name, tensor in q.components.items():
            assert raw(again.components[name])[::2] == raw(tensor)[::2], (shape, name)
        assert raw(again.dequantize(dtype="fp32"))[2] == raw(q.dequantize(dtype="fp32"))[2]


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested", "fp8_e4m3:block32x64"])
def test_files_of_safetensors_are_read(spec, tmp_path):
    """Only the names and the metadata matter; order, padding and alignment are the other writer's."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    q = moeq.quantize(normal(3, (4, 24, 64)), spec)
    parts = {name: torch.from_dlpack(tensor) for name, tensor in q.components.items() if name != "code_map"}
    tensors = {"w" + suffix(name, q.spec): part.clone() for name, part in parts.items()}
    blob = safetensors_torch.save(tensors, metadata=metadata_of("w", q))
    (tmp_path / "theirs.safetensors").write_bytes(blob)
    for mmap in (False, True):
        with moeq.open(tmp_path / "theirs.safetensors", mmap=mmap) as reader:
            again = reader.load("w")
        assert raw(again.dequantize()) == raw(q.dequantize())
        assert {n: raw(t) for n, t in again.components.items()} == {n: raw(t) for n, t in q.components.items()}


def metadata_of(name, q):
    return {
        "moeq.version": "1",
        f"moeq.weight.{name}": json.dumps({"spec": str(q.spec), "shape": list(q.shape)}),
        "from": "another writer",
    }


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested", "fp8_e4m3:block32x64", "fp8_e4m3:expert"])
def test_converted_experts_are_the_quantized_stack(spec, tmp_path):
    """Whatever form the source had, a native stack is fused; its bytes are those of quantizing the stack in memory."""
    tensors = write_model(tmp_path / "source", layers=1, experts=3, hidden=64, width=96)
    said = convert(tmp_path / "source", tmp_path / "target", spec=spec)
    assert said["quant_method"] == "moeq"
    with moeq.open(tmp_path / "target") as reader:
        for stack in STACKS:
            info = reader.find(EXPERTS + stack).stack
            assert info.fused and info.quantized
            wanted = moeq.quantize(stacked(tensors, 0, 3, stack), info.spec)
            with reader.load(info) as q:
                assert {n: raw(t) for n, t in q.components.items()} == {n: raw(t) for n, t in wanted.components.items()}


def test_a_newer_version_is_refused(tmp_path):
    q = moeq.quantize(normal(3, (4, 24, 64)), "int8")
    tensors = {"w" + suffix(n, q.spec): t.numpy() for n, t in q.components.items()}
    blob = safetensors_numpy.save(tensors, metadata=metadata_of("w", q) | {"moeq.version": "2"})
    (tmp_path / "theirs.safetensors").write_bytes(blob)
    with pytest.raises(moeq.VersionError, match="moeq.version"):
        moeq.open(tmp_path / "theirs.safetensors")


@pytest.mark.parametrize("lost", ["w", "w.moeq.absmax"])
def test_a_lost_part_is_missed(lost, tmp_path):
    q = moeq.quantize(normal(3, (4, 24, 64)), "int8")
    tensors = {"w" + suffix(n, q.spec): t.numpy() for n, t in q.components.items() if "w" + suffix(n, q.spec) != lost}
    (tmp_path / "theirs.safetensors").write_bytes(safetensors_numpy.save(tensors, metadata=metadata_of("w", q)))
    with pytest.raises(moeq.FormatError) as caught:
        moeq.open(tmp_path / "theirs.safetensors")
    assert caught.value.class_id == "F28"
