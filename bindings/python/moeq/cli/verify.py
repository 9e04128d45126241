"""moeq verify: whether a checkpoint is whole and sane, and how far it is from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._exit import CommandError, Status
from ._job import run
from ._options import Json, Lenient, NoProgress, Patterns, Quiet, Source, open_reader
from ._screen import console, emit, nbytes, printable, say

SHOWN = 50  # problems on the screen; JSON has all


def verify(
    path: Source,
    against: Annotated[
        Path | None, typer.Option(metavar="SOURCE", help="Compare every expert with this checkpoint too.")
    ] = None,
    max_error: Annotated[
        float, typer.Option(metavar="X", help="With --against: the largest relative rms error that is no problem.")
    ] = 0.25,
    patterns: Patterns = None,
    lenient: Lenient = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> Status:
    """Read everything and list what is wrong.

    Exit status 1 when there is something. With --against every expert is compared with the original, too.

    Example: [cyan]moeq verify out --against Qwen3-30B-A3B[/cyan]
    """
    with open_reader(path, lenient=lenient, patterns=patterns) as reader:
        found = run(reader.verify, shown=not (quiet or no_progress))
        found["path"] = str(path)
        if against is not None:
            from ._measure import measure, problems_of

            with open_reader(against, lenient=lenient, patterns=patterns) as source:
                if not reader.stacks:
                    raise CommandError(f"{path} has no expert weights to compare", "moeq inspect", Status.INPUT)
                measured = run(lambda tell: measure(reader, source, tell), shown=not (quiet or no_progress))
            found["against"] = str(against)
            found["errors"] = measured["weights"]
            found["problems"] = [*found["problems"], *problems_of(measured, max_error)]
    if json:
        emit(found)
    elif not quiet or found["problems"]:
        show(found, quiet)
    return Status.PROBLEMS if found["problems"] else Status.OK


# What the library's kinds of problems mean.
KINDS = {
    "bad_scale": "a scale that is NaN, Inf, or negative where it may not be",
    "nonfinite_weight": "NaN or Inf among dense expert weights",
    "missing_expert": "an expert is missing",
    "dense_expert": "an expert that is not quantized among quantized ones",
    "dense_experts": "expert weights that are not quantized in a quantized checkpoint",
    "mixed_formats": "experts of one weight in several formats",
    "padding": "a last half byte that is not the code of zero",
    "gate_up_scales_differ": "gate and up of an expert have scales of their own",
    "digest": "other bytes than were written",
    "unreadable": "cannot be read",
    "report_entry": "an entry of moeq_report.json that is no digest of a file",
}


def is_place(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def describe(problem: Any) -> str:
    """A problem as one line, whatever fields it has."""
    if not isinstance(problem, dict):
        return str(problem)
    place = [f"{word} {problem[word]}" for word in ("expert", "row", "column") if is_place(problem.get(word))]
    name = str(problem.get("name") or problem.get("stack") or problem.get("tensor") or problem.get("file") or "")
    text = str(problem.get("problem") or problem.get("message") or problem.get("text") or "")
    text = text or KINDS.get(str(problem.get("kind")), str(problem.get("kind") or ""))
    kind = str(problem.get("class") or "")
    head = ", ".join(filter(None, [name, *place]))
    return (f"{head}: {text}" if head else text) + (f" [{kind}]" if kind else "")


def show(found: dict[str, Any], quiet: bool) -> None:
    problems, screen = found["problems"], console()
    for problem in problems[:SHOWN]:
        screen.print(printable(describe(problem)), style="red")
    if len(problems) > SHOWN:
        say(f"... and {len(problems) - SHOWN} more; --json has all")
    if quiet:
        return
    checked = ", ".join(
        f"{nbytes(value) if name == 'bytes' else value} {'' if name == 'bytes' else name.replace('_', ' ')}".strip()
        for name, value in found["checked"].items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    if "errors" in found:
        from .report import errors_table

        say("", errors_table(found["errors"]))
    verdict = f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "no problems"
    screen.print(f"{found['path']}: {verdict}", style="bold red" if problems else "bold green")
    say(f"checked: {checked}")
