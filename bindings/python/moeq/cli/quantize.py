"""moeq quantize: a checkpoint's experts into another format, streamed and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _convert
from .._context import default_context
from .._reader import StackInfo
from .._spec import Spec
from ._exit import CommandError, Status
from ._job import Clock, memory_now, peak_memory, run
from ._options import (
    Dialect,
    Json,
    NoProgress,
    NotDurable,
    Only,
    Patterns,
    Quiet,
    Rule,
    Skip,
    Source,
    Target,
    lower_rules,
    open_reader,
    read_patterns,
    unit_range,
)
from ._plan import coverage, totals_line
from ._screen import duration, emit, nbytes, rate, remark, say
from .plan import as_pairs

Units = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Do only these units of the plan; others may run anywhere at the same time."),
]
Finish = Annotated[
    bool | None,
    typer.Option("--finish/--no-finish", help="Put the target in its place; default: yes, unless --units is given."),
]
Engine = Annotated[str, typer.Option(metavar="NAME", help="local, or ray: units run on a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="With --engine ray: the cluster; default: a local one.")
]


def quantize(
    source: Source,
    target: Target,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", "-f", metavar="SPEC", help="Format of the experts: nf4, nf4:64,nested, int8, fp8_e4m3 ..."
        ),
    ] = None,
    dialect: Dialect = "native",
    only: Only = None,
    skip: Skip = None,
    rule: Rule = None,
    units: Units = None,
    finish: Finish = None,
    engine: Engine = "local",
    address: Address = None,
    patterns: Patterns = None,
    no_sync: NotDurable = False,
    json: Json = False,
    quiet: Quiet = False,
    no_progress: NoProgress = False,
) -> None:
    """Quantize a checkpoint's experts into a new checkpoint.

    Streams, so that memory holds one weight's codes and small buffers. After an interruption the same command goes on
    with what is missing. Units may be shared out among machines that see the same files.

    Example: [cyan]moeq quantize Qwen3-30B-A3B out -f nf4 --dialect bitsandbytes[/cyan]
    """
    if spec is None and not any("=" in one for one in rule or ()):
        raise CommandError("--spec: got none; wanted the format of the experts", "for example -f nf4")
    job = Job(source, target, dialect, None if spec is None else Spec(spec), read_patterns(patterns))
    job.rules = as_pairs(lower_rules(source, patterns, only, skip, rule))
    job.units, job.durable = unit_range(units), not no_sync
    job.finish = units is None if finish is None else finish
    if engine not in ("local", "ray"):
        raise CommandError(f"--engine: got {engine!r}; wanted local or ray")
    with open_reader(source, patterns=patterns) as reader:
        stacks = reader.stacks
    job.go(stacks, engine=engine, address=address, shown=not (quiet or no_progress), quiet=quiet or json)
    if json:
        emit(job.facts)
    elif not quiet:
        job.show()


class Job:
    """A conversion, and what there is to say about it."""

    def __init__(self, source: Path, target: Path, dialect: str, spec: Spec | None, patterns: str | None) -> None:
        self.source, self.target, self.dialect, self.spec, self.patterns = source, target, dialect, spec, patterns
        self.rules: list[tuple[str, str | None]] | None = None
        self.units: tuple[int, int] | None = None
        self.finish = self.durable = True
        self.facts: dict[str, Any] = {}
        self.plan: dict[str, Any] = {}
        self._partial = Path(f"{target}.partial")

    @property
    def arguments(self) -> dict[str, Any]:
        """What plan and convert both take."""
        return {"spec": self.spec, "dialect": self.dialect, "rules": self.rules, "patterns": self.patterns}

    def make_plan(self) -> dict[str, Any]:
        self.plan = _convert.plan(self.source, self.target, **self.arguments)
        return self.plan

    def go(
        self,
        stacks: tuple[StackInfo, ...],
        *,
        engine: str = "local",
        address: str | None = None,
        shown: bool,
        quiet: bool,
    ) -> None:
        plan = self.plan or self.make_plan()
        for glob in plan.get("unused_rules", []):
            if not quiet:
                remark(f"note: no weight is called {glob}")
        chosen = plan["units"] if self.units is None else plan["units"][slice(*self.units)]
        if not chosen:
            raise CommandError(f"--units: the plan has {len(plan['units'])} units", "moeq plan lists them")
        wanted = self.spec is not None or any(spec for _, spec in self.rules or ())
        if wanted and not plan["totals"]["weights_quantized"] and not any(stack.quantized for stack in stacks):
            raise CommandError(
                f"{self.source}: nothing in it would be quantized",
                "moeq plan says why; a model type that moeq does not know needs --patterns, a single file its folder",
                Status.INPUT,
            )
        going_on = self._partial.is_dir()
        if going_on and not quiet:
            remark(f"going on with {self._partial}: units that are finished are checked and kept")
        clock, before = Clock(), memory_now()
        resume = f"what is finished is in {self._partial}; the same command goes on from there"
        if engine == "ray":
            from .. import ray

            run(
                lambda tell: ray.convert(
                    self.source, self.target, address=address, units=self.units, finish=self.finish, progress=tell,
                    durable=self.durable, **self.arguments
                ),
                shown=shown,
                resume=resume,
            )  # fmt: skip
        else:
            run(
                lambda tell: _convert.convert(
                    self.source, self.target, units=self.units, finish=self.finish, progress=tell, durable=self.durable,
                    **self.arguments
                ),
                shown=shown,
                resume=resume,
            )  # fmt: skip
        seconds, bytes_in = clock.seconds, sum(unit["bytes_in"] for unit in chosen)
        bytes_out = sum(unit["bytes_out"] for unit in chosen)
        covered = coverage(plan, stacks)
        self.facts = {
            "source": str(self.source),
            "target": str(self.target if self.finish else self._partial),
            "spec": None if self.spec is None else str(self.spec),
            "dialect": self.dialect,
            "plan": plan["hash"],
            "units": [0, len(plan["units"])] if self.units is None else [self.units[0], self.units[0] + len(chosen)],
            "finished": self.finish,
            "resumed": going_on,
            **covered.facts(),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "seconds": seconds,
            "gb_per_s": bytes_in / seconds / 1e9,
            "peak_memory": peak_memory(),
            "peak_memory_growth": peak_memory() - before,
            "library_peak_memory": default_context().memory().host_peak,
        }
        self._coverage = covered

    def show(self) -> None:
        facts = self.facts
        if self.finish:
            say(f"{self._coverage}", totals_line(self.plan))
        else:
            begin, end = facts["units"]
            say(f"units {begin} to {end - 1} of {len(self.plan['units'])} are in {self._partial}")
        pace = "" if facts["resumed"] else f", {rate(facts['bytes_in'], facts['seconds'])} read"
        say(
            f"{duration(facts['seconds'])}{pace}, peak memory {nbytes(facts['peak_memory'])}",
            f"{'wrote' if self.finish else 'next: the other units, then --finish;'} {facts['target']}",
        )
