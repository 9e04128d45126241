"""Builder: a weight that arrives in pieces."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ._cdef import ffi
from ._context import Context, default_context, sized
from ._dlpack import borrow
from ._errors import StateError, check, new_error
from ._library import lib
from ._qtensor import Options, QTensor
from ._spec import Spec, as_spec, shape_array
from ._stream import current_stream


class BuilderState(NamedTuple):
    """missing_elements: 0 when finish will succeed; staged_bytes: held back until a scale unit is whole."""

    missing_elements: int
    staged_bytes: int
    complete_experts: int


class Block(NamedTuple):
    """Part of a weight in elements; ranges are [begin, end)."""

    expert_begin: int
    expert_end: int
    row_begin: int
    row_end: int
    column_begin: int
    column_end: int


class Builder:
    """Quantizes a weight whose pieces come in any order and size; each is encoded as soon as its scale units are whole.

        with Builder("nf4", (experts, rows, columns)) as builder:
            for expert, piece in pieces:
                builder.write(piece, expert=expert)
            weight = builder.finish()

    Leaving the block without `finish`, or by an exception, abandons it and frees everything. Several threads may
    write at the same time. amax: fp32 [E], for granularity "expert", given instead of measured: then nothing is
    staged. staging_limit: the most bytes to stage, 0 for no limit. storage: as in QTensor.quantize.
    """

    def __init__(
        self,
        spec: Spec | str,
        shape: Iterable[int],
        *,
        amax: Any = None,
        staging_limit: int = 0,
        storage: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._handle: Any = None
        self._writers = 0
        self._turn = threading.Condition()
        self._context = context or default_context()
        spec, (ndim, extents) = as_spec(spec), shape_array(shape)
        with Options(self._context, amax=amax, storage=storage, staging_limit=staging_limit) as options:
            out, err = ffi.new("moeq_builder **"), new_error()
            self._device = options.storage_device
            status = lib.moeq_builder_create(
                self._context._pointer, spec._struct, ndim, extents, options.pointer, self._stream(), out, err
            )
            check(status, err)
        self._handle = ffi.gc(out[0], lib.moeq_builder_destroy)

    def _stream(self) -> Any:
        return current_stream(*self._device)

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            raise StateError("moeq.Builder: got a builder that was finished or closed; wanted an open one")
        return self._handle

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """Any number of writers at a time."""
        with self._turn:
            handle = self._pointer
            self._writers += 1
        try:
            yield handle
        finally:
            with self._turn:
                self._writers -= 1
                self._turn.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[Any]:
        """Waits for running writes and keeps new ones out."""
        with self._turn:
            self._turn.wait_for(lambda: self._writers == 0)
            yield self._pointer

    def write(self, piece: Any, expert: int = 0, row: int = 0, column: int = 0) -> None:
        """piece: [r, c] or [e, r, c] in fp32, fp16 or bf16, its first element at (expert, row, column).

        RangeError: it goes beyond the weight. DuplicateError: it overlaps what is there. BadValueError: NaN or Inf; the
        piece counts as not written and may be sent again.
        """
        tensor, err = borrow(piece, "piece"), new_error()
        with self._writing() as handle:
            stream = self._stream()
            check(lib.moeq_builder_write(handle, expert, row, column, tensor.pointer, stream, err), err)

    @property
    def state(self) -> BuilderState:
        state, err = sized("moeq_builder_state"), new_error()
        with self._alone() as handle:
            check(lib.moeq_builder_get_state(handle, state, err), err)
        return BuilderState(state.missing_elements, state.staged_bytes, state.complete_experts)

    def missing(self, limit: int | None = None) -> list[Block]:
        """What has not been written yet, in order of place; the first `limit` blocks of it."""
        total, err = ffi.new("int64_t *"), new_error()
        with self._alone() as handle:
            if limit is None:
                check(lib.moeq_builder_get_missing(handle, ffi.NULL, 0, total, err), err)
                limit = total[0]
            blocks = ffi.new("moeq_block[]", max(limit, 1))
            check(lib.moeq_builder_get_missing(handle, blocks, limit, total, err), err)
        return [Block(*(getattr(blocks[i], field) for field in Block._fields)) for i in range(min(limit, total[0]))]

    def finish(self) -> QTensor:
        """The quantized weight; the builder is used up. After IncompleteError it lives on and can be written to."""
        out, err = ffi.new("moeq_qtensor **"), new_error()
        with self._alone() as handle:
            check(lib.moeq_builder_finish(handle, self._stream(), out, err), err)
            ffi.gc(handle, None)
            self._handle = None
        return QTensor._of(out[0], self._context)

    def close(self) -> None:
        """Abandons what was written. Fine at any time and twice."""
        with self._turn:
            self._handle = None  # a write that is running keeps the builder until it returns

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
