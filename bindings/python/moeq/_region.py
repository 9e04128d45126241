"""Which part of a weight a call is about, and on which device."""

from __future__ import annotations

import math
import operator
from typing import Any

from ._cdef import ffi
from ._dlpack import Capsule, borrow
from ._errors import ArgumentError, RangeError, ShapeError
from ._names import numpy_module
from ._scratch import Scratch


class Region:
    """A moeq_region, in a scratch, from `experts=` and `rows=`, and the shapes of what it selects.

    folded_shape: [n, rows, C], as the library sees it. result_shape: for Python: one expert by its index loses its
    axis, a selection of experts has one, and everything keeps the weight's own leading axes.
    """

    __slots__ = ("struct", "folded_shape", "_keep", "_leading")

    def __init__(
        self, shape: tuple[int, ...], folded: tuple[int, int, int], experts: Any, rows: Any, scratch: Scratch
    ) -> None:
        count, height, width = folded
        leading: tuple[int, ...] | None
        if type(experts) is int:
            self._set_one(experts, count, scratch)
            leading, chosen = (), 1
        else:
            self.struct = scratch.whole_region()
            leading = self._set_experts(experts, count, scratch)
            chosen = count if leading is None else math.prod(leading)
        begin, end = row_range(rows, height)
        # 0 means "to the last", so an empty range at the top is given at the bottom.
        self.struct.row_begin, self.struct.row_end = (begin, end) if end or not height else (height, height)
        self._leading = shape[:-2] if leading is None else leading
        self.folded_shape = (chosen, end - begin, width)

    @property
    def result_shape(self) -> tuple[int, ...]:
        return (*self._leading, *self.folded_shape[1:])

    def _set_experts(self, experts: Any, count: int, scratch: Scratch) -> tuple[int, ...] | None:
        """Fills in the selection; returns the leading axes of the result, None for the weight's own."""
        if experts is None:
            return None
        if isinstance(experts, slice):
            return self._set_list(list(range(*experts.indices(count))))
        if is_tensor(experts):
            ids = borrow(experts, "experts")
            if len(ids.shape) == 1:
                self._keep = ids
                self.struct.expert_ids = ids.pointer
                return ids.shape
            if ids.shape:
                raise ShapeError(f"moeq.QTensor: experts: got a tensor of shape {ids.shape}; wanted [n] or one index")
        try:
            index = operator.index(experts)
        except TypeError:
            try:
                return self._set_list([wrapped(operator.index(item), count) for item in experts])
            except TypeError:
                raise ArgumentError(
                    f"moeq.QTensor: experts: got {experts!r}; wanted an index, indices or a slice, or a tensor [n]"
                ) from None
        self._set_one(index, count, scratch)
        return ()

    def _set_one(self, index: int, count: int, scratch: Scratch) -> None:
        self.struct = scratch.one_expert
        scratch.expert[0] = wrapped(index, count)

    def _set_list(self, indices: list[int]) -> tuple[int, ...]:
        self._keep = ffi.new("int64_t[]", indices or 1)
        self.struct.experts = self._keep
        self.struct.expert_count = len(indices)
        return (len(indices),)


def wrapped(index: int, count: int) -> int:
    """A negative index counts from the end; one out of range stays so, and the library names it."""
    return index + count if -count <= index < 0 else index


def is_tensor(value: Any) -> bool:
    numpy = numpy_module()
    if numpy is not None and isinstance(value, numpy.ndarray):
        return True
    return hasattr(type(value), "__dlpack__") or type(value) is Capsule


def row_range(rows: Any, height: int) -> tuple[int, int]:
    """[begin, end) from None, a slice, a range or a pair; unlike a slice, a pair must be inside the weight."""
    if rows is None:
        return 0, height
    if type(rows) is tuple and len(rows) == 2:
        begin, end = rows
        if type(begin) is type(end) is int and 0 <= begin <= end <= height:
            return begin, end
    if isinstance(rows, slice):
        begin, end, step = rows.indices(height)
        if step != 1:
            raise ArgumentError(f"moeq.QTensor: rows: got a slice with step {step}; wanted step 1")
        return begin, max(begin, end)
    if isinstance(rows, range) and rows.step == 1:
        rows = rows.start, rows.stop
    try:
        begin, end = (operator.index(bound) for bound in rows)
    except (TypeError, ValueError):
        raise ArgumentError(f"moeq.QTensor: rows: got {rows!r}; wanted slice(begin, end) or (begin, end)") from None
    if not 0 <= begin <= end <= height:
        raise RangeError(f"moeq.QTensor: rows: got [{begin}, {end}); wanted a range inside [0, {height})", row=begin)
    return begin, end


DEVICE_WORDS = {"cpu": "CPU", "cuda": "CUDA", "cuda_host": "CUDA_HOST", "cuda_managed": "CUDA_MANAGED"}


def parse_device(device: Any) -> tuple[int, int]:
    """DLPack's (type, id) for "cpu", "cuda", "cuda:1" or a pair."""
    if isinstance(device, (tuple, list)) and len(device) == 2:
        return int(device[0]), int(device[1])
    word, _, number = str(device).partition(":")
    if word not in DEVICE_WORDS or (number and not number.isdigit()):
        raise ArgumentError(f"moeq: device: got {device!r}; wanted 'cpu', 'cuda', 'cuda:1' or DLPack's (type, id)")
    return ffi.integer_const("MOEQ_DEVICE_" + DEVICE_WORDS[word]), int(number or 0)
