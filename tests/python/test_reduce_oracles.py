"""Reductions against judges that share nothing with moeq: NumPy, exact sums (math.fsum), PyTorch, and the reductions of
quantization toolkits as they are documented, which moeq's flags reproduce."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moeq

FLOATS = {
    "fp32": np.float32,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp64": np.float64,
    "fp8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
}
INTEGERS = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "int32": np.int32, "int64": np.int64}
MANTISSA_BITS = {"fp32": 23, "fp16": 10, "bf16": 7, "fp64": 52}


def values(rng, dtype, shape):
    """Numbers over many binades, in any element type."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return (rng.standard_normal(shape) * np.exp2(rng.integers(-6, 6, shape))).astype(dtype)


def views(x):
    """The tensor as it is, turned round, with gaps, transposed and broadcast."""
    yield x
    if x.ndim:
        yield x[::-1]
        yield x[..., ::2]
        yield x.T
        yield np.broadcast_to(x[:1], x.shape)


# ---- NumPy ----


@pytest.mark.parametrize("name", FLOATS)
def test_amax_of_floats_is_numpys(name, rng):
    x = values(rng, FLOATS[name], (5, 9, 70))
    for view in views(x):
        wide = view.astype(np.float64)  # exact
        for axis in (None, 0, -1, (0, 2), (1, 2)):
            expected = np.abs(wide).max(axis=axis, keepdims=True)
            for dtype in ("fp32", "fp64", name):
                ours = moeq.reduce_amax(view, axis, keepdims=True, dtype=dtype).numpy()
                np.testing.assert_array_equal(ours.astype(np.float64), expected.astype(ours.dtype).astype(np.float64))


def innermost(function, nested):
    """function(list) in the place of each innermost list."""
    return [innermost(function, one) for one in nested] if isinstance(nested[0], list) else function(nested)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_exact(name, rng):
    x = values(rng, INTEGERS[name], (4, 6, 33))
    limits = np.iinfo(x.dtype)
    x[0, 0, 0] = limits.min
    for view in views(x):
        for axis in (None, 0, -1, (0, 1)):
            axes = [0, 1, 2] if axis is None else [one % 3 for one in np.atleast_1d(axis)]
            kept = [one for one in range(3) if one not in axes]
            lists = np.transpose(view, kept + axes).reshape([view.shape[one] for one in kept] + [-1]).tolist()

            def largest(most, lists=lists):  # of Python's integers, which have no limits
                return innermost(lambda row: min(max(map(abs, row)), most), lists)

            amax = moeq.reduce_amax(view, axis, dtype="int64").numpy()
            assert amax.tolist() == largest(2**63 - 1)
            own = moeq.reduce_amax(view, axis, out=np.empty(amax.shape, x.dtype))
            assert own.tolist() == largest(int(limits.max))
            total = moeq.reduce_sum(view, axis, dtype="int64").numpy()
            assert total.tolist() == innermost(lambda row: (sum(row) + 2**63) % 2**64 - 2**63, lists)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_axes_blocks_and_flags(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 7), max_size=5)))
    axes = data.draw(st.one_of(st.none(), st.sets(st.integers(0, max(len(shape) - 1, 0))).map(tuple)))
    if not shape and axes is not None:
        axes = ()
    blocks = data.draw(st.one_of(st.none(), st.tuples(*[st.integers(0, 8)] * len(shape))))
    keepdims = data.draw(st.booleans())
    x = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).standard_normal(shape).astype(np.float32)
    lengths = blocks or (0,) * len(shape)
    parts = []  # per axis: the ranges that become one output each
    for axis, extent in enumerate(shape):
        if lengths[axis]:
            parts.append([slice(at, at + lengths[axis]) for at in range(0, extent, lengths[axis])])
        elif axes is None or axis in axes:
            parts.append([slice(0, extent)])
        else:
            parts.append([slice(at, at + 1) for at in range(extent)])
    expected = np.empty([len(part) for part in parts], np.float32)
    for index in itertools.product(*map(range, expected.shape)):
        piece = x[tuple(part[at] for part, at in zip(parts, index, strict=True))]
        expected[index] = np.abs(piece).max()
    gone = [a for a in range(len(shape)) if not lengths[a] and (axes is None or a in axes)]
    if not keepdims:
        expected = np.squeeze(expected, tuple(gone))
    ours = moeq.reduce_amax(x, axes, keepdims, blocks=blocks).numpy()
    assert ours.shape == expected.shape
    np.testing.assert_array_equal(ours, expected)


