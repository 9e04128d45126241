"""Weights of two checkpoints side by side, one expert at a time, whatever shape each of them keeps them in.

The common form of an expert is [outputs, inputs], gate rows before up rows: "canonical" below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._dlpack import Borrowed, describe
from .._names import dtype_bytes, dtype_code
from .._reader import Reader, StackInfo, TensorInfo
from .._tensor import empty
from ._exit import CommandError, Status
from ._options import tensors_of

RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
FLOATS = ("fp32", "fp16", "bf16")


class Piece(NamedTuple):
    """Experts of a stack; of the canonical rows [begin, end)."""

    stack: StackInfo
    begin: int
    end: int


@dataclass
class Pair:
    """The same weight in two checkpoints."""

    name: str
    experts: int
    ours: Piece
    theirs: Piece


class Raw:
    """Elements of a type that NumPy may not have, as unsigned integers; other calls of moeq take it for a tensor."""

    def __init__(self, array: np.ndarray, dtype: str) -> None:
        self.array = array
        self.dtype = dtype

    def _moeq_borrow(self) -> Borrowed:
        size = self.array.itemsize
        strides = tuple(stride // size for stride in self.array.strides)
        address = self.array.__array_interface__["data"][0]
        return describe(address, dtype_code(self.dtype), self.array.shape, strides, True, self.array)

    def fp32(self) -> np.ndarray:
        """The values; each of the three floating-point types fits."""
        if self.dtype == "bf16":
            return (self.array.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "fp16":
            return np.ascontiguousarray(self.array).view(np.float16).astype(np.float32)
        return np.ascontiguousarray(self.array).view(np.float32)


def canonical_rows(stack: StackInfo) -> int:
    """Outputs of an expert."""
    return stack.shape[2] if stack.scale_axis == -2 else stack.shape[1]


def to_canonical(array: np.ndarray, stack: StackInfo) -> np.ndarray:
    """One expert [rows, columns] as the stack has it -> [outputs, inputs], gate before up; a view if possible."""
    if stack.scale_axis == -2:
        array = array.T
    if stack.layout == "gate_up_interleaved":
        return np.concatenate([array[0::2], array[1::2]])
    if stack.layout == "up_gate":
        return np.concatenate([array[len(array) // 2 :], array[: len(array) // 2]])
    return array


def from_canonical(array: np.ndarray, stack: StackInfo) -> np.ndarray:
    """What to_canonical undoes."""
    if stack.layout == "gate_up_interleaved":
        mixed = np.empty_like(array)
        mixed[0::2], mixed[1::2] = array[: len(array) // 2], array[len(array) // 2 :]
        array = mixed
    elif stack.layout == "up_gate":
        array = np.concatenate([array[len(array) // 2 :], array[: len(array) // 2]])
    return array.T if stack.scale_axis == -2 else array


class Experts:
    """Experts of one stack of a checkpoint, in canonical form."""

    def __init__(self, reader: Reader, stack: StackInfo) -> None:
        self._reader = reader
        self.stack = stack
        self._parts: dict[int, list[TensorInfo]] = {}
        if not stack.quantized:
            for tensor in tensors_of(reader).get(stack.index, []):
                self._parts.setdefault(tensor.expert if len(tensor.shape) == 2 else -1, []).append(tensor)

    def raw(self, expert: int) -> Raw:
        """[outputs, inputs]: as stored where the stack is dense, else decoded to fp32."""
        if self.stack.quantized:
            with self._reader.load(self.stack, experts=(expert, expert + 1)) as weight:
                values = weight.dequantize(dtype="fp32").numpy()[0]
            return Raw(to_canonical(values, self.stack), "fp32")
        return Raw(to_canonical(self._read(expert), self.stack), self.stack.dtype)

    def _read(self, expert: int) -> np.ndarray:
        if self.stack.dtype not in FLOATS:
            raise CommandError(
                f"{self.stack.name} is of {self.stack.dtype}", f"wanted {', '.join(FLOATS)}", Status.INPUT
            )
        _, rows, columns = self.stack.shape
        size = dtype_bytes(dtype_code(self.stack.dtype))
        dense = np.empty((rows, columns), RAW[size])
        parts = self._parts.get(expert, []) + self._parts.get(-1, [])  # -1: of all experts
        if sum(math.prod(part.shape[-2:]) for part in parts) != rows * columns:
            raise CommandError(
                f"{self.stack.name} lacks parts of expert {expert}", "moeq verify lists them", Status.INPUT
            )
        for part in parts:
            self._read_part(part, expert, dense)
        return dense

    def _read_part(self, part: TensorInfo, expert: int, dense: np.ndarray) -> None:
        rows, columns = part.shape[-2:]
        block = dense if self.stack.fused else np.empty((rows, columns), dense.dtype)
        begin = expert * block.nbytes if len(part.shape) > 2 else 0
        self._reader.read(part, begin=begin, out=block.reshape(-1).view(np.uint8))
        if block is not dense:
            dense[part.row : part.row + rows, part.column : part.column + columns] = block


# ---- which weight of one checkpoint is which of another


def halves(name: str) -> tuple[str, str, str] | None:
    """Names of the whole, of gate and of up, for the name of any of them."""
    prefix, dot, last = name.rpartition(".")
    for whole, gate, up in (("gate_up_proj", "gate_proj", "up_proj"),):
        if last in (whole, gate, up):
            return prefix + dot + whole, prefix + dot + gate, prefix + dot + up
    return None


def find(stacks: dict[str, StackInfo], name: str) -> tuple[StackInfo, int, int] | None:
    """The stack that has the weight, and which canonical rows of it."""
    if name in stacks:
        return stacks[name], 0, canonical_rows(stacks[name])
    family = halves(name)
    if family and name != family[0] and family[0] in stacks:
        whole = stacks[family[0]]
        middle = canonical_rows(whole) // 2
        return (whole, 0, middle) if name == family[1] else (whole, middle, 2 * middle)
    return None


def pairs(ours: Reader, theirs: Reader) -> tuple[list[Pair], list[str], list[str]]:
    """Weights that both have, and names of stacks that only one has."""
    left, right = ({stack.name: stack for stack in reader.stacks} for reader in (ours, theirs))
    made, only_left, used = [], [], set()
    for name in [*left, *(name for name in right if name not in left)]:
        mine, other = find(left, name), find(right, name)
        family = halves(name)
        if mine and other:
            if mine[0].name != name and other[0].name != name:
                continue
            made.append(Pair(name, mine[0].shape[0], Piece(*mine), Piece(*other)))
            used |= {mine[0].name, other[0].name}
        elif name in left and not (family and name == family[0] and {family[1], family[2]} <= set(right)):
            only_left.append(name)
    for pair in made:
        check(pair)
    return made, only_left, [name for name in right if name not in used]


def check(pair: Pair) -> None:
    mine, other = pair.ours.stack, pair.theirs.stack

    def extents(stack: StackInfo, piece: Piece) -> tuple[int, int, int]:
        inputs = stack.shape[1] if stack.scale_axis == -2 else stack.shape[2]
        return stack.shape[0], piece.end - piece.begin, inputs

    if extents(mine, pair.ours) != extents(other, pair.theirs):
        raise CommandError(
            f"{pair.name} has experts, outputs and inputs {extents(mine, pair.ours)} here and "
            f"{extents(other, pair.theirs)} there",
            "are they the same model?",
            Status.INPUT,
        )


class Comparison(NamedTuple):
    """An expert of a quantized weight against its source, as QTensor.compare has it; and amax of the source's rows."""

    metrics: dict[str, float]
    row_amax: np.ndarray


def compare(pair: Pair, ours: Reader, theirs: Reader) -> Iterator[Comparison]:
    """Each expert of a quantized weight against the same one of another checkpoint."""
    source = Experts(theirs, pair.theirs.stack)
    for expert in range(pair.experts):
        raw = source.raw(expert)
        part = raw.array[pair.theirs.begin : pair.theirs.end]
        dense = Raw(np.ascontiguousarray(from_canonical(part, pair.ours.stack))[None], raw.dtype)
        with ours.load(pair.ours.stack, experts=(expert, expert + 1)) as weight:
            columns = weight.compare(dense)
        yield Comparison({name: float(column[0]) for name, column in columns.items()}, row_amax(Raw(part, raw.dtype)))


def row_amax(weight: Raw) -> np.ndarray:
    """max|x| of each output, fp32."""
    from .._reduce import reduce_amax

    out = empty(weight.array.shape[0], "fp32")
    contiguous = Raw(np.ascontiguousarray(weight.array), weight.dtype)
    return reduce_amax(contiguous, axis=-1, out=out).numpy()
