"""QTensor: make it, look at it, read it, change it."""

import copy
import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import moeq

FORMATS = ["int8", "nf4", "fp4", "nf4:64,nested", "fp8_e4m3", "fp8_e5m2", "fp8_e4m3:block128x128"]

# Largest relative error of one element against the amax of its scale unit, from the formats' definitions.
BOUND = {"int8": 1 / 254, "nf4": 0.152, "fp4": 0.17, "fp8_e4m3": 1 / 17, "fp8_e5m2": 1 / 8}


def dense(q, **arguments):
    return q.dequantize(dtype="fp32", **arguments).numpy()


@pytest.mark.parametrize("spec", FORMATS)
def test_values_come_back_within_the_bound(spec, weight):
    q = moeq.quantize(weight, spec)
    values = dense(q)
    assert values.shape == weight.shape and values.dtype == np.float32
    scale = np.abs(weight).max()
    assert np.abs(values - weight).max() <= BOUND[spec.split(":")[0]] * scale * 1.02
    assert np.abs(values - weight).max() > 0
    assert (q.shape, q.folded_shape, q.ndim, len(q)) == (weight.shape, weight.shape, 3, 3)
    assert q.spec.format == spec.split(":")[0] and q.device == (1, 0) and q.generation == 1
    stored = {name: tensor for name, tensor in q.components.items() if name != "code_map"}  # a constant of the format
    assert q.nbytes == sum(tensor.nbytes for tensor in stored.values()) < weight.nbytes
    assert str(q.nbytes) in repr(q)


def test_int8_codes_are_what_the_formula_says(weight):
    q = moeq.quantize(weight, "int8")
    amax = np.abs(weight).max(axis=-1)
    codes = np.rint(weight * (np.float32(127) / amax)[..., None]).astype(np.int8)
    np.testing.assert_array_equal(q.components["scale"].numpy(), amax)
    np.testing.assert_array_equal(q.components["codes"].numpy(), codes)


def test_two_axes_and_four(weight):
    flat = moeq.quantize(weight[0], "int8")
    assert flat.shape == weight[0].shape and flat.folded_shape == (1, 6, 128)
    assert dense(flat).shape == (6, 128) and dense(flat, rows=(1, 3)).shape == (2, 128)
    four = moeq.quantize(weight.reshape(3, 2, 3, 128), "int8")
    assert four.shape == (3, 2, 3, 128) and four.folded_shape == (6, 3, 128)
    np.testing.assert_array_equal(dense(four).reshape(weight.shape), dense(moeq.quantize(weight, "int8")))
    assert dense(four, rows=slice(1, 3)).shape == (3, 2, 2, 128)
    assert dense(four, experts=[5, 0]).shape == (2, 3, 128)


@pytest.mark.parametrize("spec", FORMATS)
def test_regions_are_parts_of_the_whole(spec, weight):
    q = moeq.quantize(weight, spec)
    whole = dense(q)
    np.testing.assert_array_equal(dense(q, experts=1), whole[1])
    np.testing.assert_array_equal(dense(q, experts=-1), whole[2])
    np.testing.assert_array_equal(dense(q, experts=np.int64(2)), whole[2])
    np.testing.assert_array_equal(dense(q, experts=[2, 0, 2]), whole[[2, 0, 2]])
    np.testing.assert_array_equal(dense(q, experts=range(1, 3)), whole[1:3])
    np.testing.assert_array_equal(dense(q, experts=slice(None, None, -1)), whole[::-1])
    np.testing.assert_array_equal(dense(q, experts=np.array([1, 1, 0])), whole[[1, 1, 0]])
    np.testing.assert_array_equal(dense(q, experts=np.array([0], np.int32)), whole[[0]])
    np.testing.assert_array_equal(dense(q, rows=slice(2, 5)), whole[:, 2:5])
    np.testing.assert_array_equal(dense(q, rows=(5, 6), experts=0), whole[0, 5:6])
    np.testing.assert_array_equal(dense(q, rows=slice(-2, None), experts=[1]), whole[[1], -2:])


def test_empty_regions(weight):
    q = moeq.quantize(weight, "int8")
    assert dense(q, rows=slice(0, 0)).shape == (3, 0, 128)
    assert dense(q, rows=(3, 3), experts=1).shape == (0, 128)
    assert dense(q, experts=[]).shape == (0, 6, 128)
    empty = moeq.quantize(np.zeros((0, 6, 128), np.float32), "nf4")
    assert dense(empty).shape == (0, 6, 128)


