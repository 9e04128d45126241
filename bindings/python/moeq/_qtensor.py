"""QTensor: codes and scales of one weight."""

from __future__ import annotations

import builtins
import operator
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from ._adopt import Adoption
from ._cdef import ffi
from ._context import Context, default_context, sized
from ._dlpack import CPU, borrow, borrow_components, describe, exchange_into
from ._errors import ArgumentError, NotFoundError, RangeError, StateError, check, new_error
from ._library import lib
from ._names import COMPONENTS, DTYPES, METRICS, NUMBERS, dtype_code, number_of
from ._region import Region, parse_device
from ._scratch import take
from ._spec import Spec, as_spec, shape_array
from ._stream import NULL, current_stream, stream_of
from ._tensor import Tensor, empty


class Options:
    """A moeq_quantize_options for one call, in `with`: what the block raises gives `storage` back to its producers."""

    def __init__(
        self, context: Context, *, amax: Any = None, storage: Mapping[str, Any] | None = None, staging_limit: int = 0
    ) -> None:
        self.pointer = sized("moeq_quantize_options")
        self.pointer.staging_limit = staging_limit
        self._amax = None if amax is None else borrow(amax, "amax")
        if self._amax is not None:
            self.pointer.amax = self._amax.pointer
        self._adoption = None if storage is None else Adoption(storage, context._pointer)
        if self._adoption is not None:
            self.pointer.storage = self._adoption.array
            self.pointer.storage_count = self._adoption.count

    @property
    def storage_device(self) -> tuple[int, int]:
        """DLPack's type and id of where `storage` is, or of the host."""
        return (CPU, 0) if self._adoption is None else self._adoption.device

    def __enter__(self) -> Options:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._adoption is not None:
            self._adoption.__exit__(*exception)


