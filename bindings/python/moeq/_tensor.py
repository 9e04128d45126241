"""Tensor: memory of moeq's with a shape and an element type, which any framework takes through DLPack."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ._cdef import ffi
from ._context import Context, default_context
from ._dlpack import CPU, READ_ONLY, Borrowed, describe, element_strides
from ._errors import ArgumentError, DtypeError, check, new_error
from ._export import lease, numpy_capsule, shared, sweep
from ._library import lib
from ._names import NUMPY_NAMES, dtype_bytes, dtype_code, dtype_word, numpy_has

if TYPE_CHECKING:
    import numpy as np


STRUCT_FORMATS = {"fp32": "f", "fp16": "e", "fp64": "d", "int8": "b", "uint8": "B", "int32": "i", "int64": "q"}


class Tensor:
    """A dense tensor in moeq's memory: a result, or a component of a QTensor (then read-only and sharing its memory).

    Made by `moeq.empty` and by calls without `out=`. Give it to `torch.from_dlpack`, `numpy.from_dlpack`,
    `numpy.asarray` or `.numpy()`; none of them copies.
    """

    __slots__ = ("_managed", "_export", "__weakref__")
    _managed: Any
    _export: Callable[[], Any] | None

    def __init__(self, managed: Any, export: Callable[[], Any] | None = None) -> None:
        self._managed = ffi.gc(managed, managed.deleter)
        self._export = export  # makes one more managed tensor over the same memory, in C

    def __del__(self, _sweep: Callable[[], None] = sweep) -> None:
        _sweep()

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in elements (packed 4-bit codes: in bytes)."""
        tensor = self._managed.dl_tensor
        return tuple(tensor.shape[0 : tensor.ndim]) if tensor.ndim else ()

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in elements."""
        tensor = self._managed.dl_tensor
        if tensor.strides == ffi.NULL:
            return row_major(self.shape)
        return tuple(tensor.strides[0 : tensor.ndim])

    @property
    def ndim(self) -> int:
        return self._managed.dl_tensor.ndim

    @property
    def dtype(self) -> str:
        """Element type by moeq's name: "fp32", "bf16", "uint8" ..."""
        return dtype_word(self._code)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * dtype_bytes(self._code)

    @property
    def device(self) -> tuple[int, int]:
        """DLPack's device type and id; (1, 0) is host memory."""
        return self.__dlpack_device__()

    @property
    def read_only(self) -> bool:
        return bool(self._managed.flags & READ_ONLY)

    @property
    def _code(self) -> int:
        dtype = self._managed.dl_tensor.dtype
        return dtype.code | dtype.bits << 8 | dtype.lanes << 16

    @property
    def _address(self) -> int:
        tensor = self._managed.dl_tensor
        return int(ffi.cast("uintptr_t", tensor.data)) + tensor.byte_offset

    def __repr__(self) -> str:
        return f"moeq.Tensor(shape={self.shape}, dtype={self.dtype!r}{', read_only=True' if self.read_only else ''})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d moeq.Tensor")
        return self.shape[0]

    def item(self) -> float | int:
        """The value of a tensor of one element, on the host."""
        if math.prod(self.shape) != 1 or self.device[0] != CPU:
            raise ArgumentError(f"moeq.Tensor.item: got shape {self.shape}; wanted one element in host memory")
        raw = bytes(ffi.buffer(ffi.cast("char *", self._address), dtype_bytes(self._code)))
        if self.dtype == "bf16":  # the upper half of an fp32
            return struct.unpack("<f", b"\0\0" + raw)[0]
        if self.dtype not in STRUCT_FORMATS:
            raise DtypeError(f"moeq.Tensor.item: got {self.dtype}; wanted one of bf16, {', '.join(STRUCT_FORMATS)}")
        return struct.unpack("=" + STRUCT_FORMATS[self.dtype], raw)[0]

    def tobytes(self) -> bytes:
        """The elements, row-major, as they lie in memory; without NumPy."""
        compact = self.copy()
        return bytes(ffi.buffer(ffi.cast("char *", compact._address), self.nbytes))

    def __float__(self) -> float:
        return float(self.item())

    # ---- NumPy

    def numpy(self) -> np.ndarray:
        """A NumPy array over the same memory, read-only where this tensor is. bf16 and FP8 need ml_dtypes."""
        raw = self._raw_array()
        name = NUMPY_NAMES[self._code]
        if raw.dtype.name == name:
            return raw
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError(
                f"moeq.Tensor.numpy: NumPy itself has no {name}: install ml_dtypes, or ask for dtype='fp32'"
            ) from error
        return raw.view(getattr(ml_dtypes, name))

    def bits(self) -> np.ndarray:
        """The same memory as unsigned integers of the elements' width, which needs no ml_dtypes."""
        return self._raw_array().view(f"u{dtype_bytes(self._code)}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy

        array = self.numpy()
        if dtype is not None and array.dtype != numpy.dtype(dtype):
            if copy is False:
                raise ValueError(
                    f"moeq.Tensor.__array__: {self.dtype} to {dtype} needs a copy, and copy=False was given"
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def _raw_array(self) -> Any:
        """The array with an unsigned integer type where NumPy itself has no such element type."""
        import numpy

        if self.device[0] != CPU:
            raise BufferError("moeq.Tensor.numpy: the tensor is not in host memory")
        size = dtype_bytes(self._code)
        dtype = numpy.dtype(NUMPY_NAMES[self._code] if numpy_has(self._code) else f"u{size}")
        if not math.prod(self.shape):
            array = numpy.empty(self.shape, dtype)
            array.flags.writeable = not self.read_only
            return array
        strides = tuple(stride * size for stride in self.strides)
        holder = _ArrayInterface(self, self._address, self.shape, strides, dtype.str, self.read_only)
        return numpy.asarray(holder)

    # ---- DLPack

    def __dlpack_device__(self) -> tuple[int, int]:
        device = self._managed.dl_tensor.device
        return device.device_type, device.device_id

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule: of DLPack 1.x when `max_version` allows it, else of the form before 1.0.

        The old form cannot say "read-only", so components are refused in it with BufferError unless copy=True.
        """
        if stream not in (None, -1):
            raise ArgumentError(
                f"moeq.Tensor.__dlpack__: stream: got {stream!r}; a tensor in host memory has none: wanted None"
            )
        if dl_device is not None and tuple(map(int, dl_device)) != self.device:
            raise BufferError(
                f"moeq.Tensor.__dlpack__: dl_device: got {tuple(dl_device)}; the tensor is on {self.device}"
            )
        if copy:
            return self.copy().__dlpack__(max_version=max_version)
        versioned = max_version is not None and max_version[0] >= 1
        if self.read_only and not versioned:
            raise BufferError(
                "moeq.Tensor.__dlpack__: a read-only tensor needs DLPack 1.0 or newer; the consumer asked for "
                f"max_version={max_version}. Use copy=True, or a newer consumer"
            )
        if versioned and self._export is not None:
            return lease(self._export())
        try:
            capsule = numpy_capsule(self._raw_array(), self._code, versioned=versioned)
        except ImportError:
            capsule = None
        if capsule is not None:
            return capsule
        if not versioned:
            raise BufferError(
                "moeq.Tensor.__dlpack__: without NumPy only capsules of DLPack 1.0 and newer are made; "
                "the consumer asked for an older one"
            )
        return lease(shared(Borrowed(self._managed, self._managed)))

    def copy(self) -> Tensor:
        """A writable, row-major tensor of its own with the same elements."""
        result = empty(self.shape, self._code)
        size = dtype_bytes(self._code)
        _copy(result._address, self._address, self.shape, self.strides, size)
        return result

    def __reduce__(self) -> tuple:
        """Pickles carry the elements, row-major; what comes back has memory of its own."""
        return _restore, (self._code, self.shape, self.tobytes())

    def _moeq_borrow(self) -> Borrowed:
        return Borrowed(self._managed, self)

    def _reshaped(self, shape: Iterable[int]) -> Borrowed:
        """The same row-major memory under another shape, for one call."""
        shape = tuple(shape)
        return describe(self._address, self._code, shape, row_major(shape), self.read_only, self)


class View:
    """What `view` makes: an argument for calls."""

    __slots__ = ("array", "code")

    def __init__(self, array: np.ndarray, code: int) -> None:
        self.array, self.code = array, code

    def _moeq_borrow(self) -> Borrowed:
        array = self.array
        strides = element_strides(array.strides, array.itemsize, "array")
        address = array.__array_interface__["data"][0]
        return describe(address, self.code, array.shape, strides, not array.flags.writeable, array)


def view(array: np.ndarray, dtype: Any) -> View:
    """The memory of a NumPy array for calls of moeq, taken for elements of another type of the same width: bf16 in an
    array of uint16, say, as NumPy itself has no bf16."""
    code = dtype_code(dtype)
    if array.itemsize != dtype_bytes(code):
        raise DtypeError(
            f"moeq.view: array: got elements of {array.itemsize} bytes; wanted {dtype_bytes(code)}, as {dtype} has"
        )
    return View(array, code)


def _restore(code: int, shape: tuple[int, ...], content: bytes) -> Tensor:
    """What a pickle calls."""
    result = empty(shape, code)
    ffi.memmove(ffi.cast("char *", result._address), content, len(content))
    return result


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of dense row-major memory."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class _ArrayInterface:
    """What NumPy reads an array from; the array keeps it, and so the tensor, alive."""

    def __init__(self, tensor: Tensor, address: int, shape: tuple, strides: tuple, typestr: str, read_only: bool):
        self.tensor = tensor
        self.__array_interface__ = {
            "version": 3,
            "data": (address, read_only),
            "shape": shape,
            "strides": strides,
            "typestr": typestr,
        }


def _copy(to: int, source: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> None:
    """Copies elements into row-major memory, each run of adjacent elements at once."""
    if not math.prod(shape):
        return
    run = size
    inner = len(shape)
    while inner and (strides[inner - 1] * size == run or shape[inner - 1] == 1):
        run *= shape[inner - 1]
        inner -= 1
    offsets = [0]
    for extent, stride in zip(shape[:inner], strides[:inner]):
        offsets = [offset + step * stride * size for offset in offsets for step in range(extent)]
    for index, offset in enumerate(offsets):
        ffi.memmove(ffi.cast("char *", to + index * run), ffi.cast("char *", source + offset), run)


def empty(shape: int | Iterable[int], dtype: Any = "fp32", *, context: Context | None = None) -> Tensor:
    """A new tensor in host memory with undefined contents. dtype: "fp32", "bf16", torch.bfloat16, numpy.float32 ..."""
    extents = [shape] if isinstance(shape, int) else [operator.index(extent) for extent in shape]
    context = context or default_context()
    out, err = ffi.new("struct DLManagedTensorVersioned **"), new_error()
    status = lib.moeq_tensor_create(
        context._pointer, dtype_code(dtype), len(extents), extents or ffi.NULL, CPU, 0, ffi.NULL, out, err
    )
    check(status, err)
    return Tensor(out[0])
