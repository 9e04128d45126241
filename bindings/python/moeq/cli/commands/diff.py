"""moeq diff: where two checkpoints differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..ending import Status
from ..job import run
from ..options import Json, Lenient, NoProgress, Patterns, Quiet, open_reader, path_of
from ..show.screen import console, emit, say, table


def diff(
    a: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint: a folder, or one .safetensors file.", show_default=False, parser=path_of, metavar="A"
        ),
    ],
    b: Annotated[Path, typer.Argument(help="The other one.", show_default=False, parser=path_of, metavar="B")],
    worst: Annotated[
        int, typer.Option(min=0, metavar="N", help="How many differences to list, the largest first.")
    ] = 20,
    patterns: Patterns = None,
    lenient: Lenient = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> Status:
    """Compare the values of two checkpoints.

    Every tensor and every expert; dense and quantized, fused and per-expert weights may be compared with each other.
    Exit status 1 when something differs.

    Example: [cyan]moeq diff Qwen3-30B-A3B out --worst 10[/cyan]
    """
    from ..measure.difference import compare_all

    with open_reader(a, lenient=lenient, patterns=patterns) as left:
        with open_reader(b, lenient=lenient, patterns=patterns) as right:
            facts = run(lambda tell: compare_all(left, right, tell), shown=not (quiet or no_progress))
    facts = {"a": str(a), "b": str(b), **facts}
    if json:
        emit(facts)
    elif not quiet:
        show(facts, worst)
    return Status.OK if facts["same"] else Status.PROBLEMS


def title_of(shown: int, found: int) -> str:
    if found == 1:
        return "The one difference"
    if shown == found:
        return f"All {found} differences, the largest first"
    return f"The largest of {found} differences" if shown == 1 else f"The {shown} largest differences of {found}"


def show(facts: dict[str, Any], worst: int) -> None:
    lines = facts["compared"]
    different = [line for line in lines if not line["equal"]]
    # What cannot be measured comes first.
    different.sort(key=lambda line: (line["rmse"] is not None, -(line.get("relative") or 0.0)))
    if different and worst:
        columns = [("tensor", "left"), ("expert", "right"), ("max\n|a - b|", "right"), ("rms of\na - b", "right"),
                   ("% of\nrms of a", "right"), ("", "left")]  # fmt: skip
        rows = [
            (
                line["name"],
                "" if line["expert"] is None else line["expert"],
                "" if line["max_abs"] is None else f"{line['max_abs']:.4g}",
                "" if line["rmse"] is None else f"{line['rmse']:.4g}",
                "" if line.get("relative") is None else f"{100 * line['relative']:.4g}",
                line.get("note", ""),
            )
            for line in different[:worst]
        ]
        say(table(title_of(len(rows), len(different)), columns, rows))
    for side, where in (("only_in_a", "a"), ("only_in_b", "b")):
        for name in facts[side][: worst or None]:
            say(f"only in {where}: {name}")
    verdict = "the same" if facts["same"] else "different"
    apart = len(facts["only_in_a"]) + len(facts["only_in_b"])
    screen = console()
    screen.print(f"{facts['a']} and {facts['b']}: {verdict}", style="bold green" if facts["same"] else "bold red")
    say(
        f"{len(lines) - len(different)} of {len(lines)} tensors and experts have equal values, {len(different)} differ"
        + (f", {apart} are in one only" if apart else "")
    )
