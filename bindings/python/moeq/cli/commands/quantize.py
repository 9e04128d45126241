"""moeq quantize: a checkpoint's experts into another format, streamed and resumable."""

from __future__ import annotations

from typing import Annotated

import typer

from ..conversion import ENGINES, Conversion
from ..ending import CommandError
from ..options import (
    AllFiles,
    Dialect,
    Finish,
    Format,
    Json,
    KeepForeign,
    NoProgress,
    NotDurable,
    Only,
    Patterns,
    Quiet,
    Rule,
    Skip,
    Source,
    Target,
    Units,
    WeightsOnly,
    checked_dialect,
    checked_target,
    nearest,
    open_reader,
    read_patterns,
)
from ..selection import selection

Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="local, or ray: units run on a Ray cluster.", autocompletion=lambda: list(ENGINES)
    ),
]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="With --engine ray: the cluster; default: a local one.")
]


def quantize(
    source: Source,
    target: Target,
    spec: Format = None,
    dialect: Dialect = "native",
    only: Only = None,
    skip: Skip = None,
    rule: Rule = None,
    units: Units = None,
    finish: Finish = None,
    engine: Engine = "local",
    address: Address = None,
    patterns: Patterns = None,
    keep_foreign: KeepForeign = False,
    weights_only: WeightsOnly = False,
    all_files: AllFiles = False,
    no_sync: NotDurable = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Quantize a checkpoint's experts into a new checkpoint.

    Streams, so that memory holds one weight's codes and small buffers. After an interruption the same command goes on
    with what is missing. Units may be shared out among machines that see the same files. -f bf16 goes the other way:
    what is quantized becomes dense.

    Example: [cyan]moeq quantize Qwen3-30B-A3B out -f nf4 --dialect bitsandbytes[/cyan]
    """
    if spec is None and not any("=" in one for one in rule or ()):
        raise CommandError("--spec: got none; wanted the format of the experts", "for example -f nf4")
    if engine not in ENGINES:
        raise CommandError(f"--engine: got {engine!r}; wanted {' or '.join(ENGINES)}", nearest(engine, ENGINES))
    job = Conversion(source, target, checked_dialect(dialect), checked_target(spec), read_patterns(patterns), keep_foreign,
                     weights_only, all_files)  # fmt: skip
    job.set_steps(units, finish, no_sync)
    with open_reader(source, all_files=all_files, patterns=patterns) as reader:
        job.selection = selection(reader, only, skip, rule)
        job.prepare(reader)
    job.run(engine=engine, address=address, json=json, quiet=quiet, no_progress=no_progress)
