"""What the Python tests share: the package from the source tree, and a DLPack producer that counts.

The library is $MOEQ_LIBRARY, or else build/release/libmoeq.so of this tree.
"""

import ctypes
import os
import pathlib
import signal
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
os.environ.setdefault("MOEQ_LIBRARY", str(ROOT / "build" / "release" / "libmoeq.so"))


# A shell that starts us in its background has Ctrl-C ignored, in children too; what is tested is that it is not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


pytest.register_assert_rewrite("command_line")


def pytest_configure(config):
    config.addinivalue_line("markers", "large: needs gigabytes of memory, so it runs once and alone")


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


class Legacy(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", Tensor), ("manager_ctx", ctypes.c_void_p), ("deleter", Deleter)]


NAMES = {  # kept for good: capsules hold the pointers
    kind: (ctypes.create_string_buffer(name), ctypes.create_string_buffer(b"used_" + name))
    for kind, name in ((Versioned, b"dltensor_versioned"), (Legacy, b"dltensor"))
}
new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))


class Producer:
    """A DLPack producer made by hand. `deleted` counts the calls of its deleters, `used` its consumed capsules.

    form: "versioned", "legacy" (its __dlpack__ knows no keywords), or "both". Fields of the struct can be overridden:
    null_strides, strides, byte_offset, major, flags, dtype=(code, bits, lanes), device=(type, id), ndim, null_deleter.
    """

    def __init__(self, array, form="versioned", **fields):
        self.array = array
        self.form = form
        self.fields = fields
        self.deleted = 0
        self.capsules = []
        self._kept = []
        if form == "legacy":
            self.__class__ = LegacyProducer

    @property
    def used(self):
        return sum(not is_valid(capsule, NAMES[kind][0].value) for capsule, kind in self.capsules)

    def __dlpack_device__(self):
        return self.fields.get("device", (1, 0))

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        versioned = max_version is not None and max_version[0] >= 1
        return self.capsule(Versioned if versioned or self.form == "versioned" else Legacy)

    def capsule(self, kind):
        fields, array = self.fields, self.array
        managed = kind()
        tensor = managed.tensor
        offset = fields.get("byte_offset", 0)
        tensor.data = fields.get("data", array.ctypes.data - offset)
        tensor.byte_offset = offset
        tensor.device_type, tensor.device_id = fields.get("device", (1, 0))
        tensor.ndim = fields.get("ndim", array.ndim)
        default = ({"f": 2, "i": 0, "u": 1}[array.dtype.kind], 8 * array.itemsize, 1)
        tensor.code, tensor.bits, tensor.lanes = fields.get("dtype", default)
        shape = (ctypes.c_int64 * max(array.ndim, 1))(*fields.get("shape", array.shape))
        strides = (ctypes.c_int64 * max(array.ndim, 1))(
            *fields.get("strides", [stride // array.itemsize for stride in array.strides])
        )
        tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
        if not fields.get("null_strides"):
            tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
        if not fields.get("null_deleter"):
            managed.deleter = Deleter(self._delete)
        if kind is Versioned:
            managed.major, managed.minor = fields.get("major", 1), fields.get("minor", 1)
            managed.flags = fields.get("flags", 0)
        self._kept.append((managed, shape, strides))
        # Without a destructor: an unused capsule must stay unused, and the test looks at its name.
        capsule = new_capsule(ctypes.addressof(managed), ctypes.addressof(NAMES[kind][0]), None)
        self.capsules.append((capsule, kind))
        return capsule

    def _delete(self, address):
        assert address in [ctypes.addressof(managed) for managed, _, _ in self._kept]
        self.deleted += 1


class LegacyProducer(Producer):
    """As before DLPack 1.0: __dlpack__ takes a stream and nothing else."""

    def __dlpack__(self, stream=None):
        return self.capsule(Legacy)


@pytest.fixture
def producer():
    """The class of hand-made producers."""
    return Producer


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def weight(rng):
    """A dense weight [3, 6, 128] in fp32."""
    return rng.standard_normal((3, 6, 128), dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small qwen3_moe checkpoint, and its tensors, for the command line."""
    from checkpoints import write_model

    folder = tmp_path_factory.mktemp("cli") / "model"
    return folder, write_model(folder, experts=4)


@pytest.fixture(scope="module")
def quantized(model, tmp_path_factory):
    """The same in NF4."""
    import moeq

    target = tmp_path_factory.mktemp("quantized") / "nf4"
    moeq.convert(model[0], target, spec="nf4", durable=False)
    return target
