"""moeq plan: what a conversion would do, without doing it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _convert
from ._options import (
    Dialect,
    Format,
    Json,
    Only,
    Patterns,
    Rule,
    Skip,
    Source,
    checked_spec,
    lower_rules,
    open_reader,
    read_patterns,
)
from ._plan import change_table, coverage, kept_table, totals_line
from ._screen import emit, nbytes, remark, say


def plan(
    source: Source,
    spec: Format = None,
    dialect: Dialect = "native",
    only: Only = None,
    skip: Skip = None,
    rule: Rule = None,
    target: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the result is to go, to look at the free disk space.")
    ] = None,
    units: Annotated[bool, typer.Option("--units", help="List the units, for sharing them out.")] = False,
    patterns: Patterns = None,
    json: Json = False,
) -> None:
    """Show what quantize would do, and what it takes.

    What becomes of every weight and why, bytes before and after, units, peak memory, disk space.

    Example: [cyan]moeq plan Qwen3-30B-A3B -f nf4 --dialect bitsandbytes[/cyan]
    """
    rules = lower_rules(source, patterns, only, skip, rule)
    target = target or source.parent / f"{source.name}.moeq"
    facts = _convert.plan(
        source,
        target,
        spec=checked_spec(spec),
        dialect=dialect,
        rules=as_pairs(rules),
        patterns=read_patterns(patterns),
    )
    if json:
        emit(facts)
        return
    show(facts, source, patterns, target, units)


def as_pairs(rules: list[dict[str, Any]] | None) -> list[tuple[str, str | None]] | None:
    return None if rules is None else [(rule["match"], rule["spec"]) for rule in rules]


def free_bytes(folder: Path) -> int | None:
    """Free space where a folder is to be made."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(os.fspath(folder)).free
    except OSError:
        return None


def show(facts: dict[str, Any], source: Path, patterns: Path | None, target: Path, units: bool) -> None:
    with open_reader(source, patterns=patterns) as reader:
        stacks = reader.stacks
    totals = facts["totals"]
    say(change_table(facts, stacks))
    if facts["kept"]:
        say(kept_table(facts))
    if units:
        say(units_table(facts))
    free = free_bytes(target)
    count = totals["units"]
    say(
        f"quantized: {coverage(facts, stacks)}",
        totals_line(facts),
        f"{count} unit{'s' * (count != 1)}; a process takes at most {nbytes(totals['peak'])} of memory for one",
        f"disk: {nbytes(totals['bytes_out'])} are needed" + ("" if free is None else f", {nbytes(free)} are free"),
    )
    for note in facts.get("notes", []):
        remark(f"note: {note}")
    for glob in facts.get("unused_rules", []):
        remark(f"note: no weight is called {glob}")


def units_table(facts: dict[str, Any]) -> Any:
    from ._screen import digits, table, unit_for

    unit, size = unit_for(max((one["bytes_in"] for one in facts["units"]), default=0))
    rows = []
    for one in facts["units"]:
        stacks = list(dict.fromkeys(weight["stack"] for weight in one["weights"]))
        what = stacks[0] if len(stacks) == 1 else f"{one['copied_tensors']} tensors as they are"
        cells = [digits(one[column], size) for column in ("bytes_in", "bytes_out", "peak")]
        rows.append((one["unit"], what, *cells))
    columns = [("unit", "right"), ("does", "left"), (f"reads\n{unit}", "right"),
               (f"writes\n{unit}", "right"), (f"memory\n{unit}", "right")]  # fmt: skip
    return table("Units", columns, rows)
