"""Exceptions: one class per status of moeq.h, each also a subclass of the built-in exception that fits."""

from __future__ import annotations

from ._cdef import ffi
from ._library import lib


class MoeqError(Exception):
    """Base of all errors of moeq. The message names function, argument, what was given and what was wanted.

    status: MOEQ_ERROR_ number; status_name: its name; class_id: class of docs/errors.md or "";
    argument: 1 for the first argument of the C function, 0 for none in particular;
    expert, row, column: the place in the data, None where there is none; os_error: errno or CUDA code, 0 for none.
    """

    status: int = ffi.integer_const("MOEQ_ERROR_INTERNAL")

    def __init__(
        self,
        message: str,
        status: int | None = None,
        *,
        class_id: str = "",
        argument: int = 0,
        expert: int | None = None,
        row: int | None = None,
        column: int | None = None,
        os_error: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        self.class_id = class_id
        self.argument = argument
        self.expert = expert
        self.row = row
        self.column = column
        self.os_error = os_error

    @property
    def status_name(self) -> str:
        return ffi.string(lib.moeq_status_name(self.status)).decode("utf-8", "replace")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):
        place = {"expert": self.expert, "row": self.row, "column": self.column}
        state = {"class_id": self.class_id, "argument": self.argument, "os_error": self.os_error, **place}
        return _rebuild, (type(self), self.message, self.status, state)


def _rebuild(kind: type, message: str, status: int, state: dict) -> MoeqError:
    return kind(message, status, **state)


class ArgumentError(MoeqError, ValueError):
    """An unknown constant, a contradiction between options, or something missing."""


class ArgumentTypeError(ArgumentError, TypeError):
    """A Python object of a kind that is not taken there."""


class ShapeError(MoeqError, ValueError):
    """Rank or extents do not fit."""


class DtypeError(MoeqError, TypeError):
    """Element type that is not accepted there."""


class LayoutError(MoeqError, ValueError):
    """Strides, alignment or overlap."""


class DeviceError(MoeqError, ValueError):
    """Device kind or id."""


class ReadOnlyError(MoeqError, ValueError):
    """The destination is read-only."""


class RangeError(MoeqError, IndexError):
    """Expert, row or column out of range."""


class BadValueError(MoeqError, ValueError):
    """NaN, Inf or a bad scale in the data; expert, row and column name the place."""


class VersionError(MoeqError, ValueError):
    """A version of a struct, of DLPack or of a file that is not known."""


class StateError(MoeqError, RuntimeError):
    """Not in this order, or after close()."""


class DuplicateError(MoeqError, ValueError):
    """Written or named twice."""


class IncompleteError(MoeqError, RuntimeError):
    """Parts of the weight are missing; expert, row and column name the first one."""


class NotFoundError(MoeqError, KeyError):
    """No such name, component or file."""


class MismatchError(MoeqError, ValueError):
    """Ranks, groups or digests disagree."""


class UnsupportedError(MoeqError, NotImplementedError):
    """This format, operation or chip: never silently something else."""


class BackendError(MoeqError, RuntimeError):
    """A plug-in, a driver or cuBLASLt is absent."""


class OutOfMemoryError(MoeqError, MemoryError):
    """No host memory left."""


class DeviceMemoryError(MoeqError, MemoryError):
    """No device memory left."""


class LimitError(MoeqError, RuntimeError):
    """A limit of the options or of the library."""


class FileError(MoeqError, OSError):
    """A system call on a file failed; errno has its code."""

    def __init__(self, message: str, status: int | None = None, **details) -> None:
        super().__init__(message, status, **details)
        self.errno = self.os_error or None


class FormatError(MoeqError, ValueError):
    """Bytes that break the rules of the file format; class_id says which."""


class TruncatedError(FormatError):
    """The file ends too early."""


class DigestError(FormatError):
    """The contents do not have the digest that was promised."""


class CallbackError(MoeqError, RuntimeError):
    """A callback failed."""


class CancelledError(MoeqError, RuntimeError):
    """A callback said stop."""


class CudaError(MoeqError, RuntimeError):
    """A CUDA call failed; os_error has its code."""


class CudaLostError(CudaError):
    """The CUDA context is dead for good."""


class CudaEarlierError(CudaError):
    """An error of earlier work that is not moeq's."""


class CaptureError(CudaError):
    """Not allowed while a CUDA graph is captured."""


class ForkedError(CudaError):
    """A device call in a forked child."""


class InternalError(MoeqError, RuntimeError):
    """A fault of moeq itself."""


CLASS_OF_NAME: dict[str, type[MoeqError]] = {
    "ARGUMENT": ArgumentError,
    "SHAPE": ShapeError,
    "DTYPE": DtypeError,
    "LAYOUT": LayoutError,
    "DEVICE": DeviceError,
    "READ_ONLY": ReadOnlyError,
    "RANGE": RangeError,
    "VALUE": BadValueError,
    "VERSION": VersionError,
    "STATE": StateError,
    "DUPLICATE": DuplicateError,
    "INCOMPLETE": IncompleteError,
    "NOT_FOUND": NotFoundError,
    "MISMATCH": MismatchError,
    "UNSUPPORTED": UnsupportedError,
    "BACKEND": BackendError,
    "MEMORY": OutOfMemoryError,
    "DEVICE_MEMORY": DeviceMemoryError,
    "LIMIT": LimitError,
    "IO": FileError,
    "FORMAT": FormatError,
    "TRUNCATED": TruncatedError,
    "DIGEST": DigestError,
    "CALLBACK": CallbackError,
    "CANCELLED": CancelledError,
    "CUDA": CudaError,
    "CUDA_LOST": CudaLostError,
    "CUDA_EARLIER": CudaEarlierError,
    "CAPTURE": CaptureError,
    "FORKED": ForkedError,
    "INTERNAL": InternalError,
}

CLASS_OF_STATUS: dict[int, type[MoeqError]] = {}
for _name, _class in CLASS_OF_NAME.items():
    CLASS_OF_STATUS[ffi.integer_const("MOEQ_ERROR_" + _name)] = _class
    _class.status = ffi.integer_const("MOEQ_ERROR_" + _name)


def new_error():
    """A moeq_error for one call. The library fills it on failure only."""
    return ffi.new("moeq_error *")


def check(status: int, err) -> None:
    """Raises what `err` says when `status` is a failure. Unknown statuses become a plain MoeqError."""
    if status == 0:
        return
    place = [None if at < 0 else at for at in (err.expert, err.row, err.column)]
    raise CLASS_OF_STATUS.get(status, MoeqError)(
        ffi.string(err.message).decode("utf-8", "replace"),
        status,
        class_id=ffi.string(err.class_id, 8).decode("ascii", "replace"),
        argument=err.argument,
        expert=place[0],
        row=place[1],
        column=place[2],
        os_error=err.os_error,
    )