def test_bad_regions(weight):
    q = moeq.quantize(weight, "int8")
    for experts in (3, -4, [0, 3]):
        with pytest.raises(moeq.RangeError):
            q.dequantize(experts=experts)
    for rows in ((0, 7), (-1, 2), (4, 2), range(5, 8)):
        with pytest.raises(moeq.RangeError, match="wanted a range inside"):
            q.dequantize(rows=rows)
    with pytest.raises(moeq.ArgumentError, match="step"):
        q.dequantize(rows=slice(0, 6, 2))
    with pytest.raises(moeq.ArgumentError, match="rows"):
        q.dequantize(rows=3)
    with pytest.raises(moeq.ArgumentError, match="experts"):
        q.dequantize(experts=1.5)
    with pytest.raises(moeq.ShapeError, match="experts"):
        q.dequantize(experts=np.zeros((2, 2), np.int64))


def test_the_result_is_a_tensor_or_what_was_given(weight):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    q = moeq.quantize(weight, "nf4")
    assert isinstance(q.dequantize(), moeq.Tensor) and q.dequantize().dtype == "fp32"  # the source's type
    assert moeq.quantize(weight.astype(np.float16), "nf4").dequantize().dtype == "fp16"
    assert moeq.quantize(weight, moeq.Spec("nf4", logical_dtype="bf16")).dequantize().dtype == "bf16"
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        out = np.empty(weight.shape, dtype)
        assert q.dequantize(out=out) is out
        expected = dense(q).astype(dtype)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(q.dequantize(dtype=dtype).numpy(), expected)
        np.testing.assert_array_equal(np.asarray(q.dequantize(dtype=np.dtype(dtype))), expected)
    with pytest.raises(moeq.ArgumentError, match="dtype"):
        q.dequantize(out=np.empty(weight.shape, np.float32), dtype="bf16")


@pytest.mark.parametrize("spec", FORMATS)
def test_destinations_of_any_strides(spec, weight):
    q = moeq.quantize(weight, spec)
    whole = dense(q)
    transposed = np.full((128, 6, 3), -1, np.float32).T
    q.dequantize(out=transposed)
    np.testing.assert_array_equal(transposed, whole)
    backwards = np.full(weight.shape, -1, np.float32)[:, ::-1, ::-1]
    q.dequantize(out=backwards)
    np.testing.assert_array_equal(backwards, whole)
    wide = np.full((5, 8, 300), -1, np.float32)
    q.dequantize(out=wide[1:4, 1:7, 2:258:2])
    np.testing.assert_array_equal(wide[1:4, 1:7, 2:258:2], whole)
    assert (wide == -1).sum() == wide.size - whole.size
    one = np.full((6, 128), -1, np.float32)
    q.dequantize(experts=2, out=one)
    np.testing.assert_array_equal(one, whole[2])


def test_bad_destinations(weight):
    q = moeq.quantize(weight, "int8")
    read_only = np.zeros(weight.shape, np.float32)
    read_only.flags.writeable = False
    with pytest.raises(moeq.ReadOnlyError):
        q.dequantize(out=read_only)
    with pytest.raises(moeq.ReadOnlyError):
        q.dequantize(out=moeq.quantize(weight, "int8").components["scale"])
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(128, np.float32), weight.shape, (0, 0, 4))
    with pytest.raises(moeq.LayoutError):
        q.dequantize(out=overlapping)
    with pytest.raises(TypeError):
        q.dequantize(out=np.zeros(weight.shape, np.int32))


def test_components_are_read_only_and_outlive_the_handle(weight):
    q = moeq.quantize(weight, "nf4:64,nested")
    parts = q.components
    assert set(parts) >= {"codes", "scale", "nested_scale", "nested_offset"}
    codes = parts["codes"].numpy()
    assert parts["codes"].read_only and not codes.flags.writeable
    before = codes.copy()
    q.close()
    del q, parts
    gc.collect()
    np.testing.assert_array_equal(codes, before)
    with pytest.raises(KeyError):
        moeq.quantize(weight, "int8").component("nested_map")


@pytest.mark.parametrize("spec", FORMATS)
def test_adopting_the_components_gives_the_same_weight(spec, weight):
    q = moeq.quantize(weight, spec)
    copies = {name: tensor.numpy().copy() for name, tensor in q.components.items()}
    again = moeq.QTensor.adopt(q.spec, weight.shape, copies)
    np.testing.assert_array_equal(dense(again), dense(q))
    shared = moeq.QTensor.adopt(q.spec, weight.shape, q.components)
    q.close()
    np.testing.assert_array_equal(dense(shared), dense(again))


@pytest.mark.parametrize("spec", FORMATS)
def test_quantize_into_gives_the_same_components(spec, weight):
    q = moeq.quantize(weight, spec)
    mine = {}
    for name, tensor in q.components.items():
        mine[name] = np.zeros_like(tensor.numpy())
    moeq.quantize_into(weight, q.spec, **mine)
    for name, tensor in q.components.items():
        assert mine[name].tobytes() == tensor.numpy().tobytes(), name


