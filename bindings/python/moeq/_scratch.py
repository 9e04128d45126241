"""Structs for one hot call, kept and used again: making them anew costs as much as the call itself."""

from __future__ import annotations

from typing import Any

from ._cdef import ffi
from ._dlpack import TENSOR_OFFSET, new_managed

REGION_SIZE = ffi.sizeof("moeq_region")
EVERYTHING = ffi.new("moeq_region *")
EVERYTHING.struct_size = REGION_SIZE
_free: list[Scratch] = []


class Scratch:
    """What a call that reads a handle into a destination needs. In `with`: one thread's, and given back at the end."""

    __slots__ = ("region", "one_expert", "expert", "managed", "tensor_address", "error")

    def __init__(self) -> None:
        self.region = ffi.new("moeq_region *", EVERYTHING[0])
        self.one_expert = ffi.new("moeq_region *", EVERYTHING[0])  # always of the expert in `expert`
        self.expert = ffi.new("int64_t[1]")
        self.one_expert.experts = self.expert
        self.one_expert.expert_count = 1
        self.managed = new_managed()
        self.tensor_address = int(ffi.cast("uintptr_t", self.managed)) + TENSOR_OFFSET
        self.error = ffi.new("moeq_error *")

    def whole_region(self) -> Any:
        """A region of everything, whatever it was used for before."""
        ffi.memmove(self.region, EVERYTHING, REGION_SIZE)
        return self.region

    def give_back(self) -> None:
        _free.append(self)


def take() -> Scratch:
    """A scratch of nobody else's; list.pop and append are atomic."""
    try:
        return _free.pop()
    except IndexError:
        return Scratch()
