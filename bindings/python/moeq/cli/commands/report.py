"""moeq report: errors of each expert in each layer, as table, pictures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..ending import CommandError, Status
from ..job import run
from ..options import Against, Json, Lenient, NoProgress, Patterns, Quiet, Source, open_reader, path_of
from ..show.figures import ERROR_TITLE, Columns, Lines, error_lines, lines_of, title_of
from ..show.screen import console, emit, say, table

TABLE_LINES = 200


def report(
    path: Source,
    against: Against = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for the pictures.", parser=path_of)
    ] = None,
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
    from ..measure.experts import measure, survey

    if html and out is None:
        raise CommandError("--html: got no folder for the page", "add --out DIR")
    if out is not None and out.exists() and not out.is_dir():
        raise CommandError(f"--out: {out} is no folder", "choose another one, or remove it")
    with open_reader(path, lenient=lenient, patterns=patterns) as reader:
        if against is None:
            if not reader.stacks:
                raise CommandError(f"{path} has no expert weights", "moeq inspect lists what it has", Status.INPUT)
            facts = run(lambda tell: survey(reader, tell), shown=not (quiet or no_progress))
        else:
            with open_reader(against, lenient=lenient, patterns=patterns) as source:
                facts = run(lambda tell: measure(reader, source, tell), shown=not (quiet or no_progress))
    facts |= {"path": str(path), "against": None if against is None else str(against), "files": []}
    if out is not None:
        from ..show import pictures

        facts["files"] = [str(file) for file in pictures.draw_all(facts, out, html=html)]
    if json:
        emit(facts)
    elif not quiet:
        show(facts)


NARROW, NARROW_COLUMNS = 100, 7  # characters; a terminal with fewer gets the columns that matter most


def figures_table(title: str, columns: Columns, lines: Lines) -> Any:
    shown = NARROW_COLUMNS if console().width < NARROW else len(columns)
    return table(title, columns[:shown], [line[:shown] for line in lines[:TABLE_LINES]])


def errors_table(weights: list[dict[str, Any]]) -> Any:
    return figures_table(ERROR_TITLE, *error_lines(weights[:TABLE_LINES]))


def show(facts: dict[str, Any]) -> None:
    weights = facts["weights"]
    say(figures_table(title_of(facts), *lines_of(facts)))
    if len(weights) > TABLE_LINES:
        say(f"... and {len(weights) - TABLE_LINES} more; --json has all")
    for name in facts["only_here"]:
        say(f"not in the source: {name}")
    for file in facts["files"]:
        say(f"wrote {file}")
