"""moeq convert: the same weights in another project's layout."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import Spec
from ..conversion import Conversion
from ..ending import CommandError
from ..options import (
    LAYOUTS,
    TARGETS,
    AllFiles,
    Finish,
    Json,
    KeepForeign,
    NoProgress,
    NotDurable,
    Patterns,
    Quiet,
    Source,
    Target,
    Units,
    WeightsOnly,
    checked_dialect,
    checked_target,
    open_reader,
    read_patterns,
)
from ..show.plan import changes
from ..show.screen import short_spec


def convert(
    source: Source,
    target: Target,
    dialect: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layout to make: native, bitsandbytes, compressed-tensors or hf-fp8. Not needed for -f bf16.",
            autocompletion=lambda: list(LAYOUTS),
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            "--format",
            "-f",
            metavar="SPEC",
            help="bf16, fp16 or fp32: dense weights. Or another format; loses precision: see --allow-lossy.",
            autocompletion=lambda: list(TARGETS),
        ),
    ] = None,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Also where weights have to be quantized anew.")
    ] = False,
    units: Units = None,
    finish: Finish = None,
    patterns: Patterns = None,
    keep_foreign: KeepForeign = False,
    weights_only: WeightsOnly = False,
    all_files: AllFiles = False,
    no_sync: NotDurable = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Bring quantized weights into another layout.

    The same codes and scales, under the names and in the shapes that other projects look for. Refuses to quantize anew.
    With -f bf16 all that is quantized becomes dense: decoded in fp32 and rounded once.

    Example: [cyan]moeq convert out out-bnb --dialect bitsandbytes[/cyan]

    Example: [cyan]moeq convert out out-bf16 -f bf16[/cyan]
    """
    wanted = checked_target(spec)
    if dialect is None and (wanted is None or isinstance(wanted, Spec)):
        raise CommandError(
            f"--dialect: got none; wanted {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}", "or -f bf16 for dense weights"
        )
    job = Conversion(source, target, checked_dialect(dialect or LAYOUTS[0]), wanted, read_patterns(patterns), keep_foreign,
                     weights_only, all_files)  # fmt: skip
    job.set_steps(units, finish, no_sync)
    with open_reader(source, all_files=all_files, patterns=patterns) as reader:
        plan = job.prepare(reader)
    lossy = [change for change in changes(plan, job.stacks) if change.lossy and change.before != change.after]
    if lossy and not allow_lossy:
        one = lossy[0]
        more = f" and {len(lossy) - 1} more" if len(lossy) > 1 else ""
        raise CommandError(
            f"{one.name}{more} would be quantized anew, from {short_spec(one.before)} to {short_spec(one.after)}",
            "--allow-lossy does it; moeq quantize makes a format from the original weights",
        )
    job.run(json=json, quiet=quiet, no_progress=no_progress)
