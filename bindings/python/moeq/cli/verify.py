"""moeq verify: whether a checkpoint is whole and sane, and how far it is from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._exit import CommandError, Status
from ._job import run
from ._options import Json, Lenient, NoProgress, Patterns, Quiet, Source, open_reader
from ._screen import console, counted, emit, nbytes, printable, say

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


COUNTS = {"nan": "NaN", "inf": "Inf", "negative": "negative"}

# What the library's kinds of problems mean.
KINDS = {
    "bad_scale": "a scale that is NaN, Inf, or negative where it may not be",
    "nonfinite_weight": "NaN or Inf among dense expert weights",
    "missing_expert": "an expert is missing",
    "dense_expert": "an expert that is not quantized among quantized ones",
    "dense_experts": "expert weights that are not quantized in a quantized checkpoint",
    "mixed_formats": "experts of one weight in several formats",
    "codes_without_scales": "codes whose scales are missing",
    "padding": "a last half byte that is not the code of zero",
    "gate_up_scales_differ": "gate and up of an expert have scales of their own",
    "digest": "other bytes than were written",
    "unreadable": "cannot be read",
    "report_entry": "an entry of moeq_report.json that is no digest of a file",
}


def describe(problem: dict[str, Any]) -> str:
    """A problem as one line."""
    kind = str(problem.get("kind", ""))
    head = str(problem["name"]) + (f", expert {problem['expert']}" if "expert" in problem else "")
    text = str(problem.get("problem") or problem.get("message") or KINDS.get(kind, kind))
    counts = [f"{problem[what]} {word}" for what, word in COUNTS.items() if problem.get(what)]
    others = [str(problem[what]) for what in ("weight", "other") if what in problem]
    return f"{head}: {text}" + (f" ({', '.join(counts + others)})" if counts or others else "")


def show(found: dict[str, Any], quiet: bool) -> None:
    problems, screen = found["problems"], console()
    for problem in problems[:SHOWN]:
        screen.print(printable(describe(problem)), style="red")
    if len(problems) > SHOWN:
        say(f"... and {len(problems) - SHOWN} more; --json has all")
    if quiet:
        return
    checked = ", ".join(
        nbytes(value) if name == "bytes" else f"{value} {name.replace('_', ' ')}"
        for name, value in found["checked"].items()
    )
    if "errors" in found:
        from .report import errors_table

        say("", errors_table(found["errors"]))
    verdict = counted(len(problems), "problem") if problems else "no problems"
    screen.print(f"{found['path']}: {verdict}", style="bold red" if problems else "bold green")
    say(f"checked: {checked}")
