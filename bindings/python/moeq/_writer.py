"""Writer: one checkpoint file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ._cdef import ffi
from ._context import Context, default_context, sized
from ._dlpack import borrow
from ._errors import ArgumentError, ArgumentTypeError, StateError, check, new_error
from ._library import lib
from ._names import dtype_code, number_of
from ._qtensor import QTensor
from ._reader import json_text, path_bytes
from ._spec import Spec, as_spec, shape_array
from ._stream import stream_of


class Writer:
    """Writes one .safetensors file: declare everything, put in any order, commit.

        with moeq.Writer("experts.safetensors") as file:
            file.declare("gate_up", shape, spec="nf4")
            file.declare("router", (64, 2048), "bf16")
            file.put("gate_up", quantized)
            file.put("router", tensor)

    Leaving the block commits, an exception abandons: then `path` is as it was. dialect: "native", "bitsandbytes",
    "compressed-tensors" or "hf-fp8", the layout of quantized weights. metadata: strings for `__metadata__`.
    durable: waits until the disk has it; without, the file is whole or absent, but not across a power cut.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dialect: str = "native",
        metadata: Mapping[str, str] | None = None,
        durable: bool = True,
        *,
        context: Context | None = None,
    ) -> None:
        self._handle: Any = None
        self._committed = False
        self._context = context or default_context()
        options = sized("moeq_writer_options")
        options.dialect = number_of("dialect", dialect)
        options.flags = 0 if durable else ffi.integer_const("MOEQ_WRITER_NOT_DURABLE")
        text = json_text(None if metadata is None else dict(metadata), "metadata")
        options.metadata = text
        out, err = ffi.new("moeq_writer **"), new_error()
        check(lib.moeq_writer_create(self._context._pointer, path_bytes(path, "path"), options, out, err), err)
        self._handle = ffi.gc(out[0], lib.moeq_writer_destroy)

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            state = "committed" if self._committed else "closed"
            raise StateError(f"moeq.Writer: got a writer that was {state}; wanted an open one")
        return self._handle

    def declare(self, name: str, shape: Iterable[int], dtype: Any = None, *, spec: Spec | str | None = None) -> None:
        """Announces a tensor: dtype= for plain values, spec= for a quantized weight, in the dialect's entries."""
        if (dtype is None) == (spec is None):
            raise ArgumentError("moeq.Writer.declare: dtype: got dtype= and spec=, or none; wanted one of them")
        struct = ffi.NULL if spec is None else as_spec(spec)._struct
        code = 0 if dtype is None else dtype_code(dtype)
        ndim, extents = shape_array(shape)
        err = new_error()
        check(lib.moeq_writer_declare(self._pointer, name_bytes(name), struct, code, ndim, extents, err), err)

    def put(self, name: str, value: Any) -> None:
        """Writes what was declared: a tensor in host memory of that type and shape, any strides; or a QTensor."""
        err = new_error()
        if isinstance(value, QTensor):
            status = lib.moeq_writer_put_qtensor(self._pointer, name_bytes(name), value._pointer, value._stream(), err)
        else:
            tensor = borrow(value, "value")
            status = lib.moeq_writer_put(
                self._pointer, name_bytes(name), tensor.pointer, stream_of(tensor.pointer), err
            )
        check(status, err)

    def commit(self) -> None:
        """Puts the file in its place. IncompleteError names what was declared and not put; it may then be put."""
        err = new_error()
        check(lib.moeq_writer_commit(self._pointer, err), err)
        self._committed, self._handle = True, None

    def close(self) -> None:
        """Abandons what is not committed: no trace stays. Fine at any time and twice."""
        self._handle = None  # a put that is running in another thread keeps what it needs

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, *exception: object) -> None:
        try:
            if kind is None and self._handle is not None:
                self.commit()
        finally:
            self.close()


def name_bytes(name: str) -> bytes:
    if not isinstance(name, str):
        raise ArgumentTypeError(f"moeq.Writer: name: got {name!r}; wanted a text")
    if "\0" in name:  # a C string would end there
        raise ArgumentError(f"moeq.Writer: name: got {name!r}; wanted a name without NUL")
    return name.encode()


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Any],
    *,
    dialect: str = "native",
    metadata: Mapping[str, str] | None = None,
    durable: bool = True,
    context: Context | None = None,
) -> None:
    """Writes tensors and QTensors by name into one .safetensors file, whole or not at all. Arguments as of Writer."""
    if not isinstance(tensors, Mapping):
        raise ArgumentTypeError(f"moeq.save: tensors: got {type(tensors).__name__}; wanted {{name: tensor}}")
    for name in tensors:
        name_bytes(name)
    with Writer(path, dialect, metadata, durable, context=context) as writer:
        for name, value in tensors.items():
            if isinstance(value, QTensor):
                writer.declare(name, value.shape, spec=value.spec)
            else:
                tensor = borrow(value, name)
                writer.declare(name, tensor.shape, tensor.dtype)
        for name, value in tensors.items():
            writer.put(name, value)
