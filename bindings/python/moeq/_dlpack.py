"""Tensors in, borrowed for one call. Handing ownership to the library is in _adopt.py, tensors out are in _export.py.

A source of elements may be a moeq.Tensor, a NumPy array (read directly, so that ml_dtypes, read-only and negatively
strided arrays work with every NumPy), anything with `__dlpack__` (versioned capsules, or the form before DLPack 1.0), a
DLPack capsule, or a C-contiguous object with the buffer protocol (array.array, memoryview).
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ._cdef import ffi
from ._errors import DtypeError, LayoutError
from ._names import NUMPY_CODES, number_of, numpy_module

MAX_VERSION = (1, 1)
READ_ONLY = 1  # bit 0 of DLPack's flags
CPU = ffi.integer_const("MOEQ_DEVICE_CPU")


def _immortal(text: bytes) -> int:
    """The address of a C string that is never freed: capsules keep the pointer, and may outlive this module."""
    allocate = ctypes.pythonapi.PyMem_RawMalloc
    allocate.restype = ctypes.c_void_p
    allocate.argtypes = [ctypes.c_size_t]
    address = allocate(len(text) + 1)
    ctypes.memmove(address, text + b"\0", len(text) + 1)
    return address


def _capsule_function(name: str, result: Any, *arguments: Any) -> Any:
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype((name, ctypes.pythonapi))


_object, _pointer = ctypes.py_object, ctypes.c_void_p
capsule_new = _capsule_function("PyCapsule_New", _object, _pointer, _pointer, _pointer)
capsule_is_valid = _capsule_function("PyCapsule_IsValid", ctypes.c_int, _object, _pointer)
capsule_get_pointer = _capsule_function("PyCapsule_GetPointer", _pointer, _object, _pointer)
capsule_set_name = _capsule_function("PyCapsule_SetName", ctypes.c_int, _object, _pointer)

VERSIONED = _immortal(b"dltensor_versioned")
LEGACY = _immortal(b"dltensor")
USED_VERSIONED = _immortal(b"used_dltensor_versioned")
USED_LEGACY = _immortal(b"used_dltensor")
Capsule: type = type(capsule_new(VERSIONED, VERSIONED, None))

# Formats of the buffer protocol that are moeq's or DLPack's element types.
BUFFER_NAMES = {
    "f": "float32", "e": "float16", "d": "float64", "b": "int8", "B": "uint8", "h": "int16", "H": "uint16",
    "i": "int32", "I": "uint32", "q": "int64", "Q": "uint64", "?": "bool",
    "l": f"int{8 * ctypes.sizeof(ctypes.c_long)}", "L": f"uint{8 * ctypes.sizeof(ctypes.c_long)}",
}  # fmt: skip


MANAGED = ffi.typeof("struct DLManagedTensorVersioned *")
TENSOR_OFFSET = ffi.offsetof("struct DLManagedTensorVersioned", "dl_tensor")
BLANK = ffi.new(MANAGED)
BLANK.version.major, BLANK.version.minor = MAX_VERSION
BLANK = BLANK[0]
EXCHANGE_NAME = b"dlpack_exchange_api"
EXCHANGE_FILL = 5  # in words of the table: dltensor_from_py_object_no_sync; word 0 is the version
FillTensor = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)
capsule_find_pointer = _capsule_function("PyCapsule_GetPointer", _pointer, _object, ctypes.c_char_p)


@functools.lru_cache(maxsize=64)
def exchange_function(kind: type) -> Callable[[Any, int], int] | None:
    """fill(tensor, address of a DLTensor) of a type with DLPack's C exchange table: no capsule, a quarter of the time.

    None where it has none of our major version, or where a subclass exports something of its own.
    """
    owner: Any = next((base for base in kind.__mro__ if "__dlpack_c_exchange_api__" in vars(base)), None)
    if owner is None or getattr(kind, "__dlpack__", None) is not getattr(owner, "__dlpack__", None):
        return None
    address = capsule_find_pointer(owner.__dlpack_c_exchange_api__, EXCHANGE_NAME)
    major = ctypes.c_uint32.from_address(address).value
    fill = ctypes.c_void_p.from_address(address + EXCHANGE_FILL * ctypes.sizeof(ctypes.c_void_p)).value
    return FillTensor(fill) if major == MAX_VERSION[0] and fill else None


def new_managed() -> Any:
    """A managed tensor of our own, with nothing in it but the version."""
    return ffi.new(MANAGED, BLANK)


def exchange_into(source: Any, address: int, writable: bool) -> bool:
    """Fills the DLTensor at `address` through the producer's C exchange table. False: only __dlpack__ can tell, or say
    why not."""
    fill = exchange_function(type(source))  # type: ignore[arg-type] # types are hashable
    if fill is None or (writable and getattr(source, "requires_grad", False)):
        return False
    if getattr(source, "is_neg", bool)():  # borrow() says why not
        return False
    try:
        return fill(source, address) == 0
    except Exception:  # whatever the producer raises: __dlpack__ then says it in its own words
        return False


class Borrowed:
    """A tensor for one call: `pointer` is valid as long as this object lives. `keep` is what holds the memory."""

    __slots__ = ("pointer", "keep")

    def __init__(self, pointer: Any, keep: Any) -> None:
        self.pointer = pointer
        self.keep = keep

    @property
    def shape(self) -> tuple[int, ...]:
        tensor = self.pointer.dl_tensor
        return tuple(tensor.shape[0 : tensor.ndim]) if tensor.ndim > 0 else ()

    @property
    def dtype(self) -> int:
        """The element type as moeq.h counts it."""
        dtype = self.pointer.dl_tensor.dtype
        return dtype.code | dtype.bits << 8 | dtype.lanes << 16


def set_dtype(tensor: Any, code: int) -> None:
    """Writes an element type into a tensor struct."""
    tensor.dtype.code = code & 0xFF
    tensor.dtype.bits = code >> 8 & 0xFF
    tensor.dtype.lanes = code >> 16


def describe(address: int, code: int, shape: tuple, strides: tuple, read_only: bool, keep: Any) -> Borrowed:
    """A managed tensor of our own over host memory that `keep` holds; strides in elements; it has no deleter."""
    managed = ffi.new("struct DLManagedTensorVersioned *")
    extents = ffi.new("int64_t[]", list(shape) + list(strides))
    managed.version.major, managed.version.minor = MAX_VERSION
    managed.flags = READ_ONLY if read_only else 0
    tensor = managed.dl_tensor
    tensor.data = ffi.cast("void *", address)
    tensor.device.device_type = CPU
    tensor.ndim = len(shape)
    set_dtype(tensor, code)
    tensor.shape = extents
    tensor.strides = extents + len(shape)
    return Borrowed(managed, (extents, keep))


def element_strides(strides: tuple, itemsize: int, argument: str) -> tuple:
    """Strides in elements for strides in bytes."""
    for stride in strides:
        if stride % itemsize:
            raise LayoutError(
                f"moeq: {argument}: got a stride of {stride} bytes with elements of {itemsize} bytes; "
                "wanted strides that are a multiple of the element size; make a copy of the array"
            )
    return tuple(stride // itemsize for stride in strides)


_numpy_codes: dict[Any, int] = {}  # of the dtypes seen so far: asking NumPy for a dtype's name takes a microsecond


def numpy_code(array: Any, argument: str) -> int:
    """The element type of a NumPy array as moeq.h counts it."""
    dtype = array.dtype
    code = _numpy_codes.get(dtype)
    if code is not None:
        return code
    if not dtype.isnative:
        raise DtypeError(
            f"moeq: {argument}: got a byte-swapped array ({dtype.str}); wanted the machine's byte order; "
            "use array.astype(array.dtype.newbyteorder('='))"
        )
    code = NUMPY_CODES.get(dtype.name)
    if code is None:
        raise DtypeError(f"moeq: {argument}: got an array of {dtype.name}, which has no DLPack element type")
    _numpy_codes[dtype] = code
    return code


def _borrow_numpy(array: Any, argument: str) -> Borrowed:
    if getattr(array, "mask", None) is not None:
        raise DtypeError(
            f"moeq: {argument}: got a masked array, whose mask would be lost; wanted its .filled() or .data"
        )
    code = numpy_code(array, argument)
    strides = array.strides if array.size else (0,) * array.ndim  # an empty array may have any; none is followed
    return describe(
        array.__array_interface__["data"][0],
        code,
        array.shape,
        element_strides(strides, array.dtype.itemsize, argument),
        not array.flags.writeable,
        array,
    )


def _borrow_buffer(view: memoryview, argument: str) -> Borrowed:
    name = BUFFER_NAMES.get(view.format.lstrip("@=" if sys.byteorder == "big" else "@=<"))
    if name is None:
        raise DtypeError(f"moeq: {argument}: got a buffer of format {view.format!r}, which is no element type")
    if not view.c_contiguous:
        raise LayoutError(f"moeq: {argument}: got a strided buffer; wanted a C-contiguous one, or a DLPack tensor")
    raw = ffi.from_buffer(view)
    strides = element_strides(view.strides or (), view.itemsize, argument)
    address = int(ffi.cast("uintptr_t", raw))
    return describe(address, NUMPY_CODES[name], view.shape or (), strides, view.readonly, raw)


def capsule_tensor(capsule: Any) -> Any:
    """The tensor struct in an unconsumed capsule of either form."""
    if capsule_is_valid(capsule, VERSIONED):
        address, kind = capsule_get_pointer(capsule, VERSIONED), "struct DLManagedTensorVersioned *"
    else:
        address, kind = capsule_get_pointer(capsule, LEGACY), "struct DLManagedTensor *"
    return ffi.cast(kind, address).dl_tensor


def legacy_flags(producer: Any) -> int:
    """What the form before DLPack 1.0 cannot say: that the arrays of these frameworks are never written to."""
    return READ_ONLY if type(producer).__module__.partition(".")[0] in ("jax", "jaxlib", "tensorflow") else 0


def borrow_capsule(capsule: Any, argument: str, keep: Any = None) -> Borrowed:
    """Looks into an unconsumed capsule. Its own destructor frees it: the capsule is not marked as used."""
    if capsule_is_valid(capsule, VERSIONED):
        address = capsule_get_pointer(capsule, VERSIONED)
        return Borrowed(ffi.cast("struct DLManagedTensorVersioned *", address), (capsule, keep))
    if capsule_is_valid(capsule, LEGACY):
        legacy = ffi.cast("struct DLManagedTensor *", capsule_get_pointer(capsule, LEGACY))
        managed = ffi.new("struct DLManagedTensorVersioned *")
        managed.version.major = 1
        managed.flags = legacy_flags(keep)
        managed.dl_tensor = legacy.dl_tensor
        return Borrowed(managed, (capsule, keep))
    raise DtypeError(f"moeq: {argument}: got a capsule {capsule!r} that is no DLPack tensor, or a used one")


def request_capsule(producer: Any, *, writable: bool) -> Any:
    """A capsule of the producer's. A destination asks for no copy: what was written into one would be lost."""
    attempts = [{"max_version": MAX_VERSION, "copy": False}] if writable else []
    attempts += [{"max_version": MAX_VERSION}, {}]
    for keywords in attempts[:-1]:
        try:
            return producer.__dlpack__(**keywords)
        except TypeError:
            continue  # a producer of before these keywords
    return producer.__dlpack__()


