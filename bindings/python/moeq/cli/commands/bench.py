"""moeq bench: how fast this machine quantizes and dequantizes, beside a copy of the same bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

import moeq

from ..options import Json, Quiet, checked_spec
from ..show.screen import counted, emit, nbytes, remark, say, table

FORMATS = ("int8", "fp8_e4m3", "nf4", "nf4:64,nested")
ROWS, COLUMNS = 2048, 4096


def bench(
    spec: Annotated[
        list[str] | None, typer.Option("--spec", "--format", "-f", metavar="SPEC", help="Format to time. Repeatable.")
    ] = None,
    megabytes: Annotated[int, typer.Option(min=16, metavar="MB", help="Size of the bf16 weight.")] = 256,
    threads: Annotated[int, typer.Option(min=0, help="0: all.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.01, help="Least time for each figure.")] = 0.5,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the formats, beside a plain copy.

    Quantizing from bf16 and dequantizing to bf16, in memory. The copy reads and writes as many bytes as the operation
    does, with as many threads, in the same run.

    Example: [cyan]moeq bench -f nf4 -f int8[/cyan]
    """
    from ..measure.timing import measure, random_bf16

    specs = spec or list(FORMATS)
    for text in specs:
        checked_spec(text)
    context = moeq.Context(threads=threads)
    workers = context.describe()["threads"]["limit"]
    experts = max(1, megabytes * 10**6 // (2 * ROWS * COLUMNS))
    weight = random_bf16((experts, ROWS, COLUMNS), context)
    if not (json or quiet):
        remark(f"{nbytes(weight.nbytes)} of bf16, {counted(workers, 'thread')}, CPU tier "
               f"{context.describe()['cpu']['tier']}")  # fmt: skip
    figures = []
    with ThreadPoolExecutor(workers) as pool:
        for text in specs:
            figures += measure(text, weight, context, pool, workers, seconds)
    facts = {"bytes": weight.nbytes, "threads": workers, "cpu": context.describe()["cpu"], "figures": figures}
    if json:
        emit(facts)
        return
    columns = [("operation", "left"), ("format", "left"), ("bytes moved\nGB", "right"), ("time\nms", "right"),
               ("moeq\nGB/s", "right"), ("copy\nGB/s", "right"), ("of copy\n%", "right")]  # fmt: skip
    rows = [
        (
            one["operation"],
            one["spec"],
            f"{one['bytes'] / 1e9:.3f}",
            f"{1e3 * one['seconds']:.1f}",
            f"{one['bytes'] / one['seconds'] / 1e9:.1f}",
            f"{one['bytes'] / one['copy_seconds'] / 1e9:.1f}",
            f"{100 * one['copy_seconds'] / one['seconds']:.0f}",
        )
        for one in figures
    ]
    say(table("In memory; GB/s counts bytes read and bytes written", columns, rows))
