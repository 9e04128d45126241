"""Calls on a device follow torch's current stream. The device is the stand-in of tests/mirror, the streams are numbers."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

MIRROR = ROOT / "build" / "release" / "tests" / "mirror" / "libmoeq_mirror.so"

PROGRAM = r"""
import ctypes, sys
from types import SimpleNamespace

import numpy as np
from conftest import Producer

import moeq
from moeq._cdef import ffi
from moeq._context import sized
from moeq._errors import check, new_error
from moeq._library import lib

mirror = ctypes.CDLL(sys.argv[1])
mirror.moeq_mirror_allocate.restype = ctypes.c_void_p
mirror.moeq_mirror_allocate.argtypes = [ctypes.c_size_t]
CURRENT = {0: 0x1230, 1: 0x4560}


def there(shape, dtype, device=0):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    address = mirror.moeq_mirror_allocate(size)
    array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)
    return array, Producer(array, device=(2, device))


def home(q):
    info, err = sized("moeq_qtensor_info"), new_error()
    check(lib.moeq_qtensor_get_info(q._pointer, info, err), err)
    return info.device_id, int(ffi.cast("uintptr_t", info.home_stream))


values = np.random.default_rng(0).standard_normal((2, 4, 64), np.float32)
array, source = there(values.shape, np.float32)
array[:] = values
assert home(moeq.quantize(source, "int8")) == (0, 0)  # without torch: the legacy default stream

sys.modules["torch"] = SimpleNamespace(
    cuda=SimpleNamespace(
        is_initialized=lambda: True, current_stream=lambda device: SimpleNamespace(cuda_stream=CURRENT[device])
    )
)
q = moeq.quantize(source, "int8")
assert home(q) == (0, CURRENT[0])
assert home(moeq.quantize(values, "int8")) == (0, 0)  # of the host
assert home(q.copy()) == (0, 0)
assert home(moeq.quantize(values, "int8").to("cuda:1")) == (1, CURRENT[1])
out, destination = there(values.shape, np.float32)
q.dequantize(out=destination)
expected = moeq.quantize(values, "int8").dequantize(out=np.empty_like(values))
assert (out == expected).all()
assert q.compare(values) == q.copy().compare(values)
amax, into = there((), np.float32)
moeq.reduce_amax(source, out=into)
assert float(amax) == np.abs(values).max()
q.requantize(source)
array *= 2
codes, scale = there(values.shape, np.int8), there((2, 4), np.float32)
moeq.quantize_into(source, "int8", codes=codes[1], scale=scale[1])
assert (codes[0] == q.copy().components["codes"].numpy()).all()
del sys.modules["torch"]
"""


def test_calls_follow_torchs_current_stream():
    if not MIRROR.exists():
        pytest.skip("the C++ tests are not built: there is no stand-in for a device")
    environment = os.environ | {"MOEQ_CUDA_LIBRARY": str(MIRROR)}
    path = os.pathsep.join([str(ROOT / "bindings" / "python"), str(ROOT / "tests" / "python")])
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(MIRROR)],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