# ---- Exact sums ----


@pytest.mark.parametrize("name", FLOATS)
def test_sums_meet_the_bound_of_pairwise_summation(name, rng):
    x = values(rng, FLOATS[name], (3, 20011))
    for view in (x, x[:, ::-3], x.T.copy().T):
        numbers = view.astype(np.float64)
        for ours, row in zip(moeq.reduce_sum(view, 1, dtype="fp64").numpy(), numbers, strict=True):
            leaves = math.ceil(row.size / 256)
            additions = 256 + math.ceil(math.log2(max(leaves, 2)))
            assert abs(ours - math.fsum(row)) <= additions * 2.0**-53 * math.fsum(np.abs(row)) * 1.0001


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_sums_are_rounded_once_to_the_sources_type(name, rng):
    x = values(rng, FLOATS[name], (300, 1000)) * FLOATS[name](0.25)
    ours = moeq.reduce_sum(x, 1, dtype=name).numpy().astype(np.float64)
    exact = np.array([math.fsum(row) for row in x.astype(np.float64)])
    half_step = np.exp2(np.floor(np.log2(np.abs(exact))) - MANTISSA_BITS[name] - 1)
    # fp64's own error is far below half a step; a second rounding would not be.
    assert (np.abs(ours - exact) <= half_step * (1 + 1e-6)).all()


def test_sum_does_not_depend_on_layout_of_the_same_numbers(rng):
    x = values(rng, np.float32, (77, 1234))
    expected = moeq.reduce_sum(x, 1, dtype="fp64").numpy()
    assert (moeq.reduce_sum(np.asfortranarray(x), 1, dtype="fp64").numpy() == expected).all()
    wide = np.zeros((77, 2468), np.float32)
    wide[:, ::2] = x
    assert (moeq.reduce_sum(wide[:, ::2], 1, dtype="fp64").numpy() == expected).all()


# ---- PyTorch, and what toolkits build on it ----


def torch_tensors(torch):
    generator = torch.Generator().manual_seed(11)
    base = torch.randn(4, 6, 50, generator=generator) * 3
    yield from (base, base.half(), base.bfloat16(), base.double(), base.transpose(0, 2), base[:, ::2, 5:].bfloat16())
    yield from ((base * 40).to(dtype) for dtype in (torch.int8, torch.int16, torch.int32, torch.int64))


AXES = [None, 0, -1, (0, 2), (1, 2), (0, 1, 2), [], (-2,)]


def toolkit_amax(torch, x, axis=None, keepdims=True, squeeze_scalar=True):
    """The larger of |max| and |min|. No axis: 0-d whatever else is asked. FP8 is widened first. An empty list of axes is
    all of them. One element is squeezed to 0-d."""
    if x.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        x = x.float()
    if axis is None:
        return torch.maximum(x.max().abs(), x.min().abs())
    dims = (axis,) if isinstance(axis, int) else tuple(axis)
    result = torch.maximum(torch.amax(x, dims, keepdim=keepdims).abs(), torch.amin(x, dims, keepdim=keepdims).abs())
    return result.reshape(()) if squeeze_scalar and result.numel() == 1 else result


