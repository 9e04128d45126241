"""Every kind of producer, layout and mistake on the way in. Ids D01..D25 are classes of tensor bugs."""

import array
import gc
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import moeq

LAYOUTS = {
    "contiguous": lambda w: w,
    "transposed": lambda w: w.transpose(0, 2, 1).copy().transpose(0, 2, 1),
    "experts_last": lambda w: np.asfortranarray(w),
    "strided": lambda w: np.repeat(np.repeat(w, 2, axis=1), 3, axis=2)[:, ::2, ::3],
    "negative": lambda w: w[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "sliced": lambda w: np.pad(w, ((1, 1), (2, 0), (3, 5)))[1:-1, 2:, 3:-5],
    "unaligned": lambda w: np.frombuffer(b"\0" + w.tobytes(), w.dtype, offset=1).reshape(w.shape),
    "odd_size_1_strides": lambda w: as_strided(w[:1], (1, *w.shape[1:]), (12345 * 4, *w.strides[1:])),
}


def values(source):
    return moeq.quantize(source, "int8").dequantize(dtype="fp32").numpy()


def expected(dense):
    return values(np.ascontiguousarray(dense, np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numpy_layouts(layout, weight):
    source = LAYOUTS[layout](weight)
    if layout == "unaligned":  # natural alignment is what moeq asks for
        with pytest.raises(moeq.LayoutError):
            values(source)
        return
    np.testing.assert_array_equal(values(source), expected(source))


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_numpy_types(name, weight):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = getattr(ml_dtypes, name, None) or np.dtype(name)
    source = weight.astype(dtype)
    np.testing.assert_array_equal(values(source), expected(source))
    np.testing.assert_array_equal(values(LAYOUTS["transposed"](source)), expected(source))
    source.flags.writeable = False  # D12: inputs may be read-only
    np.testing.assert_array_equal(values(source), expected(source))


def test_views_of_bits(weight):
    """bf16 in an array of uint16, without ml_dtypes; the way back too."""
    bits = (weight.view(np.uint32) >> 16).astype(np.uint16)
    exact = (bits.astype(np.uint32) << 16).view(np.float32)
    for layout in ("contiguous", "transposed", "negative"):
        made = moeq.quantize(moeq.view(LAYOUTS[layout](bits), "bf16"), "int8").dequantize(dtype="fp32").numpy()
        np.testing.assert_array_equal(made, expected(LAYOUTS[layout](exact)))
    out = moeq.quantize(exact, "int8").dequantize(dtype="bf16")
    assert out.bits().dtype == np.uint16 and out.bits().tobytes() == out.tobytes() and len(out.tobytes()) == out.nbytes
    moeq.quantize(exact, "int8").dequantize(out=moeq.view(bits, "bf16"))
    assert bits.tobytes() == out.tobytes()
    bits.flags.writeable = False
    with pytest.raises(moeq.ReadOnlyError):
        moeq.quantize(exact, "int8").dequantize(out=moeq.view(bits, "bf16"))
    with pytest.raises(moeq.DtypeError, match="got elements of 2 bytes; wanted 4"):
        moeq.view(bits, "fp32")


def test_numpy_types_that_are_refused(weight):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (np.int64, np.uint16, np.complex64, bool, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2):  # D10
        with pytest.raises(moeq.DtypeError):
            values(weight.astype(dtype))
    with pytest.raises(moeq.DtypeError, match="byte-swapped"):
        values(weight.astype(weight.dtype.newbyteorder()))
    with pytest.raises(moeq.DtypeError, match="no DLPack element type"):
        values(weight.astype(ml_dtypes.int4))
    with pytest.raises(moeq.DtypeError):
        values(np.zeros((2, 2), "datetime64[s]"))
    with pytest.raises(moeq.DtypeError, match="masked"):
        values(np.ma.masked_less(weight, 0))
    record = np.zeros((2, 4), [("a", np.float32), ("b", np.uint8)])["a"]
    with pytest.raises(moeq.LayoutError, match="stride of 5 bytes"):
        values(record)


def test_buffers(weight):
    flat = array.array("f", weight.ravel())
    assert float(moeq.reduce_amax(flat).numpy()) == np.abs(weight).max()
    view = memoryview(flat).cast("B").cast("f", weight.shape)
    np.testing.assert_array_equal(values(view), expected(weight))
    out = array.array("f", bytes(4 * weight.size))
    moeq.quantize(weight, "int8").dequantize(out=memoryview(out).cast("B").cast("f", weight.shape))
    np.testing.assert_array_equal(out, expected(weight).ravel())
    with pytest.raises(moeq.ReadOnlyError):
        moeq.reduce_amax(flat, out=memoryview(bytes(4)).cast("f"))
    with pytest.raises(moeq.LayoutError, match="C-contiguous"):
        moeq.reduce_amax(memoryview(flat)[::2])
    with pytest.raises(moeq.DtypeError, match="format"):
        moeq.reduce_amax(memoryview(b"ab").cast("c"))


@pytest.mark.parametrize("form", ["versioned", "legacy", "both"])
def test_borrowed_tensors_are_not_consumed(form, producer, weight):
    source = producer(weight, form)
    np.testing.assert_array_equal(values(source), expected(weight))
    assert len(source.capsules) == 1 and source.used == 0 and source.deleted == 0
    capsule = producer(weight, "versioned")
    raw = capsule.__dlpack__(max_version=(1, 1))
    np.testing.assert_array_equal(values(raw), expected(weight))
    assert capsule.used == 0 and capsule.deleted == 0


def test_versioned_is_asked_for_first(producer, weight):
    source = producer(weight, "both")
    values(source)
    assert source.capsules[0][1].__name__ == "Versioned"


@pytest.mark.parametrize("form", ["versioned", "legacy"])
def test_descriptions_that_are_fine(form, producer, weight):
    right = expected(weight)
    np.testing.assert_array_equal(values(producer(weight, form, null_strides=True)), right)  # D01
    np.testing.assert_array_equal(values(producer(weight, form, byte_offset=256)), right)  # D05
    np.testing.assert_array_equal(values(producer(weight, form, null_deleter=True)), right)  # D14
    one = weight[:1, :1]
    np.testing.assert_array_equal(values(producer(one, form, strides=[-7, 10**15, 1])), expected(one))  # D03
    none = producer(np.zeros((0, 4, 8), np.float32), form, data=None, strides=[5, -3, 77])  # D02
    assert values(none).shape == (0, 4, 8)
    np.testing.assert_array_equal(values(producer(weight, form, device=(3, 0))), right)  # D20: pinned memory


WRONG = {
    "D04 ndim": ({"ndim": -1}, moeq.ShapeError),
    "D04 many axes": ({"ndim": 9}, moeq.ShapeError),
    "D07 negative extent": ({"shape": [3, -6, 128]}, moeq.ShapeError),
    "D07 overflow": ({"shape": [1 << 40, 1 << 40, 128]}, moeq.ShapeError),
    "D08 lanes": ({"dtype": (2, 32, 2)}, moeq.DtypeError),
    "D09 bool": ({"dtype": (6, 8, 1)}, moeq.DtypeError),
    "D10 fp8 of another kind": ({"dtype": (8, 8, 1)}, moeq.DtypeError),
    "D20 another device": ({"device": (10, 0)}, moeq.DeviceError),
    "D06 alignment": ({"byte_offset": 0, "data": 4099}, moeq.LayoutError),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("form", ["versioned", "legacy"])
def test_descriptions_that_are_refused(case, form, producer, weight):
    fields, kind = WRONG[case]
    source = producer(weight, form, **fields)
    with pytest.raises(kind) as caught:
        values(source)
    assert "source" in str(caught.value) and caught.value.argument == 2
    assert source.used == 0 and source.deleted == 0


def test_unknown_major_version(producer, weight):
    source = producer(weight, "versioned", major=2)  # D13
    with pytest.raises(moeq.VersionError):
        values(source)
    with pytest.raises(moeq.VersionError):
        moeq.QTensor.adopt("int8", weight.shape, {"codes": source, "scale": np.ones((3, 6), np.float32)})
    assert source.used == 0 and source.deleted == 0


def test_read_only_destinations(producer, weight):
    out = producer(np.zeros(3, np.float32), "versioned", flags=1)  # D12
    with pytest.raises(moeq.ReadOnlyError):
        moeq.reduce_amax(weight, (1, 2), out=out)
    legacy = producer(np.zeros(3, np.float32), "legacy")
    moeq.reduce_amax(weight, (1, 2), out=legacy)
    np.testing.assert_array_equal(legacy.array, np.abs(weight).max(axis=(1, 2)))


def test_legacy_tensors_of_frameworks_without_writes(producer, weight):
    """D12: their old capsules cannot say that the memory must not change."""

    class Array(type(producer(weight, "legacy"))):
        __module__ = "jaxlib.array"

    out = Array(np.zeros(3, np.float32))
    with pytest.raises(moeq.ReadOnlyError):
        moeq.reduce_amax(weight, (1, 2), out=out)
    np.testing.assert_array_equal(values(Array(weight)), expected(weight))
    codes, scale = Array(np.zeros(weight.shape, np.int8)), Array(np.zeros((3, 6), np.float32))
    with pytest.raises(moeq.ReadOnlyError):
        moeq.quantize(weight, "int8", storage={"codes": codes, "scale": scale})
    assert not codes.array.any()


def test_a_destination_is_never_a_copy(producer, weight):
    class Copying(producer):
        """Copies wherever the consumer does not forbid it, as a producer may."""

        def __dlpack__(self, *, stream=None, max_version=None, copy=None):
            return producer(self.array if copy is False else self.array.copy()).__dlpack__(max_version=max_version)

    out = Copying(np.zeros(3, np.float32))
    moeq.reduce_amax(weight, (1, 2), out=out)
    np.testing.assert_array_equal(out.array, np.abs(weight).max(axis=(1, 2)))


def test_overlapping_destination(weight):
    q = moeq.quantize(weight, "int8")  # D23
    buffer = np.zeros(weight.size + 1, np.float32)
    source, out = buffer[:-1].reshape(weight.shape), buffer[1:].reshape(weight.shape)
    with pytest.raises(moeq.LayoutError):
        moeq.reduce_amax(source, (), out=out)
    codes = q.components["codes"].numpy().copy()
    with pytest.raises(moeq.LayoutError):
        moeq.quantize_into(buffer[:-1].reshape(weight.shape), "int8", codes=codes, scale=buffer[:18].reshape(3, 6))


@pytest.fixture
def parts(weight):
    q = moeq.quantize(weight, "int8")
    return {name: tensor.numpy().copy() for name, tensor in q.components.items()}


@pytest.mark.parametrize("form", ["versioned", "legacy", "both"])
def test_adopting_consumes_exactly_once(form, producer, weight, parts):
    codes, scale = producer(parts["codes"], form), producer(parts["scale"], form)
    q = moeq.QTensor.adopt("int8", weight.shape, {"codes": codes, "scale": scale})
    assert (codes.used, codes.deleted, scale.used, scale.deleted) == (1, 0, 1, 0)
    np.testing.assert_array_equal(q.dequantize(dtype="fp32").numpy(), expected(weight))
    part, exported = q[1], q.components["codes"]
    q.close()
    part.close()
    assert codes.deleted == 0
    del exported
    gc.collect()
    assert (codes.deleted, scale.deleted) == (1, 1)


@pytest.mark.parametrize("form", ["versioned", "legacy"])
def test_a_refused_adoption_frees_nothing_twice(form, producer, weight, parts):  # D15
    codes, scale = producer(parts["codes"], form), producer(parts["scale"][:, :5].copy(), form)
    with pytest.raises(moeq.MoeqError):
        moeq.QTensor.adopt("int8", weight.shape, {"codes": codes, "scale": scale})
    if form == "versioned":  # still the producer's: the capsule is as it was
        assert (codes.used, codes.deleted, scale.used, scale.deleted) == (0, 0, 0, 0)
    else:  # taken over into the new form, and given back through its deleter
        assert (codes.used, codes.deleted, scale.used, scale.deleted) == (1, 1, 1, 1)


def test_one_component_cannot_be_taken(producer, weight, parts):
    codes = producer(parts["codes"], "versioned")
    with pytest.raises(TypeError, match="scale"):
        moeq.QTensor.adopt("int8", weight.shape, {"codes": codes, "scale": object()})
    assert (codes.used, codes.deleted) == (0, 0)
    capsule = producer(parts["codes"], "versioned").__dlpack__(max_version=(1, 1))
    with pytest.raises(TypeError, match="used one"):
        moeq.QTensor.adopt("int8", weight.shape, {"codes": capsule, "scale": capsule})


@pytest.mark.parametrize("kind", ["numpy", "read_only", "buffer", "tensor"])
def test_adopted_memory_lives_as_long_as_it_is_needed(kind, weight, parts):
    codes = parts["codes"]
    if kind == "read_only":
        codes.flags.writeable = False
    if kind == "buffer":
        codes = memoryview(array.array("b", codes.tobytes())).cast("B").cast("b", weight.shape)
    if kind == "tensor":
        tensor = moeq.empty(codes.shape, "int8")
        tensor.numpy()[...] = codes
        codes = tensor
    before = sys.getrefcount(codes)
    q = moeq.QTensor.adopt("int8", weight.shape, {"codes": codes, "scale": parts["scale"]})
    if kind in ("numpy", "read_only"):
        assert sys.getrefcount(codes) > before
    for _ in range(3):
        np.testing.assert_array_equal(q.dequantize(dtype="fp32").numpy(), expected(weight))
        gc.collect()
    q.close()
    assert sys.getrefcount(codes) == before


def test_ml_dtypes_codes_can_be_adopted(weight):
    pytest.importorskip("ml_dtypes")
    q = moeq.quantize(weight, "fp8_e4m3")
    codes, scale = (q.component(name).numpy().copy() for name in ("codes", "scale"))
    before = sys.getrefcount(codes)
    again = moeq.QTensor.adopt("fp8_e4m3", weight.shape, {"codes": codes, "scale": scale})
    np.testing.assert_array_equal(again.dequantize(dtype="fp32").numpy(), q.dequantize(dtype="fp32").numpy())
    assert sys.getrefcount(codes) > before
    again.close()
    assert sys.getrefcount(codes) == before


def test_torch(weight):
    torch = pytest.importorskip("torch")
    right = expected(weight)
    source = torch.from_numpy(weight.copy())
    np.testing.assert_array_equal(values(source), right)
    np.testing.assert_array_equal(values(source.transpose(1, 2).contiguous().transpose(1, 2)), right)
    np.testing.assert_array_equal(values(torch.nn.Parameter(source)), right)
    for dtype in (torch.bfloat16, torch.float16):
        narrow = source.to(dtype)
        np.testing.assert_array_equal(values(narrow), expected(narrow.float().numpy()))
        out = torch.zeros(weight.shape, dtype=dtype).transpose(0, 1)
        q = moeq.quantize(source.transpose(0, 1), "nf4")
        assert q.dequantize(out=out) is out
        assert torch.equal(out, torch.from_dlpack(q.dequantize(dtype=dtype)))
        assert torch.equal(out.float(), torch.from_dlpack(q.dequantize(dtype="fp32")).to(dtype).float())
    ids = torch.tensor([2, 0])
    q = moeq.quantize(source, "int8")
    np.testing.assert_array_equal(q.dequantize(experts=ids).numpy(), right[[2, 0]])
    np.testing.assert_array_equal(q.dequantize(experts=ids[0]).numpy(), right[2])
    with pytest.raises(moeq.DtypeError):
        values(source.to(torch.complex64))
    with pytest.raises(BufferError):
        values(torch.zeros(2, 2, device="meta"))


def test_torch_memory_is_adopted_without_python(weight):
    torch = pytest.importorskip("torch")
    q = moeq.quantize(weight, "fp8_e4m3")
    codes = torch.from_dlpack(q.component("codes").copy())
    assert codes.dtype == torch.float8_e4m3fn
    scale = torch.from_numpy(q.component("scale").numpy().copy())
    again = moeq.QTensor.adopt("fp8_e4m3", weight.shape, {"codes": codes, "scale": scale})
    del codes, scale
    gc.collect()
    np.testing.assert_array_equal(again.dequantize(dtype="fp32").numpy(), q.dequantize(dtype="fp32").numpy())


def test_jax(weight):
    jax = pytest.importorskip("jax")
    np.testing.assert_array_equal(values(jax.numpy.asarray(weight)), expected(weight))
    out = jax.numpy.zeros(3)
    with pytest.raises(moeq.ReadOnlyError):  # D12
        moeq.reduce_amax(weight, (1, 2), out=out)
    assert not np.asarray(out).any()
    narrow = jax.numpy.asarray(weight, jax.numpy.bfloat16)
    np.testing.assert_array_equal(values(narrow), expected(np.asarray(narrow.astype(jax.numpy.float32))))


def test_pyarrow(weight):
    pyarrow = pytest.importorskip("pyarrow")
    offset = pyarrow.array(weight.ravel())[128:]  # D05: offset slices
    assert float(moeq.reduce_amax(offset).numpy()) == np.abs(weight.ravel()[128:]).max()
    if hasattr(pyarrow.Tensor, "__dlpack__"):
        np.testing.assert_array_equal(values(pyarrow.Tensor.from_numpy(weight)), expected(weight))
