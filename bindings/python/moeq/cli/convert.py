"""moeq convert: the same weights in another project's layout."""

from __future__ import annotations

from typing import Annotated

import typer

from .._spec import Spec
from ._exit import CommandError
from ._options import (
    Json,
    NoProgress,
    NotDurable,
    Patterns,
    Quiet,
    Source,
    Target,
    open_reader,
    read_patterns,
)
from ._plan import changes
from ._screen import emit
from .quantize import Finish, Job, Units, unit_range


def convert(
    source: Source,
    target: Target,
    dialect: Annotated[
        str, typer.Option(metavar="NAME", help="Layout to make: native, bitsandbytes, compressed-tensors or hf-fp8.")
    ],
    spec: Annotated[
        str | None,
        typer.Option("--spec", "-f", metavar="SPEC", help="Another format; loses precision: see --allow-lossy."),
    ] = None,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Also where weights have to be quantized anew.")
    ] = False,
    units: Units = None,
    finish: Finish = None,
    patterns: Patterns = None,
    no_sync: NotDurable = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Bring quantized weights into another layout.

    The same codes and scales, under the names and in the shapes that other projects look for. Refuses to quantize anew.

    Example: [cyan]moeq convert out out-bnb --dialect bitsandbytes[/cyan]
    """
    job = Job(source, target, dialect, None if spec is None else Spec(spec), read_patterns(patterns))
    job.units, job.durable = unit_range(units), not no_sync
    job.finish = units is None if finish is None else finish
    with open_reader(source, patterns=patterns) as reader:
        stacks = reader.stacks
    lossy = [change for change in changes(job.make_plan(), stacks) if change.lossy and change.before != change.after]
    if lossy and not allow_lossy:
        one = lossy[0]
        more = f" and {len(lossy) - 1} more" if len(lossy) > 1 else ""
        raise CommandError(
            f"{one.name}{more} would be quantized anew, from {one.before} to {one.after}",
            "--allow-lossy does it; moeq quantize makes a format from the original weights",
        )
    job.go(stacks, shown=not (quiet or no_progress), quiet=quiet or json)
    if json:
        emit(job.facts)
    elif not quiet:
        job.show()
