"""Reader: an open checkpoint, of which only the headers have been read."""

from __future__ import annotations

import json
import operator
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ._cdef import ffi
from ._context import Context, default_context, sized
from ._dlpack import borrow
from ._errors import ArgumentError, ArgumentTypeError, NotFoundError, RangeError, StateError, check, new_error
from ._library import lib
from ._names import dtype_code, dtype_word, numpy_has, word_of
from ._progress import Progress, ProgressFunction
from ._qtensor import QTensor
from ._spec import Spec, as_spec
from ._tensor import empty

DESCRIBES = -1  # of moeq_tensor_info.component: a tensor about a quantized weight, such as bitsandbytes' quant_state


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a checkpoint's files, and its place in the expert weight that it is a part of.

    file: index into the files of `Reader.metadata()`. stack: index into `Reader.stacks`, None for no part of an expert
    weight. component: None for dense values, else "codes", "scale" and the like, or "description".
    expert, row, column: where its first element goes in the stack [experts, rows, columns]. experts: of how many of
    its experts it has a part: one, or all; 0 for no part of a stack.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    file: int
    stack: int | None
    component: str | None
    expert: int
    row: int
    column: int
    experts: int


@dataclass(frozen=True, slots=True)
class StackInfo:
    """A weight of all experts of one layer: one fused tensor, or a group of 2-D ones (gate and up are one stack).

    shape: (experts, rows, columns). dtype: of the elements, or what a quantized stack stands for. layout, scale_axis:
    what the model's family says. bytes: in the files. spec: of a quantized stack, None of a dense one.
    """

    index: int
    name: str
    shape: tuple[int, int, int]
    dtype: str
    layout: str
    scale_axis: int
    quantized: bool
    fused: bool
    bytes: int
    spec: Spec | None


class Found(NamedTuple):
    """What a name means: a tensor of the files, a stack, or both."""

    tensor: TensorInfo | None
    stack: StackInfo | None


def json_of(blob: Any) -> Any:
    """The JSON in a moeq_blob, which is freed."""
    blob = ffi.gc(blob, lib.moeq_blob_destroy)
    return json.loads(ffi.buffer(ffi.cast("char *", lib.moeq_blob_data(blob)), lib.moeq_blob_size(blob))[:])