def test_storage_of_the_callers(weight):
    spec = moeq.Spec("int8")
    codes, scale = np.zeros(weight.shape, np.int8), np.zeros((3, 6), np.float32)
    q = moeq.quantize(weight, spec, storage={"codes": codes, "scale": scale})
    np.testing.assert_array_equal(codes, moeq.quantize(weight, spec).components["codes"].numpy())
    assert q.components["codes"].numpy().ctypes.data == codes.ctypes.data
    with pytest.raises(moeq.MoeqError):
        moeq.quantize(weight, spec, storage={"codes": codes})
    with pytest.raises(moeq.ArgumentError, match="wanted one of codes"):
        moeq.quantize(weight, spec, storage={"kodes": codes})


def test_a_given_amax(weight):
    spec = moeq.Spec("fp8_e4m3", granularity="expert")
    amax = np.abs(weight).max(axis=(1, 2)) * 2
    q = moeq.quantize(weight, spec, amax=amax)
    scale = moeq.scale_from_amax(amax, spec).numpy()
    np.testing.assert_array_equal(q.components["scale"].numpy().ravel(), scale)
    with pytest.raises(moeq.BadValueError):
        moeq.quantize(weight, spec, amax=np.array([1, -1, 1], np.float32))


def test_slices_share_memory(weight):
    q = moeq.quantize(weight, "int8")
    whole, codes = dense(q), q.components["codes"].numpy()
    np.testing.assert_array_equal(dense(q[1]), whole[1:2])
    np.testing.assert_array_equal(dense(q[-1]), whole[2:])
    np.testing.assert_array_equal(dense(q[1:]), whole[1:])
    np.testing.assert_array_equal(dense(q.slice(1, 2, 5)), whole[:, 2:5])
    columns = q.slice(2, 32, 96)
    np.testing.assert_array_equal(dense(columns), whole[:, :, 32:96])
    assert np.shares_memory(columns.components["codes"].numpy(), codes)
    assert not columns.components["codes"].numpy().flags.c_contiguous
    compact = columns.copy()
    assert not np.shares_memory(compact.components["codes"].numpy(), codes)
    np.testing.assert_array_equal(dense(compact), whole[:, :, 32:96])
    q.close()
    np.testing.assert_array_equal(dense(columns), whole[:, :, 32:96])
    with pytest.raises(IndexError):
        moeq.quantize(weight, "int8")[3]
    with pytest.raises(moeq.ArgumentError, match="step"):
        moeq.quantize(weight, "int8")[::2]
    assert len(moeq.quantize(weight, "int8")[2:1]) == 0


def test_iteration_over_experts_ends(weight):
    q = moeq.quantize(weight, "int8")
    assert [part.shape[-2:] for part in q] == [(6, 128)] * 3


def test_deep_copies_have_memory_of_their_own(weight):
    q = moeq.quantize(weight, "nf4")
    other = copy.deepcopy({"weight": q})["weight"]
    other.requantize(weight * 2)
    np.testing.assert_array_equal(dense(q), dense(moeq.quantize(weight, "nf4")))
    np.testing.assert_array_equal(dense(other), dense(moeq.quantize(weight * 2, "nf4")))


