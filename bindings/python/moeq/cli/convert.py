"""moeq convert: the same weights in another project's layout."""

from __future__ import annotations

from typing import Annotated

import typer

from ._conversion import Conversion
from ._exit import CommandError
from ._options import (
    LAYOUTS,
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
    checked_spec,
    open_reader,
    read_patterns,
)
from ._plan import changes
from ._screen import short_spec


def convert(
    source: Source,
    target: Target,
    dialect: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Layout to make: native, bitsandbytes, compressed-tensors or hf-fp8.",
            autocompletion=lambda: list(LAYOUTS),
        ),
    ],
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", "--format", "-f", metavar="SPEC", help="Another format; loses precision: see --allow-lossy."
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

    Example: [cyan]moeq convert out out-bnb --dialect bitsandbytes[/cyan]
    """
    job = Conversion(source, target, checked_dialect(dialect), checked_spec(spec), read_patterns(patterns), keep_foreign,
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
