"""Dense weights beside the quantized ones that they were made of: each is the decoded value, rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import Reader, StackInfo, TensorInfo
from ...names import FLOATS, itemsize

RAW = {2: np.uint16, 4: np.uint32}

Tell = Callable[[str, str, int, int], Any]


class Made(NamedTuple):
    """A dense tensor, and the codes of the same name; theirs is a piece of the stack."""

    ours: TensorInfo
    theirs: TensorInfo
    stack: StackInfo


def made_dense(reader: Reader, source: Reader) -> list[Made]:
    """What is quantized in the source and dense here."""
    dense = {tensor.name: tensor for tensor in reader.tensors if not tensor.component and tensor.dtype in FLOATS}
    return [
        Made(dense[tensor.name], tensor, source.stacks[tensor.stack])
        for tensor in source.tensors
        if tensor.component == "codes" and tensor.stack is not None and tensor.name in dense
    ]


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """fp32 as another type, to the nearest, ties to even: its bits."""
    if dtype == "fp32":
        return values.view(np.uint32)
    if dtype == "fp16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    nearest = (bits + (0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), (bits >> 16 | 0x40).astype(np.uint16), nearest)


def as_fp32(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bf16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.view(np.float16).astype(np.float32) if dtype == "fp16" else raw.view(np.float32)


def compare_dense(reader: Reader, source: Reader, made: list[Made], tell: Tell) -> list[dict[str, Any]]:
    """A line for every tensor: how many elements are another value than the rounded one, and how far they are off."""
    total, done = sum(one.theirs.bytes for one in made), 0
    lines: dict[str, Line] = {}
    groups: dict[tuple[int, int], list[Made]] = {}
    for one in made:
        fused = len(one.ours.shape) > 2
        for expert in range(one.stack.shape[0]) if fused else (one.theirs.expert,):
            groups.setdefault((one.stack.index, expert), []).append(one)
    for (index, expert), members in groups.items():
        values = decoded(source, source.stacks[index], expert)
        for one in members:
            compare_piece(reader, one, expert, values, lines.setdefault(one.ours.name, Line(one)))
            done += one.theirs.bytes // (one.stack.shape[0] if len(one.ours.shape) > 2 else 1)
        tell("compare", source.stacks[index].name, done, total)
    return [line.facts() for line in lines.values()]


def decoded(source: Reader, stack: StackInfo, expert: int) -> np.ndarray:
    """One expert of a stack as fp32, [rows, columns]."""
    # Blocks that run over everything belong to no expert.
    shared = stack.spec is not None and stack.spec.blocking == "flat"
    with source.load(stack, experts=None if shared else (expert, expert + 1)) as weight:
        values = weight.dequantize(dtype="fp32").numpy().reshape(-1, *stack.shape[1:])
        return np.array(values[expert if shared else 0])


def compare_piece(reader: Reader, one: Made, expert: int, values: np.ndarray, line: Line) -> None:
    rows, columns = one.ours.shape[-2:]
    raw = np.empty((rows, columns), RAW[itemsize(one.ours.dtype)])
    begin = expert * raw.nbytes if len(one.ours.shape) > 2 else 0
    reader.read(one.ours, begin=begin, out=raw.reshape(-1).view(np.uint8))
    row, column = one.theirs.row, one.theirs.column
    line.add(raw, np.ascontiguousarray(values[row : row + rows, column : column + columns]))


class Line:
    """What is found out about one tensor."""

    def __init__(self, one: Made) -> None:
        self.one = one
        self.different = 0
        self.largest = self.error = self.norm = 0.0

    def add(self, raw: np.ndarray, values: np.ndarray) -> None:
        ours = as_fp32(raw, self.one.ours.dtype)
        same = (raw == rounded(values, self.one.ours.dtype)) | (np.isnan(ours) & np.isnan(values))
        self.different += int(same.size - np.count_nonzero(same))
        finite = np.isfinite(ours) & np.isfinite(values)
        gap = np.abs(ours - values, where=finite, out=np.zeros_like(values)).astype(np.float64)
        self.largest = max(self.largest, float(gap.max(initial=0)))
        self.error += float(np.square(gap).sum())
        self.norm += float(np.square(values, where=finite, out=np.zeros_like(values), dtype=np.float64).sum())

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.one.ours.name,
            "dtype": self.one.ours.dtype,
            "stack": self.one.stack.name,
            "different": self.different,
            "max_error": self.largest,
            "relative_rms": math.sqrt(self.error / self.norm) if self.norm else 0.0,
        }


def problems_of_dense(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": line["name"],
            "problem": f"{line['different']} elements are not the source's values, rounded once to {line['dtype']}",
        }
        for line in lines
        if line["different"]
    ]


def summary(lines: list[dict[str, Any]]) -> str:
    """Of lines without a problem."""
    types = " and ".join(sorted({line["dtype"] for line in lines}))
    worst = max((line["relative_rms"] for line in lines), default=0.0)
    return (
        f"made dense: {len(lines)} tensors have the source's values, rounded once to {types}; relative rms {worst:.2g}"
    )