def path_bytes(path: str | os.PathLike[str], argument: str) -> bytes:
    """A path as the library takes it."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:  # a C string would end there
        raise ArgumentError(f"moeq: {argument}: got {path!r}; wanted a path without NUL")
    return encoded


def json_text(value: Any, argument: str) -> Any:
    """A C string of JSON for a text, or for Python values; NULL for None. Keep it alive during the call."""
    if value is None:
        return ffi.NULL
    encoded = (value if isinstance(value, str) else json.dumps(value)).encode()
    if b"\0" in encoded:
        raise ArgumentError(f"moeq: {argument}: got a text with NUL; wanted JSON")
    return ffi.new("char[]", encoded)


class Reader:
    """A checkpoint: one .safetensors file, or a directory of them with index and config.json.

        with moeq.open("Qwen3-30B-A3B") as checkpoint:
            for stack in checkpoint.stacks:
                weight = checkpoint.load(stack, "nf4")

    Any number of threads may use it at the same time; the interpreter lock is released while it reads.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mmap: bool = False,
        lenient: bool = False,
        all_files: bool = False,
        strict: bool = False,
        patterns: Any = None,
        header_limit: int = 0,
        context: Context | None = None,
    ) -> None:
        self._handle: Any = None
        self._context = context or default_context()
        self._path = os.fspath(path)
        options, patterns = sized("moeq_reader_options"), json_text(patterns, "patterns")
        asked = {"MMAP": mmap, "LENIENT": lenient, "ALL_FILES": all_files, "STRICT": strict}
        options.flags = sum(ffi.integer_const(f"MOEQ_READER_{name}") for name, wanted in asked.items() if wanted)
        options.header_limit, options.patterns = header_limit, patterns
        out, err = ffi.new("moeq_reader **"), new_error()
        check(lib.moeq_reader_open(self._context._pointer, path_bytes(path, "path"), options, out, err), err)
        self._handle = ffi.gc(out[0], lib.moeq_reader_destroy)

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            raise StateError("moeq.Reader: got a reader that was closed; wanted an open one")
        return self._handle

    # ---- look

    @cached_property
    def _info(self) -> Any:
        info, err = sized("moeq_reader_info"), new_error()
        check(lib.moeq_reader_get_info(self._pointer, info, err), err)
        return info

    @property
    def path(self) -> str:
        """As it was given."""
        return self._path

    @property
    def dialect(self) -> str | None:
        """How quantized weights lie: "native", "bitsandbytes", "compressed-tensors", "hf-fp8"; None: there are none."""
        word = str(word_of("dialect", self._info.dialect))
        return None if word == "none" else word

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self._info.bytes

    @property
    def file_count(self) -> int:
        return self._info.file_count

    @property
    def model_type(self) -> str:
        """Of config.json; "" where there is none."""
        return str(self.metadata().get("model_type") or "")

    @cached_property
    def tensors(self) -> tuple[TensorInfo, ...]:
        """Every tensor, file by file and in file order."""
        info, err = sized("moeq_tensor_info"), new_error()
        return tuple(self._tensor(index, info, err) for index in range(self._info.tensor_count))

    @cached_property
    def stacks(self) -> tuple[StackInfo, ...]:
        """The expert weights."""
        return tuple(self._stack(index) for index in range(self._info.stack_count))

    def _tensor(self, index: int, info: Any = None, err: Any = None) -> TensorInfo:
        """info, err: structs that are used again, where there are many to ask for."""
        info, err = info or sized("moeq_tensor_info"), err or new_error()
        check(lib.moeq_reader_get_tensor(self._pointer, index, info, err), err)
        stack, component = info.stack, info.component
        return TensorInfo(
            index,
            ffi.string(info.name).decode("utf-8", "replace"),
            dtype_word(info.dtype),
            tuple(ffi.unpack(info.shape, info.ndim)) if info.ndim else (),
            info.bytes,
            info.file,
            None if stack < 0 else stack,
            component_word(component) if component else None,
            info.expert,
            info.row,
            info.column,
            info.experts,
        )

    def _stack(self, index: int) -> StackInfo:
        info, err = sized("moeq_stack_info"), new_error()
        check(lib.moeq_reader_get_stack(self._pointer, index, info, err), err)
        spec = None
        if info.quantized:
            struct = sized("moeq_spec")
            check(lib.moeq_reader_get_stack_spec(self._pointer, index, struct, err), err)
            spec = Spec._of(struct)
        experts, rows, columns = info.shape
        return StackInfo(
            index,
            ffi.string(info.name).decode("utf-8", "replace"),
            (experts, rows, columns),
            dtype_word(info.dtype),
            str(word_of("layout", info.layout)),
            info.scale_axis,
            bool(info.quantized),
            bool(info.fused),
            info.bytes,
            spec,
        )

    def find(self, name: str) -> Found:
        """The tensor and the stack of that name; NotFoundError where there is neither."""
        tensor, stack, err = ffi.new("int64_t *"), ffi.new("int64_t *"), new_error()
        if "\0" in name:
            raise NotFoundError(f"moeq.Reader.find: name: got {name!r}, which has a NUL")
        check(lib.moeq_reader_find(self._pointer, name.encode(), tensor, stack, err), err)
        return Found(
            None if tensor[0] < 0 else self._tensor(tensor[0]), None if stack[0] < 0 else self._stack(stack[0])
        )

    def metadata(self) -> dict[str, Any]:
        """Model type, dialect, and the files with their sizes and their `__metadata__`; "foreign": what there is of
        schemes that moeq does not read; "strays": files that the index does not name; "unlisted": how many tensors."""
        out, err = ffi.new("moeq_blob **"), new_error()
        check(lib.moeq_reader_metadata(self._pointer, out, err), err)
        return json_of(out[0])

    # ---- read

    def _as_tensor(self, tensor: TensorInfo | str | int) -> TensorInfo:
        if isinstance(tensor, TensorInfo):
            return tensor
        if isinstance(tensor, str):
            found = self.find(tensor).tensor
            if found is None:
                raise NotFoundError(f"moeq.Reader.read: tensor: got {tensor!r}, a stack; use load for stacks")
            return found
        if isinstance(tensor, StackInfo):
            raise ArgumentTypeError(f"moeq.Reader.read: tensor: got the stack {tensor.name!r}; use load for stacks")
        return self._tensor(index_of(tensor, "read: tensor", "a TensorInfo"))

    def _as_stack(self, stack: StackInfo | str | int) -> StackInfo:
        if isinstance(stack, StackInfo):
            return stack
        if isinstance(stack, str):
            found = self.find(stack).stack
            if found is None:
                raise NotFoundError(f"moeq.Reader.load: stack: got {stack!r}, a tensor; use read for tensors")
            return found
        if isinstance(stack, TensorInfo):
            raise ArgumentTypeError(f"moeq.Reader.load: stack: got the tensor {stack.name!r}; use read for tensors")
        return self._stack(index_of(stack, "load: stack", "a StackInfo"))

    def read(self, tensor: TensorInfo | str | int, begin: int = 0, count: int | None = None, out: Any = None) -> Any:
        """A tensor as it is stored, or `count` of it from `begin` along its first axis.

        tensor: a TensorInfo, a name or an index. out: a row-major tensor in host memory to read into, of the tensor's
        type, or bytes (uint8 [n]: then `begin` counts bytes); it is also what is returned. Without it a new
        moeq.Tensor, of uint8 [bytes] for types that NumPy and moeq cannot hold.
        """
        info = self._as_tensor(tensor)
        if out is None:
            shape, dtype = self._shape_and_dtype(info, begin, count)
            out = empty(shape, dtype, context=self._context)
        elif count is not None:
            raise ArgumentError("moeq.Reader.read: count: got count= and out=; wanted one of them")
        destination, err = borrow(out, "out", writable=True), new_error()
        check(lib.moeq_reader_read(self._pointer, info.index, begin, destination.pointer, err), err)
        return out

    def _shape_and_dtype(self, info: TensorInfo, begin: int, count: int | None) -> tuple[tuple[int, ...], Any]:
        if not holdable(info):
            shape: tuple[int, ...] = (info.bytes,)
            dtype = "uint8"
        else:
            shape, dtype = info.shape, info.dtype
        if not shape:
            if begin or count is not None:
                raise ArgumentError(f"moeq.Reader.read: begin: {info.name} is a scalar; wanted neither begin nor count")
            return shape, dtype
        length = shape[0] - begin if count is None else count
        if not 0 <= begin <= begin + length <= shape[0]:
            raise RangeError(
                f"moeq.Reader.read: begin: got [{begin}, {begin + length}); wanted a range inside [0, {shape[0]}) of "
                f"{info.name}"
            )
        return (length, *shape[1:]), dtype

    def load(
        self,
        stack: StackInfo | str | int,
        spec: Spec | str | None = None,
        *,
        experts: range | slice | tuple[int, int] | None = None,
        tp: tuple[int, int] | None = None,
        amax: Any = None,
        progress: ProgressFunction | None = None,
    ) -> QTensor:
        """A whole stack as a handle, streamed: memory holds the result and small buffers.

        spec: quantizes a dense stack on the way, with the stack's own layout and scale axis where the spec says nothing
        of them; None takes a stack that is quantized as it is. experts: a range, a slice or a tuple (begin, end), no
        list of experts: bytes of other experts are not read. tp: (rank, size), this rank's cut of the output axis (gate
        and up each), or of the contraction axis (down). amax: fp32, one per expert loaded, for granularity "expert".
        progress: called with (stage, name, bytes done, bytes in total); what it raises stops the work and is raised
        here.
        """
        info = self._as_stack(stack)
        options, told = sized("moeq_load_options"), Progress(progress)
        options.expert_begin, options.expert_end = expert_range(experts, info.shape[0])
        if tp is not None:
            options.tp_rank, options.tp_size = rank_and_size(tp)
        given = None if spec is None else as_spec(spec)
        amax = None if amax is None else borrow(amax, "amax")
        options.spec = ffi.NULL if given is None else given._struct
        options.amax = ffi.NULL if amax is None else amax.pointer
        options.progress, options.progress_user = told.function, told.user
        out, err = ffi.new("moeq_qtensor **"), new_error()
        told.check(lib.moeq_reader_load(self._pointer, info.index, options, ffi.NULL, out, err), err)
        return QTensor._of(out[0], self._context)

    def verify(self, progress: ProgressFunction | None = None) -> dict[str, Any]:
        """Reads everything and says what is wrong: {"checked": {...}, "problems": [...]}. Problems are no exception."""
        out, err, told = ffi.new("moeq_blob **"), new_error(), Progress(progress)
        told.check(lib.moeq_reader_verify(self._pointer, told.function, told.user, out, err), err)
        return json_of(out[0])

    # ---- close

    def close(self) -> None:
        """Lets go of the files. Handles that are views of a mapping keep it."""
        self._handle = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._handle is None:
            return f"moeq.Reader({self._path!r}, closed)"
        info = self._info
        return f"moeq.Reader({self._path!r}, tensors={info.tensor_count}, stacks={info.stack_count})"


