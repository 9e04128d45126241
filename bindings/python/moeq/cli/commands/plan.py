"""moeq plan: what a conversion would do, without doing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ... import Plan
from ..conversion import Conversion, free_bytes
from ..options import (
    AllFiles,
    Dialect,
    Format,
    Json,
    KeepForeign,
    Only,
    Patterns,
    Rule,
    Skip,
    Source,
    WeightsOnly,
    checked_dialect,
    checked_target,
    open_reader,
    path_of,
    read_patterns,
)
from ..selection import selection
from ..show.plan import change_table, kept_table, outcome, totals_line
from ..show.screen import counted, digits, emit, nbytes, say, table, unit_for


def plan(
    source: Source,
    spec: Format = None,
    dialect: Dialect = "native",
    only: Only = None,
    skip: Skip = None,
    rule: Rule = None,
    target: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the result is to go, to look at the free disk space.", parser=path_of),
    ] = None,
    units: Annotated[bool, typer.Option("--units", help="List the units, for sharing them out.")] = False,
    patterns: Patterns = None,
    keep_foreign: KeepForeign = False,
    weights_only: WeightsOnly = False,
    all_files: AllFiles = False,
    json: Json = False,
) -> None:
    """Show what quantize would do, and what it takes.

    What becomes of every weight and why, bytes before and after, units, peak memory, disk space.

    Example: [cyan]moeq plan Qwen3-30B-A3B -f nf4 --dialect bitsandbytes[/cyan]
    """
    place = Path(os.path.abspath(source))  # also of "."
    target = target or place.parent / f"{place.name}.moeq"
    job = Conversion(source, target, checked_dialect(dialect), checked_target(spec), read_patterns(patterns), keep_foreign,
                     weights_only, all_files)  # fmt: skip
    with open_reader(source, all_files=all_files, patterns=patterns) as reader:
        job.selection = selection(reader, only, skip, rule)
        job.prepare(reader)
    if json:
        emit(job.plan.json)
    else:
        show(job, units)


def show(job: Conversion, units: bool) -> None:
    plan, totals = job.plan, job.plan.totals
    say(*change_table(plan, job.stacks))
    if plan.kept:
        say(*kept_table(plan))
    if units:
        say(units_table(plan))
    free = free_bytes(job.target)
    say(
        *outcome(plan, job.experts, "quantized: "),
        totals_line(plan),
        f"{counted(totals.units, 'unit')}; a process takes at most {nbytes(totals.peak)} of memory for one",
        f"disk: {nbytes(totals.bytes_out)} are needed" + ("" if free is None else f", {nbytes(free)} are free"),
    )
    job.tell()


def units_table(made: Plan) -> Any:
    unit, size = unit_for(max((one.bytes_in for one in made.units), default=0))
    rows = []
    for one in made.units:
        stacks = list(dict.fromkeys(weight.stack for weight in one.weights))
        what = stacks[0] if len(stacks) == 1 else f"{one.copied_tensors} tensors as they are"
        cells = [digits(getattr(one, column), size) for column in ("bytes_in", "bytes_out", "peak")]
        rows.append((one.unit, what, *cells))
    columns = [("unit", "right"), ("does", "left"), (f"reads\n{unit}", "right"),
               (f"writes\n{unit}", "right"), (f"memory\n{unit}", "right")]  # fmt: skip
    return table("Units", columns, rows)
