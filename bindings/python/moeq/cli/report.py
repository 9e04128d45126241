"""moeq report: errors of each expert in each layer, as table, pictures and a page."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

from ._exit import CommandError, Status
from ._job import run
from ._options import Json, Lenient, NoProgress, Patterns, Quiet, Source, open_reader
from ._screen import console, emit, kind_of, say, short_kind, short_spec, table

TABLE_LINES = 200


def report(
    path: Source,
    against: Annotated[
        Path | None, typer.Option(metavar="SOURCE", help="The checkpoint that it was made from.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for the pictures.")] = None,
    html: Annotated[bool, typer.Option("--html", help="One page with everything, too.")] = False,
    patterns: Patterns = None,
    lenient: Lenient = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Tables and pictures of errors, by layer and expert.

    With --out DIR: errors.png (layer × expert; without a source amax_by_expert.png), amax.png and, with --html,
    report.html, which holds everything.

    Example: [cyan]moeq report out --against Qwen3-30B-A3B --out pictures --html[/cyan]
    """
    from ._measure import measure, survey

    if html and out is None:
        raise CommandError("--html: got no folder for the page", "add --out DIR")
    with open_reader(path, lenient=lenient, patterns=patterns) as reader:
        if not reader.stacks:
            raise CommandError(f"{path} has no expert weights", "moeq inspect lists what it has", Status.INPUT)
        if against is None:
            facts = run(lambda tell: survey(reader, tell), shown=not (quiet or no_progress))
        else:
            with open_reader(against, lenient=lenient, patterns=patterns) as source:
                facts = run(lambda tell: measure(reader, source, tell), shown=not (quiet or no_progress))
    facts |= {"path": str(path), "against": None if against is None else str(against), "files": []}
    if out is not None:
        from . import _pictures

        facts["files"] = [str(file) for file in _pictures.draw_all(facts, out, html=html)]
    if json:
        emit(facts)
    elif not quiet:
        show(facts)


NARROW = 100  # characters; a terminal with fewer gets the figures that matter most


def errors_table(weights: list[dict[str, Any]]) -> Any:
    columns = [("weight", "left"), ("layer", "right"), ("format", "left"), ("rms\nerror %", "right"),
               ("worst\nexpert", "right"), ("its\nerror %", "right"), ("max\nerror", "right"), ("SQNR\ndB", "right"),
               ("satu-\nrated %", "right"), ("zero\ncodes %", "right")]  # fmt: skip
    rows = []
    for weight in weights[:TABLE_LINES]:
        experts: dict[str, list[float]] = weight["experts"]
        errors = experts["relative_rms"]
        error = math.sqrt(statistics.fmean(value * value for value in errors))
        worst = ascending(errors)[-1]
        rows.append(
            (
                *place(weight),
                f"{100 * error:.3f}",
                worst,
                f"{100 * errors[worst]:.3f}",
                f"{max(experts['max_error']):.5f}",
                f"{-20 * math.log10(error):.2f}" if error else "exact",
                f"{100 * statistics.fmean(experts['saturated']):.3f}",
                f"{100 * statistics.fmean(experts['zero']):.3f}",
            )
        )
    shown = 7 if console().width < NARROW else len(columns)
    title = "Errors against the source; rms errors are in % of the weights' rms"
    return table(title, columns[:shown], [row[:shown] for row in rows])


def ascending(values: list[float]) -> list[int]:
    """Experts by their value; NaN is the largest."""
    return sorted(range(len(values)), key=lambda expert: (math.isnan(values[expert]), values[expert]))


def place(weight: dict[str, Any]) -> tuple[str, str, str]:
    """Name, layer and format, the first cells of a line."""
    kind, layer = kind_of(weight["name"])
    return short_kind(kind), "" if layer < 0 else str(layer), short_spec(weight["spec"])


def amax_table(weights: list[dict[str, Any]]) -> Any:
    rows = []
    for weight in weights[:TABLE_LINES]:
        amax: list[float] = weight["experts"]["amax"]
        experts = ascending(amax)
        least, most = experts[0], experts[-1]
        middle = statistics.median([value for value in amax if not math.isnan(value)] or [math.nan])
        cells = f"{amax[most]:.5f}", most, f"{amax[least]:.5f}", least, f"{middle:.5f}"
        rows.append((*place(weight), *cells))
    columns = [("weight", "left"), ("layer", "right"), ("format", "left"), ("largest\namax", "right"),
               ("of\nexpert", "right"), ("smallest\namax", "right"), ("of\nexpert", "right"),
               ("median\namax", "right")]  # fmt: skip
    shown = 7 if console().width < NARROW else len(columns)
    return table("Largest absolute value of each expert", columns[:shown], [row[:shown] for row in rows])


def show(facts: dict[str, Any]) -> None:
    weights = facts["weights"]
    say(errors_table(weights) if facts["against"] else amax_table(weights))
    if len(weights) > TABLE_LINES:
        say(f"... and {len(weights) - TABLE_LINES} more; --json has all")
    for name in facts["only_here"]:
        say(f"not in the source: {name}")
    for file in facts["files"]:
        say(f"wrote {file}")
