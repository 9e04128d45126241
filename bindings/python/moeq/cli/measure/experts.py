"""Errors and amax of every expert, and what of them is too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import Reader
from ...names import METRICS
from ..ending import CommandError, Status
from .pairs import Pair, pairs
from .weights import BAND, Raw, Weight, row_amax, to_canonical, weights_of

Tell = Callable[[str, str, int, int], Any]


def measure(reader: Reader, source: Reader, tell: Tell) -> dict[str, Any]:
    """Each weight that is quantized here or in the source, expert by expert."""
    both, missing, unused = pairs(reader, source)
    both = [pair for pair in both if pair.quantized]
    if not both:
        raise CommandError(f"{reader.path} and {source.path} share no weight that is quantized", "", Status.INPUT)
    total = sum(source_bytes(pair) for pair in both)
    weights, histogram, done = [], Histogram(), 0
    for pair in both:
        if pair.mismatch():
            raise CommandError(f"{pair.name} has {pair.mismatch()}", "are they the same model?", Status.INPUT)
        columns: dict[str, list[float | None]] = {}
        share = source_bytes(pair)
        for expert in range(pair.ours.experts):
            dense = pair.source(expert)
            metrics = compare(pair.ours, expert, dense)
            for name, value in {**metrics, "relative_rms": relative_rms(metrics["sqnr_db"])}.items():
                columns.setdefault(name, []).append(value)
            histogram.add(output_amax(pair.ours, dense))
            tell("compare", pair.name, done + share * (expert + 1) // pair.ours.experts, total)
        done += share
        weights.append(facts_of(pair.ours, columns))
    return {"weights": weights, "only_here": missing, "only_in_source": unused, "row_amax": histogram.facts()}


def facts_of(weight: Weight, columns: dict[str, Any]) -> dict[str, Any]:
    """of_experts: no: a linear by itself, whose columns have one number each."""
    spec = str(weight.stack.spec or "dense")
    return {"name": weight.name, "spec": spec, "of_experts": not weight.lone, "experts": columns}


def source_bytes(pair: Pair) -> int:
    """Of the parts of the source's weights that the pair is about."""
    return sum(
        piece.weight.stack.bytes * (piece.end - piece.begin) // max(piece.weight.outputs, 1) for piece in pair.theirs
    )


def compare(weight: Weight, expert: int, source: Raw) -> dict[str, Any]:
    """Errors of an expert against its source in the same form, as QTensor.compare has them.

    Those that are about codes are None where there are none: a dense weight against a quantized source.
    """
    if not weight.stack.quantized:
        return errors_of(weight.whole(expert), source)
    with weight.reader.load(weight.stack, experts=(expert, expert + 1)) as handle:
        array = np.ascontiguousarray(source.array).reshape(handle.shape)
        columns = handle.compare(Raw(array, source.dtype).tensor)
    return {name: float(column[0]) for name, column in columns.items()}


def errors_of(weight: Raw, source: Raw) -> dict[str, Any]:
    """The same of an expert that is dense."""
    squares = signal = largest = amax = 0.0
    step = max(1, BAND // max(source.array.shape[-1], 1))
    for begin in range(0, len(source.array), step):
        got, want = (Raw(raw.array[begin : begin + step], raw.dtype).fp32() for raw in (weight, source))
        with np.errstate(invalid="ignore"):
            error = np.subtract(got, want, dtype=np.float64)
        squares += float(np.square(error).sum())
        signal += float(np.square(want, dtype=np.float64).sum())
        largest = float(np.maximum(largest, np.abs(error).max(initial=0)))  # NaN stays
        amax = float(np.maximum(amax, np.abs(want).max(initial=0)))
    ratio = signal / squares if squares else math.inf
    found: dict[str, Any] = dict.fromkeys(METRICS)
    return found | {
        "max_error": largest,
        "rmse": math.sqrt(squares / max(source.array.size, 1)),
        "sqnr_db": 10 * math.log10(ratio) if ratio else -math.inf,
        "amax": amax,
    }


def output_amax(weight: Weight, dense: Raw) -> np.ndarray:
    """max|x| of each output of an expert that lies as the weight does."""
    return row_amax(Raw(to_canonical(dense.array, weight.stack), dense.dtype))


def relative_rms(ratio: float) -> float:
    """rms of the error over rms of the source, from the signal-to-noise ratio in dB."""
    return 0.0 if ratio == math.inf else 10 ** (-ratio / 20)


def survey(reader: Reader, tell: Tell) -> dict[str, Any]:
    """What can be said without the source: amax of each expert and each row."""
    weights, histogram, done = [], Histogram(), 0
    measured = [weight for weight in weights_of(reader).values() if not weight.tensor]
    total = sum(weight.stack.bytes for weight in measured)
    for weight in measured:
        amax = []
        for expert in range(weight.experts):
            rows = output_amax(weight, weight.whole(expert))
            histogram.add(rows)
            amax.append(float(rows.max(initial=0)))
            tell("read", weight.name, done + weight.stack.bytes * (expert + 1) // weight.experts, total)
        done += weight.stack.bytes
        weights.append(facts_of(weight, {"amax": amax}))
    return {"weights": weights, "only_here": [], "only_in_source": [], "row_amax": histogram.facts()}


class Histogram:
    """Counts of amax by power of two, a sixteenth of one each; zeros by themselves."""

    STEPS = 16

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.zeros = 0

    def add(self, amax: np.ndarray) -> None:
        positive = amax[amax > 0].astype(np.float64)
        self.zeros += int(amax.size - positive.size)
        bins, counts = np.unique(np.floor(np.log2(positive) * self.STEPS).astype(int), return_counts=True)
        for position, count in zip(bins.tolist(), counts.tolist()):
            self.counts[position] = self.counts.get(position, 0) + count

    def facts(self) -> dict[str, Any]:
        first, last = min(self.counts, default=0), max(self.counts, default=-1)
        return {
            "edges": [2 ** (position / self.STEPS) for position in range(first, last + 2)] if self.counts else [],
            "counts": [self.counts.get(position, 0) for position in range(first, last + 1)],
            "zeros": self.zeros,
        }


def problems_of(facts: dict[str, Any], max_error: float) -> list[dict[str, Any]]:
    """What of the errors is too much."""
    found: list[dict[str, Any]] = [
        {"name": name, "problem": "the source does not have it"} for name in facts["only_here"]
    ]
    for weight in facts["weights"]:
        for expert, value in enumerate(weight["experts"]["relative_rms"]):
            if not value <= max_error:  # also NaN
                place = {"expert": expert} if weight["of_experts"] else {}
                text = f"relative rms error {value:.4f}, more than {max_error:g}"
                found.append({"name": weight["name"], **place, "problem": text})
    return found