def borrow(source: Any, argument: str, *, writable: bool = False) -> Borrowed:
    """The tensor in `source`, for the time of one call. `argument` is the name that messages use."""
    if exchange_function(type(source)) is not None:  # type: ignore[arg-type]
        managed = new_managed()
        if exchange_into(source, int(ffi.cast("uintptr_t", managed)) + TENSOR_OFFSET, writable):
            return Borrowed(managed, source)
    own = getattr(type(source), "_moeq_borrow", None)
    if own is not None:
        return own(source)
    numpy = numpy_module()
    if numpy is not None and isinstance(source, (numpy.ndarray, numpy.generic)):
        return _borrow_numpy(source if isinstance(source, numpy.ndarray) else numpy.asarray(source), argument)
    if hasattr(type(source), "__dlpack__"):
        if getattr(source, "is_neg", bool)():  # torch exports the values as they lie, without the minus
            raise LayoutError(
                f"moeq: {argument}: got a tensor whose values are yet to be negated; wanted its .resolve_neg()"
            )
        if not writable and getattr(source, "requires_grad", False):
            source = source.detach()  # only read, so autograd has nothing to record
        return borrow_capsule(request_capsule(source, writable=writable), argument, source)
    if type(source) is Capsule:
        return borrow_capsule(source, argument)
    try:
        view = memoryview(source)
    except TypeError:
        raise DtypeError(
            f"moeq: {argument}: got {type(source).__name__}; wanted a tensor: an object with __dlpack__, a NumPy "
            "array, or a contiguous buffer"
        ) from None
    return _borrow_buffer(view, argument)


def borrow_components(components: Mapping[str, Any], *, writable: bool) -> tuple[Any, list[Borrowed]]:
    """Named tensors as an array of moeq_component for one call, and what keeps them alive during it."""
    kept = [borrow(source, name, writable=writable) for name, source in components.items()]
    array = ffi.new("moeq_component[]", max(len(kept), 1))
    for index, (name, borrowed) in enumerate(zip(components, kept)):
        array[index].component = number_of("component", name)
        array[index].tensor = borrowed.pointer
    return array, kept