def toolkit_flags(axis, keepdims, squeeze_scalar):
    """The same choice in moeq's words."""
    if axis is None:
        return {"wrap_integers": True}
    return {
        "axis": axis,
        "keepdims": keepdims,
        "squeeze_scalar": squeeze_scalar,
        "empty_is_all": True,
        "wrap_integers": True,
    }


@pytest.mark.parametrize("squeeze_scalar", [False, True])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_toolkits_amax_by_flags(axis, keepdims, squeeze_scalar):
    torch = pytest.importorskip("torch")
    for x in torch_tensors(torch):
        expected = toolkit_amax(torch, x, axis, keepdims, squeeze_scalar)
        out = torch.empty_like(expected)  # the shape is checked by moeq
        moeq.reduce_amax(x, out=out, **toolkit_flags(axis, keepdims, squeeze_scalar))
        assert torch.equal(out, expected), (x.dtype, x.shape)


def test_toolkits_amax_of_corner_cases():
    torch = pytest.importorskip("torch")
    inf, nan = math.inf, math.nan
    cases = [
        torch.tensor([1.0, -inf]),
        torch.tensor([nan, inf, 1.0]),
        torch.tensor([[-0.0, 0.0]]),
        torch.tensor([-128, 5], dtype=torch.int8),
        torch.tensor([-128, -128], dtype=torch.int8),
        torch.tensor([-128, -100, 5], dtype=torch.int8),
        torch.tensor([-(2**63), 3], dtype=torch.int64),
        torch.tensor(-7.0),
    ]
    for x in cases:
        expected = toolkit_amax(torch, x)
        out = torch.empty_like(expected)
        moeq.reduce_amax(x, out=out, wrap_integers=True)
        assert torch.equal(out, expected) or (out.isnan().all() and expected.isnan().all()), x
    # Without the flag integers are widened, and a narrow destination saturates.
    assert int(moeq.reduce_amax(cases[3]).numpy()) == 128
    out = torch.empty((), dtype=torch.int8)
    assert int(moeq.reduce_amax(cases[3], out=out)) == 127


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_every_fp8_code_alone(dtype):
    torch = pytest.importorskip("torch")
    codes = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype))
    source = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, dtype))
    expected = codes.float()
    amax = torch.empty(256)
    total = torch.empty(256)
    moeq.reduce_amax(source, (), out=amax)
    moeq.reduce_sum(source, (), out=total)
    assert torch.equal(amax.nan_to_num(-1), expected.abs().nan_to_num(-1))
    assert torch.equal(total.nan_to_num(-1), expected.nan_to_num(-1))


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_sum_against_torch(axis):
    torch = pytest.importorskip("torch")
    for x in torch_tensors(torch):
        flags = {} if axis is None else {"axis": axis, "keepdims": True, "empty_is_all": True}
        # Accumulated by torch in a type in which these sums are exact enough (or, for integers, exact).
        wide = x.double() if x.dtype.is_floating_point else x
        expected = wide.sum() if axis is None else wide.sum(axis, keepdim=True)
        out = torch.empty_like(expected)
        moeq.reduce_sum(x, out=out, **flags)
        if x.dtype.is_floating_point:
            bound = 1e-13 * wide.abs().sum()
            assert ((out - expected).abs() <= bound).all()
        else:
            assert out.dtype == torch.int64 and torch.equal(out, expected)


def test_block_amax_of_toolkits_by_blocks():
    """Toolkits reshape [R, C] to blocks and reduce them; they refuse ragged ones, which moeq has."""
    torch = pytest.importorskip("torch")
    x = torch.randn(256, 384, generator=torch.Generator().manual_seed(3)).bfloat16()
    tiles = x.view(2, 128, 3, 128).abs().amax((1, 3))
    out = torch.empty_like(tiles)
    moeq.reduce_amax(x, blocks=(128, 128), out=out)
    assert torch.equal(out, tiles)
    vectors = x.view(256, 24, 16).abs().amax(2)
    out = torch.empty_like(vectors)
    moeq.reduce_amax(x, (), blocks=(0, 16), out=out)
    assert torch.equal(out, vectors)
    padded = torch.nn.functional.pad(x[:200, :300], (0, 84, 0, 56)).view(2, 128, 3, 128).abs().amax((1, 3))
    out = torch.empty_like(padded)
    moeq.reduce_amax(x[:200, :300], blocks=(128, 128), out=out)
    assert torch.equal(out, padded)


