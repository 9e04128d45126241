"""Handing ownership of tensors to the library. Borrowing for one call is in _dlpack.py, tensors out in _export.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._cdef import ffi
from ._dlpack import (
    CPU,
    LEGACY,
    USED_LEGACY,
    USED_VERSIONED,
    VERSIONED,
    Capsule,
    borrow,
    capsule_get_pointer,
    capsule_is_valid,
    capsule_set_name,
    legacy_flags,
    numpy_code,
    request_capsule,
)
from ._errors import DtypeError, check, new_error
from ._export import numpy_capsule, shared
from ._library import lib
from ._names import number_of, numpy_module


class Owned:
    """A managed tensor taken from its producer for the library to own. Where the library does not take it after all,
    `give_back` undoes the taking."""

    __slots__ = ("pointer", "_undo")

    def __init__(self, pointer: Any, undo: Callable[[], Any]) -> None:
        self.pointer = pointer
        self._undo = undo

    def give_back(self) -> None:
        self._undo()


def own(source: Any, argument: str, context: Any) -> Owned:
    """A tensor whose ownership the library can take. The producer's own deleter is used wherever it has one, so that
    the last release needs no Python."""
    numpy = numpy_module()
    capsule = None
    if numpy is not None and isinstance(source, numpy.ndarray):
        capsule = numpy_capsule(source, numpy_code(source, argument), versioned=True)
    elif type(source) is Capsule:
        capsule = source
    elif hasattr(type(source), "__dlpack__"):
        capsule = request_capsule(source, writable=True)
    if capsule is not None:
        return _take_capsule(capsule, argument, context, legacy_flags(source))
    managed = shared(borrow(source, argument))
    return Owned(managed, lambda: managed.deleter(managed))


def _take_capsule(capsule: Any, argument: str, context: Any, flags: int) -> Owned:
    if capsule_is_valid(capsule, VERSIONED):
        managed = ffi.cast("struct DLManagedTensorVersioned *", capsule_get_pointer(capsule, VERSIONED))
        capsule_set_name(capsule, USED_VERSIONED)
        return Owned(managed, lambda: capsule_set_name(capsule, VERSIONED))
    if not capsule_is_valid(capsule, LEGACY):
        raise DtypeError(f"moeq: {argument}: got a capsule {capsule!r} that is no DLPack tensor, or a used one")
    legacy = ffi.cast("struct DLManagedTensor *", capsule_get_pointer(capsule, LEGACY))
    out, err = ffi.new("struct DLManagedTensorVersioned **"), new_error()
    check(lib.moeq_tensor_from_legacy(context, legacy, out, err), err)
    capsule_set_name(capsule, USED_LEGACY)
    managed = out[0]
    managed.flags |= flags
    return Owned(managed, lambda: managed.deleter(managed))


class Adoption:
    """Named tensors as the array of moeq_component that "adopt" functions take. Use in `with`: what the block
    raises gives every tensor back to its producer."""

    def __init__(self, components: Mapping[str, Any], context: Any) -> None:
        self._owned: list[Owned] = []
        self.count = len(components)
        self.array = ffi.new("moeq_component[]", max(self.count, 1))
        self.device = (CPU, 0)  # of the first one: all are on one device, or the library says so
        try:
            for index, (name, source) in enumerate(components.items()):
                owned = own(source, name, context)
                self._owned.append(owned)
                self.array[index].component = number_of("component", name)
                self.array[index].tensor = owned.pointer
                if index == 0:
                    device = owned.pointer.dl_tensor.device
                    self.device = (device.device_type, device.device_id)
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        for owned in self._owned:
            owned.give_back()
        self._owned.clear()

    def __enter__(self) -> Adoption:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self._give_back()
