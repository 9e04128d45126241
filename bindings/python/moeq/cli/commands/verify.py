"""moeq verify: whether a checkpoint is whole and sane, and how far it is from its source."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from ... import Reader
from ...names import FLOATS
from ..ending import CommandError, Status
from ..job import run
from ..options import Against, Json, Lenient, NoProgress, Patterns, Quiet, Source, open_reader
from ..show.plan import KEPT_DENSE
from ..show.screen import console, counted, emit, nbytes, printable, say

SHOWN = 50  # problems on the screen; JSON has all


def verify(
    path: Source,
    against: Against = None,
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
    if not max_error >= 0:  # NaN neither
        raise CommandError(f"--max-error: got {max_error:g}; wanted 0 or more", "0.25 stands for 25 %")
    with open_reader(path, lenient=lenient, patterns=patterns) as reader:
        found = run(reader.verify, shown=not (quiet or no_progress))
        found["path"] = str(path)
        asked = left_dense(path)
        found["left_dense"] = [one["name"] for one in found["problems"] if is_left(one, asked)]
        found["problems"] = [one for one in found["problems"] if not is_left(one, asked)]
        if against is not None:
            with open_reader(against, lenient=lenient, patterns=patterns) as source:
                compare(reader, source, max_error, not (quiet or no_progress), found)
            found["against"] = str(against)
    if json:
        emit(found)
    elif not quiet or found["problems"]:
        show(found, quiet)
    return Status.PROBLEMS if found["problems"] else Status.OK


def compare(reader: Reader, source: Reader, max_error: float, shown: bool, found: dict[str, Any]) -> None:
    """Adds errors and problems: of what is quantized here, and of what is dense and was quantized there."""
    from ..measure.dense import compare_dense, made_dense, problems_of_dense
    from ..measure.experts import measure, problems_of

    made = made_dense(reader, source)
    if made:
        found["made_dense"] = run(lambda tell: compare_dense(reader, source, made, tell), shown=shown)
        found["problems"] = [*found["problems"], *problems_of_dense(found["made_dense"])]
    if not made or any(stack.quantized for stack in reader.stacks):
        measured = run(lambda tell: measure(reader, source, tell), shown=shown)
        found["errors"] = measured["weights"]
        found["problems"] = [*found["problems"], *problems_of(measured, max_error)]


def left_dense(path: Path) -> set[str]:
    """Weights that were to stay dense when the checkpoint was made, as its report says."""
    try:
        report = json_module.loads((path / "moeq_report.json").read_text("utf-8"))
        made = {weight["stack"] for weight in report["weights"] if weight["spec"] in FLOATS}
        return made | {entry["name"] for entry in report["kept"] if entry["reason"] in KEPT_DENSE}
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # what is wrong with it is a problem of its own


def is_left(problem: dict[str, Any], names: set[str]) -> bool:
    return problem.get("kind") == "dense_experts" and problem.get("name") in names


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
    "unlisted": "in a file, but not in the index",
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
    if "made_dense" in found and not any(line["different"] for line in found["made_dense"]):
        from ..measure.dense import summary

        say(summary(found["made_dense"]))
    verdict = counted(len(problems), "problem") if problems else "no problems"
    screen.print(f"{found['path']}: {verdict}", style="bold red" if problems else "bold green")
    if found["left_dense"]:
        say(f"left dense, as was asked for when it was made: {counted(len(found['left_dense']), 'expert weight')}")
    say(f"checked: {checked}")
