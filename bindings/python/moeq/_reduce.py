"""Reductions: amax and sum over any axes of strided tensors, each element read once."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from ._cdef import ffi
from ._context import Context, default_context, sized
from ._dlpack import borrow
from ._errors import ArgumentError, check, new_error
from ._library import lib
from ._names import DTYPES, dtype_code, number_of
from ._spec import Spec, as_spec
from ._stream import stream_of
from ._tensor import empty

FLOATS = (DTYPES["fp32"], DTYPES["fp16"], DTYPES["bf16"], DTYPES["fp64"])


def _options(operation: str, axis: Any, blocks: Any, ndim: int, flags: dict[str, bool]) -> tuple[Any, Any]:
    """A moeq_reduce_options and what keeps its arrays alive."""
    options = sized("moeq_reduce_options")
    options.operation = number_of("operation", operation)
    for name, wanted in flags.items():
        if wanted:
            options.flags |= ffi.integer_const("MOEQ_REDUCE_" + name)
    kept = []
    if axis is not None:
        try:
            axes = [operator.index(axis)]
        except TypeError:
            axes = [operator.index(one) for one in axis]
        options.axis_count = len(axes)
        kept.append(ffi.new("int32_t[]", axes or 1))
        options.axes = kept[-1]
    if blocks is not None:
        lengths = list(map(operator.index, blocks))
        if len(lengths) != ndim:
            raise ArgumentError(f"moeq: blocks: got {len(lengths)} lengths; wanted one per axis of the source, {ndim}")
        kept.append(ffi.new("int64_t[]", lengths or 1))
        options.blocks = kept[-1]
    return options, kept


def _default_dtype(operation: str, source: int) -> int:
    """amax of floating point keeps the source's type, in which it is exact; all else needs a wider one."""
    if source in FLOATS:
        return source if operation == "amax" or source == DTYPES["fp64"] else DTYPES["fp32"]
    wide = operation == "sum" and (source & 0xFF) in (0, 1) or (source >> 8 & 0xFF) > 16
    return DTYPES["fp64" if wide else "fp32"]


def _reduce(
    operation: str,
    x: Any,
    axis: Any,
    out: Any,
    blocks: Any,
    dtype: Any,
    context: Context | None,
    flags: dict[str, bool],
) -> Any:
    context, source, err = context or default_context(), borrow(x, "x"), new_error()
    shape = source.shape
    options, kept = _options(operation, axis, blocks, len(shape), flags)
    if out is None:
        ndim, extents = ffi.new("int32_t *"), ffi.new("int64_t[]", 8)
        check(lib.moeq_reduce_shape(len(shape), shape or ffi.NULL, options, ndim, extents, err), err)
        code = _default_dtype(operation, source.dtype) if dtype is None else dtype_code(dtype)
        out = empty(extents[0 : ndim[0]], code, context=context)
    destination = borrow(out, "out", writable=True)
    stream = stream_of(source.pointer)
    check(lib.moeq_reduce(context._pointer, source.pointer, options, stream, destination.pointer, err), err)
    del kept
    return out


def reduce_amax(
    x: Any,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    out: Any = None,
    accumulate: bool = False,
    blocks: Sequence[int] | None = None,
    *,
    dtype: Any = None,
    squeeze_scalar: bool = False,
    empty_is_all: bool = False,
    wrap_integers: bool = False,
    context: Context | None = None,
) -> Any:
    """max|x| over axes; NaN where there is one.

    axis: None for all axes, () for none. out: a tensor of fp32, fp64 or x's type, which is also what is returned;
    without it a new moeq.Tensor of `dtype` (default: x's type for floating point; fp32, from 32-bit integers on fp64,
    for others). accumulate: out = max(out, result). blocks: a length per axis of x: the axis becomes its blocks, the
    last one ragged, each reduced to one number along the reduced axes.
    squeeze_scalar: one element becomes 0-d even with keepdims. empty_is_all: axis=() means all axes, as in some
    frameworks. wrap_integers: the most negative integer wraps, as in some frameworks.
    """
    flags = {
        "KEEP_AXES": keepdims,
        "ACCUMULATE": accumulate,
        "SQUEEZE_SCALAR": squeeze_scalar,
        "EMPTY_IS_ALL": empty_is_all,
        "WRAP_INTEGERS": wrap_integers,
    }
    return _reduce("amax", x, axis, out, blocks, dtype, context, flags)


def reduce_sum(
    x: Any,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    out: Any = None,
    accumulate: bool = False,
    blocks: Sequence[int] | None = None,
    *,
    dtype: Any = None,
    squeeze_scalar: bool = False,
    empty_is_all: bool = False,
    context: Context | None = None,
) -> Any:
    """Sum over axes; arguments as in reduce_amax. Default type of the result: fp32; fp64 for fp64 and integers."""
    flags = {
        "KEEP_AXES": keepdims,
        "ACCUMULATE": accumulate,
        "SQUEEZE_SCALAR": squeeze_scalar,
        "EMPTY_IS_ALL": empty_is_all,
    }
    return _reduce("sum", x, axis, out, blocks, dtype, context, flags)


def reduce_many(
    sources: Iterable[Any],
    operation: str = "amax",
    out: Any = None,
    *,
    accumulate: bool = False,
    dtype: Any = "fp32",
    context: Context | None = None,
) -> Any:
    """Each tensor to one number, in one call: out [count], or a new moeq.Tensor [count] of dtype."""
    context, err = context or default_context(), new_error()
    tensors = [borrow(source, "sources") for source in sources]
    pointers = ffi.new("struct DLManagedTensorVersioned *[]", [tensor.pointer for tensor in tensors] or 1)
    options, kept = _options(operation, None, None, 0, {"ACCUMULATE": accumulate})
    if out is None:
        out = empty(len(tensors), dtype, context=context)
    destination = borrow(out, "out", writable=True)
    stream = stream_of(destination.pointer)
    status = lib.moeq_reduce_many(context._pointer, pointers, len(tensors), options, stream, destination.pointer, err)
    check(status, err)
    del kept
    return out


def reduce_axes(ndim: int, quant_axes: Iterable[int] | None = None) -> list[int]:
    """The axes to reduce when one scale is kept per index of `quant_axes` (None: one scale for all)."""
    kept = None if quant_axes is None else list(map(operator.index, quant_axes))
    axes, count, err = ffi.new("int32_t[]", max(ndim, 1)), ffi.new("int32_t *"), new_error()
    array = ffi.NULL if kept is None else ffi.new("int32_t[]", kept or 1)
    check(lib.moeq_reduce_axes(ndim, array, len(kept or ()), axes, count, err), err)
    return list(axes[0 : count[0]])


def scale_from_amax(amax: Any, spec: Spec | str, out: Any = None, *, context: Context | None = None) -> Any:
    """The number that codes are multiplied by for each amax (fp32, any shape), by the format's rule: out, or a new
    moeq.Tensor of amax's shape in fp32."""
    context, spec, source, err = context or default_context(), as_spec(spec), borrow(amax, "amax"), new_error()
    if out is None:
        out = empty(source.shape, "fp32", context=context)
    destination = borrow(out, "out", writable=True)
    status = lib.moeq_scale_from_amax(
        context._pointer, source.pointer, spec._struct, stream_of(source.pointer), destination.pointer, err
    )
    check(status, err)
    return out