def test_calibration_is_a_running_maximum():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(5)
    batches = [
        torch.randn(tokens, 64, generator=generator) for tokens in (5, 0, 17, 1)
    ]  # one expert saw no tokens once
    running = torch.zeros(64)
    for batch in batches:
        moeq.reduce_amax(batch, 0, out=running, accumulate=True)
    assert torch.equal(running, torch.cat(batches).abs().amax(0))
    with pytest.raises(moeq.ShapeError, match=r"\[0, 64\]"):
        moeq.reduce_amax(batches[1], 0, out=running)


# ---- Many tensors, axes, scales ----


def test_many_is_each_one_alone(rng):
    dtypes = [FLOATS[name] for name in ("fp32", "bf16", "fp16", "fp8_e4m3fn")] + [np.int8, np.int64]
    sources = [values(rng, dtypes[i % len(dtypes)], tuple(rng.integers(1, 9, i % 4))) for i in range(60)]
    sources.append(values(rng, np.float32, (1700, 1300)))  # large enough to be shared among threads
    for operation, alone in (("amax", moeq.reduce_amax), ("sum", moeq.reduce_sum)):
        ours = moeq.reduce_many(sources, operation, dtype="fp64").numpy()
        expected = [float(alone(source, dtype="fp64").numpy()) for source in sources]
        assert ours.tolist() == expected
    largest = [float(np.abs(source.astype(np.float64)).max()) for source in sources]
    assert moeq.reduce_many(sources, dtype="fp64").numpy().tolist() == largest


@given(ndim=st.integers(0, 8), data=st.data())
@settings(max_examples=100, deadline=None)
def test_axes_that_are_not_kept(ndim, data):
    kept = data.draw(st.sets(st.integers(0, ndim - 1))) if ndim else set()
    signed = [axis - ndim if data.draw(st.booleans()) else axis for axis in kept]
    signed = data.draw(st.permutations(signed))
    assert moeq.reduce_axes(ndim, signed) == [axis for axis in range(ndim) if axis not in kept]
    assert moeq.reduce_axes(ndim, None) == list(range(ndim))


def test_wrong_quant_axes_are_errors():
    for kept in ([3], [-4], [0, 0], [0, -3]):
        with pytest.raises(moeq.ArgumentError, match="quant_axes"):
            moeq.reduce_axes(3, kept)


def test_scales_are_one_division(rng):
    amax = np.abs(values(rng, np.float32, (40, 50)))
    amax[0, :3] = 0, 1e-45, 3.4e38
    largest = {
        "int8": 127.0,
        "fp8_e4m3": float(ml_dtypes.finfo(ml_dtypes.float8_e4m3fn).max),
        "fp8_e5m2": float(ml_dtypes.finfo(ml_dtypes.float8_e5m2).max),
        "nf4": 1.0,
        "fp4": 1.0,
    }
    for spec, most in largest.items():
        for view in (amax, amax.T, amax[::-1, ::3]):
            expected = view / np.float32(most)
            np.testing.assert_array_equal(moeq.scale_from_amax(view, spec).numpy(), expected)
    for bad in (math.nan, math.inf, -math.inf, -1.0):
        amax[7, 3] = bad
        with pytest.raises(moeq.BadValueError, match=r"\[7, 3\]") as caught:
            moeq.scale_from_amax(amax, "int8")
        assert (caught.value.expert, caught.value.row, caught.value.column) == (7, 3, None)