class QTensor:
    """A quantized weight [experts, rows, columns]: a handle over codes and scales in the library.

    Made by `quantize`, `adopt`, `Builder.finish`, and from another one by slicing and copying. Any number of threads
    may read it at the same time; the interpreter lock is released during the work.
    """

    __slots__ = ("_handle", "_context", "_spec", "_extents", "_place", "__weakref__")
    _handle: Any
    _context: Context
    _spec: Spec | None
    _extents: tuple[tuple[int, ...], tuple[int, int, int]] | None
    _place: tuple[int, int] | None  # set with _extents; None: the host

    def __init__(self) -> None:
        raise TypeError("moeq.QTensor: use QTensor.quantize, QTensor.adopt or Builder")

    @classmethod
    def _of(cls, handle: Any, context: Context) -> QTensor:
        """Takes over one reference to a handle."""
        self = cls.__new__(cls)
        self._handle = ffi.gc(handle, lib.moeq_qtensor_release)
        self._context = context
        self._spec = None
        self._extents = None
        self._place = None
        return self

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            raise StateError("moeq.QTensor: got a QTensor that was closed; wanted an open one")
        return self._handle

    # ---- make

    @classmethod
    def quantize(
        cls,
        source: Any,
        spec: Spec | str,
        *,
        amax: Any = None,
        storage: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> QTensor:
        """Quantizes a dense weight.

        source: [E, R, C], [R, C] or with more leading axes; fp32, fp16 or bf16; any strides; only read.
        amax: fp32 [E], for granularity "expert": given instead of measured.
        storage: tensors by component name to write into; the result owns them from then on, and nothing is allocated.
        """
        context, spec, tensor = context or default_context(), as_spec(spec), borrow(source, "source")
        with Options(context, amax=amax, storage=storage) as options:
            out, err = ffi.new("moeq_qtensor **"), new_error()
            status = lib.moeq_qtensor_quantize(
                context._pointer, tensor.pointer, spec._struct, options.pointer, stream_of(tensor.pointer), out, err
            )
            check(status, err)
        return cls._of(out[0], context)

    @classmethod
    def adopt(
        cls, spec: Spec | str, shape: Iterable[int], components: Mapping[str, Any], *, context: Context | None = None
    ) -> QTensor:
        """A weight over codes and scales made elsewhere, without a copy.

        shape: the dense weight's. components: by name, "codes" and "scale" and what else the format has; the result
        owns them (their memory stays alive as long as it needs it).
        """
        context, spec, (ndim, extents) = context or default_context(), as_spec(spec), shape_array(shape)
        with Adoption(components, context._pointer) as adoption:
            out, err = ffi.new("moeq_qtensor **"), new_error()
            stream = current_stream(*adoption.device)
            status = lib.moeq_qtensor_adopt(
                context._pointer, spec._struct, ndim, extents, adoption.array, adoption.count, stream, out, err
            )
            check(status, err)
        return cls._of(out[0], context)

    def close(self) -> None:
        """Lets go of the handle now; calls that are running and exported components keep what they need."""
        self._handle = None

    def __enter__(self) -> QTensor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- look

    def _stream(self) -> Any:
        """The current one of where the weight is."""
        self._get_extents()
        return NULL if self._place is None else current_stream(*self._place)

    def _get_info(self) -> Any:
        info, err = sized("moeq_qtensor_info"), new_error()
        check(lib.moeq_qtensor_get_info(self._pointer, info, err), err)
        return info

    @property
    def spec(self) -> Spec:
        """The spec with every default resolved."""
        if self._spec is None:
            struct, err = sized("moeq_spec"), new_error()
            check(lib.moeq_qtensor_get_spec(self._pointer, struct, err), err)
            self._spec = Spec._of(struct)
        return self._spec

    def _get_extents(self) -> tuple[tuple[int, ...], tuple[int, int, int]]:
        """shape and folded_shape: they never change, so they are asked for once."""
        if self._handle is None or self._extents is None:
            info = self._get_info()
            self._extents = tuple(info.shape[0 : info.ndim]), tuple(info.folded)
            self._place = None if info.device_type == CPU else (info.device_type, info.device_id)
        return self._extents

    @property
    def shape(self) -> tuple[int, ...]:
        """The dense weight's shape, as it was given."""
        return self._get_extents()[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def folded_shape(self) -> tuple[int, int, int]:
        """(experts, rows, columns)."""
        return self._get_extents()[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all components."""
        return self._get_info().bytes

    @property
    def device(self) -> tuple[int, int]:
        """DLPack's device type and id; (1, 0) is host memory."""
        info = self._get_info()
        return info.device_type, info.device_id

    @property
    def generation(self) -> int:
        """1, and one more after each requantize."""
        return self._get_info().generation

    @property
    def components(self) -> dict[str, Tensor]:
        """Codes and scales by name, as read-only tensors over the weight's own memory. They may outlive it."""
        found = {}
        for name in COMPONENTS:
            try:
                found[name] = self.component(name)
            except NotFoundError:
                continue
        return found

    def component(self, name: str) -> Tensor:
        """One component, see `components`; NotFoundError where the format has none of that name."""
        number, handle = number_of("component", name), self._pointer

        def export() -> Any:
            out, err = ffi.new("struct DLManagedTensorVersioned **"), new_error()
            check(lib.moeq_qtensor_export(handle, number, out, err), err)
            return out[0]

        return Tensor(export(), export)

    def __repr__(self) -> str:
        if self._handle is None:
            return "moeq.QTensor(closed)"
        return f"moeq.QTensor({str(self.spec)!r}, shape={self.shape}, nbytes={self.nbytes})"

    # ---- read

    def dequantize(
        self,
        *,
        experts: Any = None,
        rows: builtins.slice | tuple[int, int] | None = None,
        out: Any = None,
        dtype: Any = None,
    ) -> Any:
        """Dense values of the weight or of a part of it, each rounded once.

        experts: one index (its axis goes), a list, range or slice of indices, or an integer tensor [n] of ids; repeated
        ids are fine. rows: slice(begin, end) or (begin, end).
        out: a tensor to write into, [n, rows, C], any strides, fp32, fp16 or bf16; it is also what is returned.
        Without it a new moeq.Tensor is made and returned, of dtype or else of the weight's logical type.
        """
        handle, scratch = self._pointer, take()
        try:
            region = Region(*self._get_extents(), experts, rows, scratch)
            if out is None:
                code = dtype_code(dtype) if dtype is not None else self.spec._struct.logical_dtype
                result = empty(region.result_shape, code or "fp32", context=self._context)
                borrowed = result._reshaped(region.folded_shape)
                destination = borrowed.pointer
            elif dtype is None and exchange_into(out, scratch.tensor_address, True):
                result, destination = out, scratch.managed
            else:
                result, borrowed = out, borrow(out, "out", writable=True)
                if dtype is not None and dtype_code(dtype) != borrowed.dtype:
                    raise ArgumentError("moeq.QTensor.dequantize: dtype: got one that is not out's; give one of them")
                destination = borrowed.pointer
            stream = NULL if self._place is None else current_stream(*self._place)
            status = lib.moeq_qtensor_dequantize(handle, region.struct, stream, destination, scratch.error)
            check(status, scratch.error)
            return result
        finally:
            scratch.give_back()

    def compare(self, source: Any) -> dict[str, array[float]]:
        """Error of each expert against the dense source, as columns: name -> array.array("d") of length E.

        max_error, rmse, rmse_over_scale, sqnr_db; saturated and zero: shares of codes, 0..1; amax: the source's.
        """
        experts, count = self.folded_shape[0], len(METRICS)
        values = ffi.new("double[]", experts * count)
        address = int(ffi.cast("uintptr_t", values))
        table = describe(address, DTYPES["fp64"], (experts, count), (count, 1), False, values)
        tensor, err = borrow(source, "source"), new_error()
        check(lib.moeq_qtensor_compare(self._pointer, tensor.pointer, self._stream(), table.pointer, err), err)
        flat = array("d", ffi.unpack(values, experts * count))
        return {name: flat[NUMBERS["metric"][name] :: count] for name in METRICS}

    # ---- change

    def requantize(self, source: Any, *, amax: Any = None) -> None:
        """Puts new values of the same shape into the same memory.

        Nobody else may read it meanwhile: that includes slices and exported components, which then see the new
        values. After BadValueError the contents are undefined.
        """
        tensor, err = borrow(source, "source"), new_error()
        with Options(self._context, amax=amax) as options:
            status = lib.moeq_qtensor_requantize(self._pointer, tensor.pointer, options.pointer, self._stream(), err)
            check(status, err)

    # ---- parts and copies

    def slice(self, axis: int, begin: int, end: int) -> QTensor:
        """A part that shares this weight's memory. axis: 0 experts, 1 rows, 2 columns; [begin, end)."""
        out, err = ffi.new("moeq_qtensor **"), new_error()
        check(lib.moeq_qtensor_slice(self._pointer, axis, begin, end, out, err), err)
        return QTensor._of(out[0], self._context)

    def __len__(self) -> int:
        return self.folded_shape[0]

    def __getitem__(self, experts: int | builtins.slice) -> QTensor:
        """Experts that share this weight's memory: q[3] is [1, R, C], q[2:5] is [3, R, C]."""
        count = len(self)
        if isinstance(experts, slice):
            begin, end, step = experts.indices(count)
            if step != 1:
                raise ArgumentError(f"moeq.QTensor: experts: got a slice with step {step}; wanted step 1")
            return self.slice(0, begin, max(begin, end))
        index = operator.index(experts)
        wrapped = index + count if index < 0 else index
        if not 0 <= wrapped < count:
            raise RangeError(f"moeq.QTensor: expert: got {index}; wanted one in [{-count}, {count})")
        return self.slice(0, wrapped, wrapped + 1)

    def copy(self) -> QTensor:
        """A weight with memory of its own, compact, also from a slice."""
        return self.to("cpu")

    def __deepcopy__(self, memo: object) -> QTensor:
        return self.copy()

    def __reduce__(self) -> tuple:
        """Pickles carry codes and scales; what was a slice comes back compact, all of it in host memory."""
        whole = self.copy()
        components = whole.components
        components.pop("code_map", None)  # a constant of the library
        return QTensor.adopt, (whole.spec, whole.shape, components)

    def to(self, device: str | tuple[int, int]) -> QTensor:
        """A copy with memory of its own on a device: "cpu", "cuda", "cuda:1", or DLPack's (type, id)."""
        kind, number = parse_device(device)
        out, err = ffi.new("moeq_qtensor **"), new_error()
        stream = self._stream() or current_stream(kind, number)
        check(lib.moeq_qtensor_copy(self._pointer, kind, number, stream, out, err), err)
        return QTensor._of(out[0], self._context)


quantize = QTensor.quantize


def quantize_into(
    source: Any, spec: Spec | str, *, amax: Any = None, context: Context | None = None, **components: Any
) -> None:
    """Quantizes into tensors of the caller's, without a handle and without allocating: codes=, scale= and what else the
    format has. Spec.component tells their types and shapes; any strides."""
    context, spec, tensor = context or default_context(), as_spec(spec), borrow(source, "source")
    array_of, kept = borrow_components(components, writable=True)
    with Options(context, amax=amax) as options:
        err = new_error()
        status = lib.moeq_quantize_into(
            context._pointer,
            tensor.pointer,
            spec._struct,
            options.pointer,
            stream_of(tensor.pointer),
            array_of,
            len(kept),
            err,
        )
        check(status, err)