def component_word(number: int) -> str:
    return "description" if number == DESCRIBES else str(word_of("component", number))


def holdable(info: TensorInfo) -> bool:
    """Whether a moeq.Tensor can have the element type; others come as bytes."""
    try:
        code = dtype_code(info.dtype)
    except ValueError:
        return False
    return numpy_has(code) or info.dtype in ("bf16", "fp8_e4m3fn", "fp8_e5m2")


def index_of(value: Any, argument: str, kind: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            f"moeq.Reader.{argument}: got {type(value).__name__}; wanted {kind}, a name or an index"
        ) from None


def rank_and_size(tp: Any) -> tuple[int, int]:
    try:
        rank, size = map(operator.index, tp)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"moeq.Reader.load: tp: got {tp!r}; wanted (rank, size)") from None
    if not 0 <= rank < size:
        raise RangeError(f"moeq.Reader.load: tp: got rank {rank} of {size}; wanted (rank, size), 0 <= rank < size")
    return rank, size


def expert_range(experts: range | slice | tuple[int, int] | None, count: int) -> tuple[int, int]:
    """[begin, end) for the library, where (0, 0) is all."""
    if experts is None:
        return 0, 0
    if isinstance(experts, slice):
        experts = range(*experts.indices(count))
    if isinstance(experts, range):
        if experts.step != 1:
            raise ArgumentError(f"moeq.Reader.load: experts: got {experts}; wanted one with step 1")
        experts = (experts.start, experts.stop)
    try:
        if not isinstance(experts, tuple):
            raise TypeError
        begin, end = map(operator.index, experts)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"moeq.Reader.load: experts: got {experts!r}; wanted a tuple (begin, end), a range or a slice; "
            "load all and use dequantize(experts=[...]) to choose single ones"
        ) from None
    if not 0 <= begin < end <= count:
        raise RangeError(
            f"moeq.Reader.load: experts: got [{begin}, {end}); wanted a range inside [0, {count}), not empty",
            expert=begin,
        )
    return begin, end


def open(
    path: str | os.PathLike[str],
    *,
    mmap: bool = False,
    lenient: bool = False,
    all_files: bool = False,
    strict: bool = False,
    patterns: Any = None,
    header_limit: int = 0,
    context: Context | None = None,
) -> Reader:
    """Opens a checkpoint: reads its headers and nothing else.

    mmap: handles are views of the file, which must not shrink; a native stack is then loaded without reading it.
    lenient: accepts NaN, Inf and negative scales. all_files: also .safetensors files of a folder that its index does
    not name. strict: refuses tensors that are in a file and not in the index. patterns: for models that moeq does not
    know, JSON or Python values. header_limit: bytes of a header, of the index and of config.json; 0 for the default.
    """
    return Reader(path, mmap=mmap, lenient=lenient, all_files=all_files, strict=strict, patterns=patterns,
                  header_limit=header_limit, context=context)  # fmt: skip
