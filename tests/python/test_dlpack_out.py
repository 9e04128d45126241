"""moeq's own tensors through DLPack, and the life of the capsules."""

import gc
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import moeq
from moeq import _dlpack, _export

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEW, OLD = _dlpack.VERSIONED, _dlpack.LEGACY
NUMPY_HAS_VERSIONED = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 1)


@pytest.fixture
def context():
    return moeq.Context(threads=1)


def created(context, shape=(2, 3), dtype="fp32"):
    tensor = moeq.empty(shape, dtype, context=context)
    tensor.numpy()[...] = np.arange(tensor.nbytes // tensor.numpy().itemsize).reshape(shape)
    return tensor


@pytest.fixture
def component(weight, context):
    return moeq.quantize(weight, "int8", context=context).component("codes")


def test_what_a_tensor_says(context):
    tensor = created(context, (2, 3, 4), "fp16")
    assert (tensor.shape, tensor.strides, tensor.ndim, len(tensor)) == ((2, 3, 4), (12, 4, 1), 3, 2)
    assert (tensor.dtype, tensor.nbytes, tensor.device, tensor.read_only) == ("fp16", 48, (1, 0), False)
    assert repr(tensor) == "moeq.Tensor(shape=(2, 3, 4), dtype='fp16')"
    scalar = moeq.empty((), "fp64")
    assert (scalar.shape, scalar.strides, scalar.nbytes) == ((), (), 8) and scalar.numpy().shape == ()
    with pytest.raises(TypeError):
        len(scalar)
    assert moeq.empty(5).shape == (5,) and moeq.empty((0, 3)).numpy().shape == (0, 3)
    with pytest.raises(moeq.ShapeError):
        moeq.empty((-1,))


def test_one_element_without_numpy(context):
    for dtype in ("fp32", "fp16", "bf16", "fp64", "int8", "uint8", "int32", "int64"):
        tensor = moeq.empty((1, 1), dtype, context=context)
        tensor.numpy()[...] = 3
        assert float(tensor) == tensor.item() == 3
    with pytest.raises(moeq.ArgumentError, match="one element"):
        created(context).item()
    with pytest.raises(moeq.DtypeError):
        moeq.empty((), "fp8_e5m2", context=context).item()


def test_numpy_shares_the_memory(context):
    tensor = created(context)
    first, second, third = tensor.numpy(), np.asarray(tensor), np.from_dlpack(tensor)
    first[0, 0] = 77
    assert second[0, 0] == third[0, 0] == 77
    live = context.memory().host_live
    del tensor, first, second
    gc.collect()
    assert context.memory().host_live == live and third[0, 0] == 77
    del third
    assert context.memory().host_live < live
    assert np.asarray(created(context), dtype=np.float64).dtype == np.float64
    copy = np.array(created(context), copy=True)
    assert copy.flags.owndata or copy.base is not None


def test_capsules_of_both_forms(context, weight):
    tensor = created(context)
    new = tensor.__dlpack__(max_version=(1, 0))
    assert _dlpack.capsule_is_valid(new, NEW if NUMPY_HAS_VERSIONED else OLD)
    assert _dlpack.capsule_is_valid(tensor.__dlpack__(), OLD)
    assert _dlpack.capsule_is_valid(tensor.__dlpack__(max_version=(0, 8)), OLD)
    q = moeq.quantize(weight, "int8")
    capsule = q.component("codes").__dlpack__(max_version=(1, 3))
    managed = _dlpack.borrow_capsule(capsule, "capsule").pointer
    assert managed.flags & 1 and managed.version.major == 1 and managed.dl_tensor.strides != _dlpack.ffi.NULL
    assert list(managed.dl_tensor.shape[0:3]) == [3, 6, 128] and managed.dl_tensor.byte_offset == 0


def test_read_only_needs_the_new_form(component):
    for keywords in ({}, {"max_version": (0, 8)}):
        with pytest.raises(BufferError, match="read-only"):
            component.__dlpack__(**keywords)
    assert _dlpack.capsule_is_valid(component.__dlpack__(copy=True), OLD)
    values = component.numpy()
    assert not values.flags.writeable
    copy = component.copy()
    assert not copy.read_only and not np.shares_memory(copy.numpy(), values)
    np.testing.assert_array_equal(copy.numpy(), values)
    if NUMPY_HAS_VERSIONED:
        assert not np.from_dlpack(component).flags.writeable


def test_copies_of_strided_views(weight):
    q = moeq.quantize(weight, "int8")
    for part in (q.slice(2, 32, 96), q.slice(1, 1, 4), q.slice(2, 0, 1), q[1:]):
        for name, tensor in part.components.items():
            copy = tensor.copy()
            assert copy.numpy().flags.c_contiguous
            np.testing.assert_array_equal(copy.numpy(), tensor.numpy(), err_msg=name)


def test_stream_device_and_version_rules(context):
    tensor = created(context)
    for stream in (None, -1):
        tensor.__dlpack__(stream=stream, max_version=(1, 0))
    for stream in (0, 1, 2, 12345):
        with pytest.raises(ValueError, match="stream"):
            tensor.__dlpack__(stream=stream)
    tensor.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(BufferError, match="dl_device"):
        tensor.__dlpack__(dl_device=(2, 0))
    assert tensor.__dlpack_device__() == (1, 0)


def test_dropped_capsules_free_their_tensor(weight, context):
    """D15: never consumed. The capsule is noticed by the next sweep, which every dying tensor of moeq's starts."""
    before = context.memory().host_live
    q = moeq.quantize(weight, "int8", context=context)
    component = q.component("codes")
    capsules = [component.__dlpack__(max_version=(1, 0)) for _ in range(3)]
    q.close()
    del component, q
    assert context.memory().host_live > before and len(_export._leases) >= 3
    del capsules
    _export.sweep()
    assert context.memory().host_live == before and not _export._leases


def test_a_dying_tensor_sweeps(weight, context):
    before = context.memory().host_live
    q = moeq.quantize(weight, "int8", context=context)
    component = q.component("codes")
    component.__dlpack__(max_version=(1, 0))
    q.close()
    del component
    assert context.memory().host_live == before


@pytest.mark.skipif(not NUMPY_HAS_VERSIONED, reason="NumPy before 2.1 has no versioned capsules")
def test_consumed_capsules_belong_to_the_consumer(weight, context):
    before = context.memory().host_live
    q = moeq.quantize(weight, "int8", context=context)
    component = q.component("codes")
    first = np.from_dlpack(component)
    q.close()
    second = np.from_dlpack(component)  # the component needs no open handle
    values = first.copy()
    del component
    for array in (first, second):
        _export.sweep()
        gc.collect()
        assert context.memory().host_live >= before + weight.size
        np.testing.assert_array_equal(array, values)
    del array, first
    np.testing.assert_array_equal(second, values)
    del second
    _export.sweep()
    assert context.memory().host_live == before


def test_a_consumer_that_refuses_gives_its_own_error(weight):
    """NumPy has no FP8: its error must come through, and nothing may leak or crash."""
    context = moeq.Context(threads=1)
    before = context.memory().host_live
    q = moeq.quantize(weight, "fp8_e4m3", context=context)
    for _ in range(10):
        with pytest.raises((BufferError, RuntimeError, TypeError)) as caught:
            np.from_dlpack(q.component("codes"))
        assert not isinstance(caught.value, SystemError)
        del caught
    q.close()
    del q
    gc.collect()
    _export.sweep()
    assert context.memory().host_live == before


def test_torch_takes_everything(weight, context):
    torch = pytest.importorskip("torch")
    before = context.memory().host_live
    q = moeq.quantize(weight, "fp8_e4m3", context=context)
    codes = torch.from_dlpack(q.component("codes"))
    assert codes.dtype == torch.float8_e4m3fn
    out = q.dequantize(dtype="bf16")
    first, second = torch.from_dlpack(out), torch.from_dlpack(out)
    assert first.dtype == torch.bfloat16 and first.data_ptr() == second.data_ptr()
    first[0, 0, 0] = 42
    assert float(second[0, 0, 0]) == 42 and float(out.numpy()[0, 0, 0]) == 42
    q.close()
    del out, first, q
    gc.collect()
    assert float(second[0, 0, 0]) == 42 and codes.shape == (3, 6, 128)
    del second, codes
    gc.collect()
    _export.sweep()
    assert context.memory().host_live == before


def test_round_trip_through_moeq_itself(weight):
    q = moeq.quantize(weight, "nf4")
    dense = q.dequantize()
    again = moeq.quantize(dense, "nf4")
    np.testing.assert_array_equal(
        moeq.quantize(dense.numpy(), "nf4").components["codes"].numpy(), again.components["codes"].numpy()
    )
    out = moeq.empty(weight.shape, "bf16")
    assert q.dequantize(out=out) is out
    capsule = dense.__dlpack__(max_version=(1, 0))
    assert float(moeq.reduce_amax(capsule).numpy()) == np.abs(dense.numpy()).max()


def test_capsules_in_many_threads(weight, context):
    before = context.memory().host_live
    q, failures = moeq.quantize(weight, "int8", context=context), []
    right = q.component("codes").numpy().copy()

    def export():
        try:
            for index in range(100):
                component = q.component("codes")
                capsule = component.__dlpack__(max_version=(1, 0))
                if index % 3 == 0:
                    del capsule
                elif index % 3 == 1:
                    moeq.reduce_amax(capsule)
                elif NUMPY_HAS_VERSIONED:
                    np.testing.assert_array_equal(np.from_dlpack(component), right)
        except BaseException as error:  # an assertion in a thread must not get lost
            failures.append(error)

    threads = [threading.Thread(target=export) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    q.close()
    _export.sweep()
    assert context.memory().host_live == before and not _export._leases


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
import moeq
context = moeq.Context(threads=1)
before = context.memory().host_live
tensor = moeq.empty((2, 3), context=context)
capsule = tensor.__dlpack__(max_version=(1, 0))
try:
    tensor.__dlpack__()
except BufferError as error:
    assert "NumPy" in str(error)
else:
    raise AssertionError("an old capsule without NumPy")
amax = moeq.empty((), context=context)
moeq.reduce_sum(capsule, out=amax)
del capsule, amax
del tensor
from moeq import _export
assert not _export._leases and not _export._shared, (_export._leases, _export._shared)
assert context.memory().host_live == before
try:
    moeq.empty((2,)).numpy()
except ImportError:
    print("fine")
"""

ADOPT_BUFFERS = """
import array, ctypes, sys
import moeq
codes = memoryview(array.array("b", [1, 2, 3, 4])).cast("B").cast("b", (1, 1, 4))
scale = memoryview(array.array("f", [127])).cast("B").cast("f", (1, 1))
q = moeq.QTensor.adopt("int8", (1, 1, 4), {"codes": codes, "scale": scale})
"""

AT_EXIT = (
    ADOPT_BUFFERS
    + """
held = q.component("codes").__dlpack__(max_version=(1, 0))
class Late:
    def __del__(self, q=q, held=held):
        pass
sys.late = Late()
cycle = [q.component("scale"), held]
cycle.append(cycle)
print("fine")
"""
)

AFTER_EXIT = (
    ADOPT_BUFFERS
    + """
from moeq._cdef import ffi
from moeq._library import lib
# The C runtime releases the last reference when there is no interpreter any more.
lib.moeq_qtensor_retain(q._handle)
address = lambda pointer: ctypes.c_void_p(int(ffi.cast("uintptr_t", pointer)))
ctypes.CDLL(None).__cxa_atexit(address(lib.moeq_qtensor_release), address(q._handle), None)
print("fine")
"""
)

WITHOUT_THE_PACKAGE = """
import atexit, gc, sys
import numpy as np
import moeq
q = moeq.quantize(np.ones((2, 2, 64), np.float32), "int8")
handle = q._handle
try:
    array = np.from_dlpack(q.component("codes"))
except BufferError:
    array = None
atexit._clear()
for name in [name for name in sys.modules if name.startswith("moeq")]:
    del sys.modules[name]
del moeq, q
for _ in range(3):
    gc.collect()
assert array is None or (array == 127).all()
del array, handle
print("fine")
"""


@pytest.mark.parametrize("code", [WITHOUT_NUMPY, AT_EXIT, AFTER_EXIT, WITHOUT_THE_PACKAGE])
def test_in_a_process_of_its_own(code):
    # Freed memory of Python is overwritten, so that its use shows.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"), "PYTHONMALLOC": "debug"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "fine", "")
