"""Tensors out: capsules whose tensors are freed exactly once, without Python code in any destructor or deleter that
a foreign library calls.

Such code is not safe in Python: a capsule is often destroyed while an exception is on its way (NumPy refusing an
element type is enough), and Python code that runs then loses that exception or crashes. So a capsule of ours has no
destructor: it is listed here together with its tensor, and a capsule that nobody else holds any more and nobody has
used gets its tensor freed by the next sweep. Sweeps happen with every export, whenever a moeq.Tensor dies, and at exit.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import sys
from typing import Any

from ._cdef import ffi
from ._dlpack import MAX_VERSION, VERSIONED, Borrowed, capsule_is_valid, capsule_new, capsule_tensor, set_dtype
from ._names import numpy_has

_keys = itertools.count()
_leases: dict[int, tuple[Any, Any]] = {}  # capsule and its managed tensor


def lease(managed: Any) -> Any:
    """A versioned capsule for a managed tensor with a deleter, which from now on belongs to the capsule."""
    sweep()
    capsule = capsule_new(int(ffi.cast("uintptr_t", managed)), VERSIONED, None)
    _leases[next(_keys)] = (capsule, managed)
    return capsule


def sweep(_leases: dict = _leases, _count: Any = sys.getrefcount, _is_valid: Any = capsule_is_valid) -> None:
    """Frees the tensors of capsules that were dropped without having been used.

    Every step is one dictionary operation, so that sweeps may meet in several threads and inside each other.
    """
    for key in list(_leases):
        entry = _leases.pop(key, None)
        if entry is None:
            continue
        if _count(entry[0]) > 2:  # more than our entry and the argument of the count: in somebody's hands
            _leases[key] = entry
        elif _is_valid(entry[0], VERSIONED):
            entry[1].deleter(entry[1])
        # else it was used: the tensor belongs to the consumer, and only the empty capsule goes


_shared: dict[int, tuple[Any, Any]] = {}  # address of a managed tensor, and what it keeps alive
_callback: Any = None


def shared(borrowed: Borrowed) -> Any:
    """A managed tensor with a deleter, over memory that a Python object holds.

    Only for what has no C deleter of its own: buffers, and tensors of ours where NumPy is not installed. The deleter
    takes the interpreter lock, so it may be called from any thread; at exit all of them are cut off (`_at_exit`).
    """
    global _callback
    if _callback is None:

        def forget(managed: Any, _shared: dict = _shared, _cast: Any = ffi.cast) -> None:
            _shared.pop(int(_cast("uintptr_t", managed)), None)

        _callback = ffi.callback("void(struct DLManagedTensorVersioned *)", forget)
    managed = ffi.new("struct DLManagedTensorVersioned *")
    managed.version = borrowed.pointer.version
    managed.flags = borrowed.pointer.flags
    managed.dl_tensor = borrowed.pointer.dl_tensor
    managed.deleter = _callback
    address = int(ffi.cast("uintptr_t", managed))
    _shared[address] = (managed, borrowed)
    return ffi.cast("struct DLManagedTensorVersioned *", address)


def _at_exit() -> None:
    """After this no foreign library reaches Python through a deleter: what is still out there stays in memory."""
    sweep()
    for managed, _ in list(_shared.values()):
        managed.deleter = ffi.NULL
    for kept in (_shared, _leases, _callback):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


atexit.register(_at_exit)


def numpy_capsule(array: Any, code: int, *, versioned: bool) -> Any:
    """NumPy's own capsule for an array, with C destructor and C deleter; also for ml_dtypes' element types.

    None where NumPy refuses: it has no read-only tensors in the form before DLPack 1.0.
    """
    raw = array if numpy_has(code) else array.view(f"u{array.dtype.itemsize}")
    try:
        try:
            capsule = raw.__dlpack__(max_version=MAX_VERSION) if versioned else raw.__dlpack__()
        except TypeError:  # NumPy before 2.1
            capsule = raw.__dlpack__()
    except BufferError:
        return None
    set_dtype(capsule_tensor(capsule), code)
    return capsule
