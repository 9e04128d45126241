"""Errors and amax of every expert, and what of them is too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._reader import Reader
from ._exit import CommandError, Status
from ._weights import Experts, Pair, canonical_rows, compare, pairs, row_amax

Tell = Callable[[str, str, int, int], Any]


def measure(reader: Reader, source: Reader, tell: Tell) -> dict[str, Any]:
    """Each quantized expert against its source."""
    both, missing, unused = pairs(reader, source)
    both = [pair for pair in both if pair.ours.stack.quantized]
    if not both:
        raise CommandError(f"{reader.path} and {source.path} share no weight that is quantized", "", Status.INPUT)
    total = sum(source_bytes(pair) for pair in both)
    weights, histogram, done = [], Histogram(), 0
    for pair in both:
        columns: dict[str, list[float]] = {}
        share = source_bytes(pair)
        for expert, found in enumerate(compare(pair, reader, source)):
            for name, value in {**found.metrics, "relative_rms": relative_rms(found.metrics)}.items():
                columns.setdefault(name, []).append(value)
            histogram.add(found.row_amax)
            tell("compare", pair.name, done + share * (expert + 1) // pair.experts, total)
        done += share
        weights.append({"name": pair.name, "spec": str(pair.ours.stack.spec), "experts": columns})
    return {"weights": weights, "only_here": missing, "only_in_source": unused, "row_amax": histogram.facts()}


def source_bytes(pair: Pair) -> int:
    """Of the part of the source's stack that the pair is about."""
    return pair.theirs.stack.bytes * (pair.theirs.end - pair.theirs.begin) // max(canonical_rows(pair.theirs.stack), 1)


def relative_rms(metrics: dict[str, float]) -> float:
    """rms of the error over rms of the source, from the signal-to-noise ratio in dB."""
    ratio = metrics["sqnr_db"]
    return 0.0 if ratio == math.inf else 10 ** (-ratio / 20)


def survey(reader: Reader, tell: Tell) -> dict[str, Any]:
    """What can be said without the source: amax of each expert and each row."""
    weights, histogram, done = [], Histogram(), 0
    for stack in reader.stacks:
        experts = Experts(reader, stack)
        amax = []
        for expert in range(stack.shape[0]):
            rows = row_amax(experts.raw(expert))
            histogram.add(rows)
            amax.append(float(rows.max(initial=0)))
            tell("read", stack.name, done + stack.bytes * (expert + 1) // stack.shape[0], reader.nbytes)
        done += stack.bytes
        weights.append({"name": stack.name, "spec": str(stack.spec or "dense"), "experts": {"amax": amax}})
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
                found.append(
                    {
                        "name": weight["name"],
                        "expert": expert,
                        "problem": f"relative rms error {value:.4f}, more than {max_error:g}",
                    }
                )
    return found
