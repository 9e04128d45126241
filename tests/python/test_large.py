"""Weights of more than 2^31 and 2^32 elements: offsets of sources, codes, blocks, statistics and destinations.

The memory is anonymous, private and not reserved: what nobody writes shares the kernel's page of zeros, so that a
weight of many gigabytes costs a few pages, and each value that is not 0 is a probe that was placed on purpose.
"""

import math
import mmap

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

GIB = 1 << 30
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def available():
    """Bytes that can be had, or None where the system does not say so."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def why_not():
    free = available()
    if free is None:
        return "the available memory is not known on this system"
    if free < 10 * GIB:
        return f"{free / GIB:.1f} GiB of memory are available, 10 are needed"
    return ""


REASON = why_not()
pytestmark = [pytest.mark.large, pytest.mark.skipif(bool(REASON), reason=REASON)]


def zeros(shape, dtype):
    """An array over memory that is there only where it is written."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
    except OSError as error:
        pytest.skip(f"{size / GIB:.0f} GiB of address space cannot be had without reserving them: {error}")
    return np.frombuffer(memory, dtype).reshape(shape)


BIG = (2, (1 << 15) + 1, 1 << 15)  # 2^31 + 2^16 elements
PLACES = {  # flat index -> value; the first and the last, and both sides of 2^31
    0: 1.0,
    (1 << 31) - 1: -2.0,
    1 << 31: 3.0,
    (1 << 31) + 1: -4.0,
    math.prod(BIG) - 1: 5.0,
}


@pytest.fixture(scope="module")
def big():
    """bf16, 4 GiB of addresses."""
    weight = zeros(BIG, ml_dtypes.bfloat16)
    flat = weight.reshape(-1)
    for place, value in PLACES.items():
        flat[place] = value
    return weight


def expected_row(expert, row):
    result = np.zeros(BIG[2], np.float32)
    for place, value in PLACES.items():
        at = np.unravel_index(place, BIG)
        if at[:2] == (expert, row):
            result[at[2]] = value
    return result


def rows_of_interest():
    """Those with probes, and their neighbours."""
    rows = {tuple(map(int, np.unravel_index(place, BIG)[:2])) for place in PLACES}
    return sorted(rows | {(expert, max(row - 1, 0)) for expert, row in rows})


def nonzero(array):
    """How many bytes are not 0: quickly, for gigabytes."""
    flat = array.reshape(-1).view(np.uint8)
    head = len(flat) // 8 * 8
    words = flat[:head].view(np.uint64)
    found = 0
    for begin in range(0, len(words), 1 << 22):
        part = words[begin : begin + (1 << 22)]
        if part.any():
            found += np.count_nonzero(part.view(np.uint8))
    return found + np.count_nonzero(flat[head:])


def test_int8_has_more_than_2_31_bytes_of_codes(big):
    q = moeq.quantize(big, "int8")
    codes, scale = q.components["codes"].numpy(), q.components["scale"].numpy()
    assert codes.nbytes > 1 << 31
    expected = np.abs(np.stack([expected_row(*place) for place in rows_of_interest()])).max(axis=1)
    np.testing.assert_array_equal([scale[place] for place in rows_of_interest()], expected)
    assert np.count_nonzero(scale) == np.count_nonzero(expected)
    assert nonzero(codes) == len(PLACES)
    for place, value in PLACES.items():
        assert codes.reshape(-1)[place] == round(127 * value / scale[np.unravel_index(place, BIG)[:2]])
    buffer = np.empty((1, BIG[2]), np.float32)
    for expert, row in rows_of_interest():
        buffer.fill(np.nan)
        q.dequantize(experts=expert, rows=(row, row + 1), out=buffer)
        np.testing.assert_allclose(buffer[0], expected_row(expert, row), rtol=0, atol=5 / 254)
    part = q.slice(0, 1, 2).slice(1, BIG[1] - 2, BIG[1]).copy()  # begins beyond 2^31 bytes
    dense = part.dequantize(dtype="fp32").numpy()
    assert dense[0, 1, -1] == 5 and np.count_nonzero(dense) == np.count_nonzero(expected_row(1, BIG[1] - 2)) + 1


