"""Times of operations, and of copies of as many bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import moeq

from ..ending import CommandError

LEAST_REPEATS, MOST_REPEATS = 3, 25


def random_bf16(shape: tuple[int, int, int], context: moeq.Context) -> moeq.Tensor:
    """Normal numbers; one expert's worth is made and repeated."""
    weight = moeq.empty(shape, "bf16", context=context)
    one = np.random.default_rng(1).standard_normal(shape[1:], np.float32)
    weight.bits()[:] = (one.view(np.uint32) >> 16).astype(np.uint16)
    return weight


def measure(
    text: str, weight: Any, context: moeq.Context, pool: ThreadPoolExecutor, workers: int, seconds: float
) -> list[dict[str, Any]]:
    spec = moeq.Spec(text)
    q = moeq.quantize(weight, spec, context=context)
    out = moeq.empty(weight.shape, "bf16", context=context)
    moved = weight.nbytes + q.nbytes
    source, target = (np.zeros(moved // 2, np.uint8) for _ in range(2))
    try:
        q.requantize(weight)
    except moeq.MoeqError as error:
        raise CommandError(f"{text} cannot be timed: {error}") from None
    figures = []
    for operation, call in (
        ("quantize", lambda: q.requantize(weight)),
        ("dequantize", lambda: q.dequantize(out=out)),
    ):
        took = timed(call, seconds)
        copy = timed(lambda: copy_with(pool, workers, source, target), seconds)
        figures.append(
            {"operation": operation, "spec": str(spec), "bytes": moved, "seconds": took, "copy_seconds": copy}
        )
    return figures


def copy_with(pool: ThreadPoolExecutor, workers: int, source: np.ndarray, target: np.ndarray) -> None:
    cuts = np.linspace(0, len(source), workers + 1).astype(int)
    list(pool.map(lambda i: np.copyto(target[cuts[i] : cuts[i + 1]], source[cuts[i] : cuts[i + 1]]), range(workers)))


def timed(call: Callable[[], Any], seconds: float) -> float:
    """The median time of some calls."""
    call()
    times: list[float] = []
    while len(times) < LEAST_REPEATS or (sum(times) < seconds and len(times) < MOST_REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