FORKED = """
import os, sys
import numpy as np, moeq
weight = np.random.default_rng(1).standard_normal((8, 256, 256), dtype=np.float32)
context = moeq.Context(threads=2)
q = moeq.quantize(weight, "nf4", context=context)
dense = q.dequantize().numpy()
child = os.fork()
same = np.array_equal(q.dequantize().numpy(), dense)
again = moeq.quantize(weight, "nf4", context=context)
same = same and np.array_equal(again.dequantize().numpy(), dense)
if child == 0:
    os._exit(0 if same else 1)
assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on_working():
    result = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, env=package_path()
    )
    assert result.stdout.strip() == "fine", result.stderr


def package_path():
    return {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(moeq.__file__))}


def test_devices_that_are_not_there(weight):
    q = moeq.quantize(weight, "int8")
    np.testing.assert_array_equal(dense(q.to("cpu")), dense(q))
    with pytest.raises(moeq.MoeqError):
        q.to("cuda:0")
    with pytest.raises(moeq.ArgumentError, match="device"):
        q.to("tpu")


def test_requantize_in_place(weight):
    q = moeq.quantize(weight, "nf4")
    part, codes = q[1], q.components["codes"].numpy()
    address = codes.ctypes.data
    q.requantize(weight * 3)
    assert q.generation == 2 and q.components["codes"].numpy().ctypes.data == address
    np.testing.assert_array_equal(dense(q), dense(moeq.quantize(weight * 3, "nf4")))
    np.testing.assert_array_equal(dense(part), dense(q)[1:2])
    with pytest.raises(moeq.ShapeError):
        q.requantize(weight[:2])


@pytest.mark.parametrize("spec", FORMATS)
def test_compare_is_what_numpy_computes(spec, weight):
    q = moeq.quantize(weight, spec)
    columns = q.compare(weight)
    difference = (dense(q).astype(np.float64) - weight).reshape(3, -1)
    np.testing.assert_allclose(columns["max_error"], np.abs(difference).max(axis=1), rtol=1e-6)
    rmse = np.sqrt((difference**2).mean(axis=1))
    np.testing.assert_allclose(columns["rmse"], rmse, rtol=1e-6)
    power = (weight.reshape(3, -1).astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(columns["sqnr_db"], 10 * np.log10(power / (difference**2).sum(axis=1)), rtol=1e-6)
    np.testing.assert_allclose(columns["amax"], np.abs(weight).max(axis=(1, 2)), rtol=1e-7)
    assert all(0 <= share <= 1 for name in ("saturated", "zero") for share in columns[name])
    assert set(columns) == {"max_error", "rmse", "rmse_over_scale", "sqnr_db", "saturated", "zero", "amax"}


def test_use_after_close(weight):
    q = moeq.quantize(weight, "int8")
    with q:
        assert q.nbytes
    for use in (q.dequantize, lambda: q.shape, lambda: q[0], lambda: q.components, q.copy):
        with pytest.raises(moeq.StateError, match="closed"):
            use()
    assert repr(q) == "moeq.QTensor(closed)"
    q.close()
    context = moeq.Context()
    context.close()
    with pytest.raises(moeq.StateError, match="closed"):
        moeq.quantize(weight, "int8", context=context)
    with pytest.raises(TypeError, match="use QTensor.quantize"):
        moeq.QTensor()


def test_memory_is_counted_and_given_back(weight):
    context = moeq.Context(threads=1)
    before = context.memory()
    q = moeq.quantize(weight, "nf4", context=context)
    during = context.memory()
    assert during.host_live - before.host_live >= q.nbytes and during.host_peak >= during.host_live
    out = q.dequantize()
    assert context.memory().host_live - during.host_live >= out.nbytes
    part = q[0]
    q.close()
    assert context.memory().host_live > before.host_live
    del part, out
    assert context.memory().host_live == before.host_live


def test_context_describes_itself():
    report = moeq.Context(threads=1, cpu_tier="scalar").describe()
    assert isinstance(report, dict) and report["version"] == moeq.__version__
    assert moeq.default_context() is moeq.default_context()


def test_tiers_and_threads_give_the_same_bytes(weight):
    reference = moeq.quantize(weight, "nf4:64,nested", context=moeq.Context(1, "scalar"))
    other = moeq.quantize(weight, "nf4:64,nested", context=moeq.Context(2, "best"))
    for name, tensor in reference.components.items():
        np.testing.assert_array_equal(tensor.numpy(), other.components[name].numpy(), err_msg=name)


def test_the_interpreter_lock_is_released():
    """While one thread is in a call, another one goes on running Python code.

    If the call held the lock, the other thread could look up at most once a call: when the lock changes hands right
    behind it.
    """
    context = moeq.Context(threads=1, cpu_tier="scalar")
    source = np.ones((8, 1024, 1024), np.float32)
    calls, seen, inside, done = 5, [0] * 5, [None], threading.Event()

    def work():
        for call in range(calls):
            inside[0] = call
            moeq.quantize(source, "nf4:64,nested", context=context)
            inside[0] = None
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        call = inside[0]
        if call is not None:
            seen[call] += 1
        time.sleep(0.0005)
    thread.join()
    assert max(seen) >= 4, seen


def test_many_threads_read_one_handle(weight):
    q = moeq.quantize(weight, "nf4:64,nested")
    whole, failures = dense(q), []

    def read(expert):
        for _ in range(50):
            if not np.array_equal(dense(q, experts=expert), whole[expert]):
                failures.append(expert)

    threads = [threading.Thread(target=read, args=(index % 3,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_closing_while_others_read(weight):
    """close() lets go of the handle; a call that is running keeps it until it returns."""
    for _ in range(20):
        q = moeq.quantize(weight, "nf4")
        errors = []

        def read(q=q, errors=errors):
            try:
                while True:
                    q.dequantize()
            except moeq.StateError:
                errors.append("closed")

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.001)
        q.close()
        for thread in threads:
            thread.join()
        assert errors == ["closed", "closed"]