def test_nf4_has_more_than_2_31_elements_in_blocks(big):
    q = moeq.quantize(big, "nf4:64,blocking=flat")
    scale = q.components["scale"].numpy()
    blocks = {place // 64: 0.0 for place in PLACES}
    for place, value in PLACES.items():
        blocks[place // 64] = max(blocks[place // 64], abs(value))
    assert np.count_nonzero(scale) == len(blocks)
    for block, amax in blocks.items():
        assert scale[block] == amax
    buffer = np.empty((1, BIG[2]), np.float32)
    for expert, row in rows_of_interest():
        buffer.fill(np.nan)
        q.dequantize(experts=expert, rows=(row, row + 1), out=buffer)
        np.testing.assert_allclose(buffer[0], expected_row(expert, row), rtol=0, atol=0.152 * 4)
        assert np.count_nonzero(buffer) == np.count_nonzero(expected_row(expert, row))


def test_reductions_read_more_than_2_31_elements(big):
    assert moeq.reduce_amax(big, dtype="fp32").item() == 5
    rows = moeq.reduce_amax(big, axis=-1, dtype="fp32").numpy()
    assert np.count_nonzero(rows) == len({np.unravel_index(place, BIG)[:2] for place in PLACES})
    assert rows[0, 0] == 1 and rows[1, -1] == 5
    assert moeq.reduce_sum(big[1], dtype="fp64").item() == sum(v for p, v in PLACES.items() if p >= math.prod(BIG) // 2)


# ---- adopted weights: reading costs only what is read, so these have more than 2^32 elements

HUGE = (3, (1 << 15) + 1, 1 << 16)  # 6.4e9 elements; expert 2 begins beyond 2^32


def parts_of(spec):
    return {name: zeros(spec.component(name, HUGE).shape, dtype) for name, dtype in (
        ("codes", np.int8 if spec.format == "int8" else np.uint8), ("scale", np.float32)
    )}  # fmt: skip


ONE = {"int8": 127, "fp8_e4m3": 0x38, "nf4": 0x7F, "fp4": 0x03}  # the code of 1.0; 4-bit: of an odd element


@pytest.mark.parametrize(
    "text",
    ["int8", "int8:axis=-2", "fp8_e4m3", "fp8_e4m3:block128x128", "nf4", "nf4:64,blocking=flat", "fp4:blocking=row"],
)
def test_reading_far_out(text):
    spec = moeq.Spec(text, logical_dtype="fp32").resolve(HUGE)
    parts = parts_of(spec)
    expert, row, column = 2, HUGE[1] - 1, HUGE[2] - 1
    flat = np.ravel_multi_index((expert, row, column), HUGE)
    assert flat > 1 << 32 and math.prod(HUGE) > 1 << 32
    packed = spec.format in ("nf4", "fp4")
    background = 0
    if packed:  # codes of 0 mean -1 in NF4, so a block without a scale is 0 and its own one shows its background
        parts["codes"].reshape(-1)[flat // 2] = ONE[spec.format]
        parts["scale"].reshape(-1)[flat // spec.block[1]] = 2.5
        background = -2.5 if spec.format == "nf4" else 0
    else:
        parts["codes"][expert, row, column] = ONE[spec.format]
        parts["scale"].reshape(-1)[-1] = 2.5
    q = moeq.QTensor.adopt(spec, HUGE, parts)
    buffer = np.full((2, HUGE[2]), np.nan, np.float32)
    q.dequantize(experts=expert, rows=(row - 1, row + 1), out=buffer)
    assert buffer[1, -1] == 2.5
    expected = np.zeros_like(buffer)
    if packed:
        expected[1, -spec.block[1] :] = background
        expected[1, -2] = 0  # the other half of the byte: 0 in both tables
    expected[1, -1] = 2.5
    np.testing.assert_array_equal(buffer, expected)
    ids = q.dequantize(experts=np.array([2, 0, 2]), rows=(row, row + 1), dtype="fp32").numpy()
    np.testing.assert_array_equal(ids[[0, 2], 0], expected[[1, 1]])
    assert not ids[1].any()


def test_destinations_far_apart(rng):
    weight = rng.standard_normal((2, 3, 256), np.float32)
    q = moeq.quantize(weight, "int8")
    plain = q.dequantize(dtype="fp32").numpy()
    memory = zeros((3 * (1 << 32) + 512,), np.float32)
    view = np.lib.stride_tricks.as_strided(memory, weight.shape, (4 * ((1 << 32) + 256), 4 * ((1 << 31) - 3), 4))
    q.dequantize(out=view)
    np.testing.assert_array_equal(view, plain)


@pytest.mark.parametrize("text", ["int8", "nf4", "fp8_e4m3:block128x128", "int8:axis=-2"])
def test_sources_far_apart(text, rng):
    weight = rng.standard_normal((2, 3, 256)).astype(np.float16)
    memory = zeros((4 * (1 << 32) + 512 * 2,), np.float16)
    for strides in (((1 << 32) + 256, (1 << 31) - 3, 1), (600, -(1 << 31) - 8, 2), (1 << 32, 300, 1)):
        first = -min(0, 2 * strides[1])
        view = np.lib.stride_tricks.as_strided(memory[first:], weight.shape, [2 * stride for stride in strides])
        view[:] = weight
        q, expected = moeq.quantize(view, text), moeq.quantize(weight, text)
        for name, tensor in expected.components.items():
            assert q.components[name].numpy().tobytes() == tensor.numpy().tobytes(), (name, strides)
        assert moeq.reduce_amax(view, dtype="fp32").item() == np.abs(weight).max()


@pytest.mark.parametrize("text", ["int8", "nf4", "fp8_e4m3:block128x128"])
def test_a_builder_writes_far_out(text, rng):
    spec = moeq.Spec(text, logical_dtype="fp32").resolve(HUGE)
    parts = parts_of(spec)
    block = rng.standard_normal((1, HUGE[2]), np.float32)  # the last row is a tile row of its own
    small = moeq.quantize(block, spec)
    with moeq.Builder(spec, HUGE, storage=dict(parts)) as builder:
        builder.write(block, expert=2, row=HUGE[1] - 1)
        builder.write(block[:, :1024], expert=1, row=HUGE[1] - 1)
        builder.write(block[:, 1024:], expert=1, row=HUGE[1] - 1, column=1024)
        assert builder.state.staged_bytes == 0
        assert builder.state.missing_elements == math.prod(HUGE) - 2 * block.size
        assert builder.missing() == [
            (0, 1, 0, HUGE[1], 0, HUGE[2]),
            (1, 2, 0, HUGE[1] - 1, 0, HUGE[2]),
            (2, 3, 0, HUGE[1] - 1, 0, HUGE[2]),
        ]
        with pytest.raises(moeq.DuplicateError) as caught:
            builder.write(block[:, -1:], expert=2, row=HUGE[1] - 1, column=HUGE[2] - 1)
        assert (caught.value.expert, caught.value.row, caught.value.column) == (2, HUGE[1] - 1, HUGE[2] - 1)
    for name, array in parts.items():
        one = small.components[name].numpy().reshape(-1).view(array.dtype)
        per_expert = array.reshape(3, -1)
        np.testing.assert_array_equal(per_expert[2, -len(one) :], one)
        np.testing.assert_array_equal(per_expert[1, -len(one) :], one)
        assert not per_expert[2, -2 * len(one) : -len(one)].any() and not per_expert[0, -len(one) :].any()
