"""How far two checkpoints are from each other, tensor by tensor and expert by expert."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import Reader, TensorInfo
from ...names import itemsize
from ..options import tensors_of
from .pairs import Pair, pairs
from .weights import FLOATS, RAW, Raw, Weight

CHUNK = 1 << 26  # bytes of a tensor that are compared at a time

Tell = Callable[[str, str, int, int], Any]


def compare_all(left: Reader, right: Reader, tell: Tell) -> dict[str, Any]:
    """Every line of the comparison: weights that one side has quantized by expert, all others by tensor."""
    both, only_left, only_right = pairs(left, right)
    mine = tensors_by_name(left, [pair.ours for pair in both])
    other = tensors_by_name(right, [piece.weight for pair in both for piece in pair.theirs])
    only_left += [name for name in mine if name not in other]
    only_right += [name for name in other if name not in mine]
    shared = [name for name in mine if name in other]
    total = sum(pair.ours.stack.bytes for pair in both) + sum(mine[name].bytes for name in shared)
    lines: list[dict[str, Any]] = []
    done = 0
    for pair in both:
        for count, line in enumerate(compare_weights(pair), 1):
            lines.append({"name": pair.name, **line})
            tell("compare", pair.name, done + pair.ours.stack.bytes * count // pair.ours.experts, total)
        done += pair.ours.stack.bytes
    for name in shared:
        lines.append({"name": name, "expert": None, **compare_tensors(left, right, mine[name], other[name])})
        done += mine[name].bytes
        tell("compare", name, done, total)
    same = not (only_left or only_right) and all(line["equal"] for line in lines)
    return {"same": same, "compared": lines, "only_in_a": only_left, "only_in_b": only_right}


def tensors_by_name(reader: Reader, paired: list[Weight]) -> dict[str, TensorInfo]:
    """Dense tensors outside of stacks, without those that are compared as weights."""
    done = {weight.name for weight in paired if weight.tensor}
    tensors = tensors_of(reader).get(-1, [])
    return {tensor.name: tensor for tensor in tensors if not tensor.component and tensor.name not in done}


def compare_weights(pair: Pair) -> Iterator[dict[str, Any]]:
    """A line for each expert, or one for a linear by itself, or for what cannot be compared."""
    weights = pair.ours, *(piece.weight for piece in pair.theirs)
    odd = next((weight for weight in weights if not weight.readable), None)
    note = pair.mismatch() or (f"{odd.name} is of {odd.stack.dtype}" if odd else "")
    if note:
        yield {"expert": None, "equal": False, "max_abs": None, "rmse": None, "note": note}
        return
    for expert in range(pair.ours.experts):
        yield {"expert": None if pair.ours.lone else expert, **difference(pair.bands(expert))}


def compare_tensors(left: Reader, right: Reader, a: TensorInfo, b: TensorInfo) -> dict[str, Any]:
    if a.shape != b.shape:
        return {"equal": False, "max_abs": None, "rmse": None, "note": f"shapes {a.shape} and {b.shape}"}
    if a.dtype in FLOATS and b.dtype in FLOATS:
        return difference(chunks(left, right, a, b))
    if a.dtype != b.dtype:
        return {"equal": False, "max_abs": None, "rmse": None, "note": f"types {a.dtype} and {b.dtype}"}
    equal = all(
        np.array_equal(read_bytes(left, a, at, size), read_bytes(right, b, at, size))
        for at, size in spans(a.bytes, CHUNK)
    )
    return {"equal": equal, "max_abs": 0.0 if equal else None, "rmse": 0.0 if equal else None}


def spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, total, step):
        yield begin, min(step, total - begin)


def read_bytes(reader: Reader, tensor: TensorInfo, begin: int, size: int) -> np.ndarray:
    out = np.empty(size, np.uint8)
    reader.read(tensor, begin=begin, out=out)
    return out


def chunks(left: Reader, right: Reader, a: TensorInfo, b: TensorInfo) -> Iterator[tuple[Raw, Raw]]:
    """The elements of two tensors of one shape, some at a time."""
    sizes = [itemsize(tensor.dtype) for tensor in (a, b)]
    for begin, count in spans(math.prod(a.shape), CHUNK // 4):
        yield tuple(
            Raw(read_bytes(reader, tensor, begin * size, count * size).view(RAW[size]), tensor.dtype)
            for reader, tensor, size in zip((left, right), (a, b), sizes)
        )  # type: ignore[misc]


def difference(parts: Any) -> dict[str, Any]:
    """Largest and root mean square difference; equal: not one value differs (NaN equals NaN)."""
    largest = total = norm = 0.0
    count, equal = 0, True
    for a, b in parts:
        if a.dtype == b.dtype and np.array_equal(a.array, b.array):
            count += a.array.size
            norm += float(np.square(a.fp32(), dtype=np.float64).sum())
            continue
        x, y = a.fp32(), b.fp32()
        with np.errstate(invalid="ignore"):
            gap = np.abs(x - y)
        gap[(x == y) | (np.isnan(x) & np.isnan(y))] = 0
        equal = equal and not gap.any()
        largest = max(largest, float(gap.max(initial=0)))
        total += float(np.square(gap, dtype=np.float64).sum())
        norm += float(np.square(x, dtype=np.float64).sum())
        count += gap.size
    rmse = math.sqrt(total / count) if count else 0.0
    scale = math.sqrt(norm / count) if count else 0.0
    return {
        "equal": equal,
        "max_abs": largest,
        "rmse": rmse,
        "relative": rmse / scale if scale else (0.0 if equal else math.inf),
    }
