"""moeq: quantized Mixture-of-Experts weights.

    import moeq

    q = moeq.quantize(weight, "nf4:64,nested")        # [E, R, C], anything with DLPack, or NumPy
    dense = q.dequantize(experts=[3, 17], out=buffer)  # straight into the caller's tensor

Importing needs cffi and libmoeq, and no framework. Tensors come in from any DLPack producer and NumPy, results go out
through `__dlpack__` or into `out=`. Shapes are [experts, rows, columns].
"""

from typing import Any as _Any

from ._builder import Block, Builder, BuilderState
from ._cdef import ffi as _ffi
from ._context import Context, Memory, default_context
from ._convert import convert, plan
from ._errors import (
    ArgumentError,
    ArgumentTypeError,
    BackendError,
    BadValueError,
    CallbackError,
    CancelledError,
    CaptureError,
    CudaEarlierError,
    CudaError,
    CudaLostError,
    DeviceError,
    DeviceMemoryError,
    DigestError,
    DtypeError,
    DuplicateError,
    FileError,
    ForkedError,
    FormatError,
    IncompleteError,
    InternalError,
    LayoutError,
    LimitError,
    MismatchError,
    MoeqError,
    NotFoundError,
    OutOfMemoryError,
    RangeError,
    ReadOnlyError,
    ShapeError,
    StateError,
    TruncatedError,
    UnsupportedError,
    VersionError,
)
from ._library import LibraryNotFoundError
from ._library import lib as _lib
from ._library import path as library_path
from ._plan import ForeignCodes, Plan, PlanKept, PlanSource, PlanTotals, PlanUnit, PlanWeight
from ._progress import ProgressFunction
from ._qtensor import QTensor, quantize, quantize_into
from ._reader import Found, Reader, StackInfo, TensorInfo, open
from ._reduce import reduce_amax, reduce_axes, reduce_many, reduce_sum, scale_from_amax
from ._spec import ComponentInfo, Spec
from ._tensor import Tensor, View, empty, view
from ._writer import Writer, save

__version__: str = ".".join(str(_ffi.integer_const(f"MOEQ_VERSION_{part}")) for part in ("MAJOR", "MINOR", "PATCH"))


def __getattr__(name: str) -> _Any:
    if name in ("names", "peft", "ray", "torch"):  # loaded when they are asked for
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def library_version() -> str:
    """The version of the libmoeq that runs; `__version__` is the package's, `library_path` where it was found."""
    return _ffi.string(_lib.moeq_version_string()).decode()


__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendError",
    "BadValueError",
    "Block",
    "Builder",
    "BuilderState",
    "CallbackError",
    "CancelledError",
    "CaptureError",
    "ComponentInfo",
    "Context",
    "CudaEarlierError",
    "CudaError",
    "CudaLostError",
    "DeviceError",
    "DeviceMemoryError",
    "DigestError",
    "DtypeError",
    "DuplicateError",
    "FileError",
    "ForeignCodes",
    "ForkedError",
    "FormatError",
    "Found",
    "IncompleteError",
    "InternalError",
    "LayoutError",
    "LibraryNotFoundError",
    "LimitError",
    "Memory",
    "MismatchError",
    "MoeqError",
    "NotFoundError",
    "OutOfMemoryError",
    "Plan",
    "PlanKept",
    "PlanSource",
    "PlanTotals",
    "PlanUnit",
    "PlanWeight",
    "ProgressFunction",
    "QTensor",
    "RangeError",
    "ReadOnlyError",
    "Reader",
    "ShapeError",
    "Spec",
    "StackInfo",
    "StateError",
    "Tensor",
    "TensorInfo",
    "TruncatedError",
    "UnsupportedError",
    "VersionError",
    "View",
    "Writer",
    "__version__",
    "convert",
    "default_context",
    "empty",
    "library_path",
    "library_version",
    "open",
    "plan",
    "quantize",
    "quantize_into",
    "reduce_amax",
    "reduce_axes",
    "reduce_many",
    "reduce_sum",
    "save",
    "scale_from_amax",
    "view",
]
