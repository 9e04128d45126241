"""Weights of a checkpoint, one expert at a time, whatever form it keeps them in: a linear by itself is one expert.

The common form of an expert is [outputs, inputs], gate rows before up rows: "canonical" below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import moeq

from ... import Reader, StackInfo, TensorInfo
from ...names import FLOATS, itemsize
from ..ending import CommandError, Status
from ..options import is_lone, tensors_of

RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
BAND = 1 << 24  # elements of an expert that are looked at together


class Raw:
    """Elements of a type that NumPy may not have, as unsigned integers."""

    def __init__(self, array: np.ndarray, dtype: str) -> None:
        self.array = array
        self.dtype = dtype

    @property
    def tensor(self) -> Any:
        """For calls of moeq."""
        return moeq.view(self.array, self.dtype)

    def fp32(self) -> np.ndarray:
        """The values; each of the three floating-point types fits."""
        if self.dtype == "bf16":
            return (self.array.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "fp16":
            return np.ascontiguousarray(self.array).view(np.float16).astype(np.float32)
        return np.ascontiguousarray(self.array).view(np.float32)


def stacked(parts: Sequence[Raw]) -> Raw:
    """Rows behind rows; fp32 where they differ in type."""
    if len(parts) == 1:
        return parts[0]
    if len({part.dtype for part in parts}) == 1:
        return Raw(np.concatenate([part.array for part in parts]), parts[0].dtype)
    return Raw(np.concatenate([part.fp32() for part in parts]), "fp32")


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


def rows_of(part: TensorInfo) -> int:
    """Of one expert; a tensor of two axes may have the rows of all of them."""
    return part.shape[-2] if part.experts == 0 else math.prod(part.shape[:-1]) // part.experts


class Weight:
    """A weight of one checkpoint: a stack, or a dense tensor that belongs to none.

    lone: it has two axes, so that it is no weight of experts. placed: names and the model's type say which axis its
    outputs are on, and where gate and up are; of the others nothing but the name is known.
    """

    def __init__(self, reader: Reader, stack: StackInfo, parts: Iterable[TensorInfo], *, tensor: bool) -> None:
        self.reader = reader
        self.stack = stack
        self.parts = list(parts)
        self.tensor = tensor
        self.lone = len(self.parts[0].shape) == 2 if tensor else is_lone(stack, self.parts)
        self.placed = not (tensor or self.lone)
        self._by_expert: dict[int, list[TensorInfo]] = {}
        for part in self.parts:
            self._by_expert.setdefault(part.expert if part.experts == 1 else -1, []).append(part)

    @property
    def name(self) -> str:
        return self.stack.name

    @property
    def experts(self) -> int:
        return self.stack.shape[0]

    @property
    def outputs(self) -> int:
        return self.stack.shape[2] if self.stack.scale_axis == -2 else self.stack.shape[1]

    @property
    def inputs(self) -> int:
        return self.stack.shape[1] if self.stack.scale_axis == -2 else self.stack.shape[2]

    @property
    def readable(self) -> bool:
        """Whether its values can be told: it is quantized in a way that moeq reads, or of a floating-point type."""
        return self.stack.quantized or all(part.dtype in FLOATS for part in self.parts)

    def bands(self, expert: int) -> Iterator[Raw]:
        """An expert as it is stored, some rows at a time; fp32 where it is quantized."""
        _, rows, columns = self.stack.shape
        step = max(1, BAND // max(columns, 1))
        spans = [(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
        if self.stack.quantized:
            with self.reader.load(self.stack, experts=(expert, expert + 1)) as weight:
                for begin, end in spans:
                    values = weight.dequantize(rows=(begin, end), dtype="fp32").numpy()
                    yield Raw(values.reshape(end - begin, columns), "fp32")
        elif self.tensor or self.stack.fused:
            for begin, end in spans:
                yield self._read(self.parts[0], expert, begin, end)
        else:
            whole = self._joined(expert)
            for begin, end in spans:
                yield Raw(whole.array[begin:end], whole.dtype)

    def whole(self, expert: int) -> Raw:
        """An expert [rows, columns] as it is stored."""
        parts = list(self.bands(expert))
        return stacked(parts) if parts else Raw(np.empty(self.stack.shape[1:], np.uint32), "fp32")

    def canonical(self, expert: int) -> Raw:
        whole = self.whole(expert)
        return Raw(to_canonical(whole.array, self.stack), whole.dtype)

    def _read(self, part: TensorInfo, expert: int, begin: int, end: int) -> Raw:
        """Rows of one expert out of a dense tensor, which has it alone or with others."""
        if part.dtype not in FLOATS:
            raise CommandError(f"{part.name} is of {part.dtype}", f"wanted {', '.join(FLOATS)}", Status.INPUT)
        size = itemsize(part.dtype)
        columns = part.shape[-1]
        out = np.empty((end - begin, columns), RAW[size])
        first = (expert - part.expert) * rows_of(part) + begin
        self.reader.read(part, begin=first * columns * size, out=out.reshape(-1).view(np.uint8))
        return Raw(out, part.dtype)

    def _joined(self, expert: int) -> Raw:
        """A dense expert of several tensors, each of which has it alone, or has all experts."""
        _, rows, columns = self.stack.shape
        parts = self._by_expert.get(expert, []) + self._by_expert.get(-1, [])
        if sum(rows_of(part) * part.shape[-1] for part in parts) != rows * columns:
            raise CommandError(f"{self.name} lacks parts of expert {expert}", "moeq verify lists them", Status.INPUT)
        dtype = self.stack.dtype  # fp32 where they are of several types
        dense = np.empty((rows, columns), RAW[itemsize(dtype)])
        for part in parts:
            height, width = rows_of(part), part.shape[-1]
            raw = self._read(part, expert, 0, height)
            values = raw.array if raw.dtype == dtype else raw.fp32().view(np.uint32)
            dense[part.row : part.row + height, part.column : part.column + width] = values
        return Raw(dense, dtype)


def as_stack(tensor: TensorInfo) -> StackInfo:
    """A dense tensor of two axes or more, the first ones taken together."""
    *lead, rows, columns = tensor.shape
    shape = math.prod(lead), rows, columns
    return StackInfo(-1, tensor.name, shape, tensor.dtype, "plain", -1, False, False, tensor.bytes, None)


def weights_of(reader: Reader) -> dict[str, Weight]:
    """All that may be quantized, by name: the stacks, then dense tensors of two axes or more."""
    members = tensors_of(reader)
    found = {stack.name: Weight(reader, stack, members.get(stack.index, []), tensor=False) for stack in reader.stacks}
    for tensor in members.get(-1, []):
        if tensor.component is None and len(tensor.shape) >= 2 and tensor.name not in found:
            found[tensor.name] = Weight(reader, as_stack(tensor), [tensor], tensor=True)
    return found


def row_amax(weight: Raw) -> np.ndarray:
    """max|x| of each row, fp32."""
    out = moeq.empty(weight.array.shape[0], "fp32")
    contiguous = moeq.view(np.ascontiguousarray(weight.array), weight.dtype)
    return moeq.reduce_amax(contiguous, axis=-1, out=out).numpy()
