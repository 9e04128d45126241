"""Reductions against NumPy."""

import numpy as np
import pytest

import moeq

AXES = [None, (), 0, -1, (0, 2), (1, 2), (-3,), (0, 1, 2)]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_against_numpy(axis, keepdims, weight):
    for x in (weight, weight.transpose(2, 0, 1), weight[:, ::-1, 3:100:3]):
        amax = moeq.reduce_amax(x, axis, keepdims)
        expected = np.abs(x).max(axis=axis, keepdims=keepdims) if axis != () else np.abs(x)
        np.testing.assert_array_equal(amax.numpy(), expected)
        total = moeq.reduce_sum(x, axis, keepdims, dtype="fp64").numpy()
        expected = x.astype(np.float64).sum(axis=axis, keepdims=keepdims) if axis != () else x
        assert total.shape == np.shape(expected)
        np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-5)


def test_types_of_results(weight):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype, name in ((np.float32, "fp32"), (np.float16, "fp16"), (ml_dtypes.bfloat16, "bf16")):
        x = weight.astype(dtype)
        assert moeq.reduce_amax(x).dtype == name and moeq.reduce_sum(x).dtype == "fp32"
        assert float(moeq.reduce_amax(x).numpy()) == float(np.abs(x.astype(np.float32)).max())
    integers = np.array([[-128, 5], [7, 127]], np.int8)
    np.testing.assert_array_equal(moeq.reduce_amax(integers, 1).numpy(), [128, 127])
    assert moeq.reduce_sum(integers).dtype == "fp64" and float(moeq.reduce_sum(integers).numpy()) == 11
    codes = weight.astype(ml_dtypes.float8_e4m3fn)
    assert float(moeq.reduce_amax(codes).numpy()) == float(np.abs(codes.astype(np.float32)).max())


def test_out_and_accumulate(weight):
    out = np.zeros(3, np.float32)
    assert moeq.reduce_amax(weight, (1, 2), out=out) is out
    np.testing.assert_array_equal(out, np.abs(weight).max(axis=(1, 2)))
    moeq.reduce_amax(weight * 0.5, (1, 2), out=out, accumulate=True)
    np.testing.assert_array_equal(out, np.abs(weight).max(axis=(1, 2)))
    moeq.reduce_amax(weight * 2, (1, 2), out=out, accumulate=True)
    np.testing.assert_array_equal(out, np.abs(weight).max(axis=(1, 2)) * 2)
    total = np.zeros((), np.float64)
    for _ in range(2):
        moeq.reduce_sum(weight, out=total, accumulate=True)
    np.testing.assert_allclose(total, 2 * weight.astype(np.float64).sum(), rtol=1e-9)
    with pytest.raises(moeq.ShapeError):
        moeq.reduce_amax(weight, (1, 2), out=np.zeros(4, np.float32))


def test_blocks(weight):
    amax = moeq.reduce_amax(weight, (1, 2), blocks=(1, 4, 50)).numpy()
    expected = np.zeros((3, 2, 3), np.float32)
    for row in range(2):
        for column in range(3):
            part = weight[:, 4 * row : 4 * row + 4, 50 * column : 50 * column + 50]
            expected[:, row, column] = np.abs(part).max(axis=(1, 2))
    np.testing.assert_array_equal(amax.reshape(expected.shape), expected)
    with pytest.raises(moeq.ArgumentError, match="blocks"):
        moeq.reduce_amax(weight, blocks=(1, 4))


def test_many_tensors(weight, rng):
    tensors = [weight, weight[0], rng.standard_normal(17).astype(np.float16), np.zeros((2, 2), np.float32)]
    expected = [float(np.abs(x.astype(np.float32)).max()) for x in tensors]
    np.testing.assert_array_equal(moeq.reduce_many(tensors).numpy(), np.float32(expected))
    out = np.full(4, 100, np.float32)
    assert moeq.reduce_many(tensors, out=out, accumulate=True) is out and (out == 100).all()
    np.testing.assert_allclose(moeq.reduce_many(tensors, "sum", dtype="fp64").numpy()[0], weight.sum(), rtol=1e-4)
    assert moeq.reduce_many([]).shape == (0,)


def test_axis_helper():
    assert moeq.reduce_axes(3, [0]) == [1, 2]
    assert moeq.reduce_axes(3, (0, -1)) == [1]
    assert moeq.reduce_axes(3) == [0, 1, 2]
    with pytest.raises(moeq.MoeqError):
        moeq.reduce_axes(2, [2])


def test_scale_from_amax():
    amax = np.array([[0.0, 1.0], [448.0, 1e-30]], np.float32)
    np.testing.assert_array_equal(moeq.scale_from_amax(amax, "fp8_e4m3").numpy(), amax / np.float32(448))
    out = np.empty((2, 2), np.float32)
    assert moeq.scale_from_amax(amax, "fp8_e5m2", out) is out
    np.testing.assert_array_equal(out, amax / np.float32(57344))


def test_flags(weight):
    assert moeq.reduce_amax(weight, keepdims=True).shape == (1, 1, 1)
    assert moeq.reduce_amax(weight, keepdims=True, squeeze_scalar=True).shape == ()
    assert moeq.reduce_amax(weight, ()).shape == weight.shape
    assert moeq.reduce_amax(weight, (), empty_is_all=True).shape == ()
    low = np.array([-128], np.int8)
    assert moeq.reduce_amax(low, out=np.zeros((), np.int8), wrap_integers=True) == -128
    with pytest.raises(moeq.ArgumentError):
        moeq.reduce_amax(weight, (0, 0))
    with pytest.raises(moeq.MoeqError):
        moeq.reduce_amax(weight, 3)


def test_nan_is_nan(weight):
    weight[1, 2, 3] = np.nan
    amax = moeq.reduce_amax(weight, (1, 2)).numpy()
    assert np.isnan(amax[1]) and not np.isnan(amax[[0, 2]]).any()
