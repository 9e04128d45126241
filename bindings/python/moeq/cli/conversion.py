"""A conversion as a command runs it: what it is asked for, what is said before it, and what came of it."""

from __future__ import annotations

import os
import shlex
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import moeq

from .. import Plan, PlanUnit, ProgressFunction, Reader, Spec, StackInfo, default_context
from .ending import CommandError, Status
from .job import Clock, memory_now, peak_memory, run
from .options import expert_stacks, unit_range
from .selection import Selection
from .show.plan import coverage, foreign_text, made_dense, notes, outcome, requantized, totals_line
from .show.screen import counted, duration, emit, nbytes, rate, remark, say

ENGINES = ("local", "ray")


def free_bytes(folder: Path) -> int | None:
    """Free space where a folder is to be made."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(os.fspath(folder)).free
    except OSError:
        return None


@dataclass
class Conversion:
    """The arguments of moeq.convert, and what there is to say about them.

    units: [begin, end) of the plan's; None: all. selection: rules of the command line.
    """

    source: Path
    target: Path
    dialect: str = "native"
    spec: Spec | str | None = None
    patterns: str | None = None
    keep_foreign: bool = False
    weights_only: bool = False
    all_files: bool = False
    selection: Selection = field(default_factory=Selection)
    units: tuple[int, int] | None = None
    finish: bool = True
    durable: bool = True
    stacks: tuple[StackInfo, ...] = ()
    experts: list[StackInfo] = field(default_factory=list)  # of the stacks those that are weights of experts
    made: Plan | None = None
    remarks: list[str] = field(default_factory=list)

    def set_steps(self, units: str | None, finish: bool | None, no_sync: bool) -> None:
        """As the options of these names say."""
        self.units, self.durable = unit_range(units), not no_sync
        self.finish = units is None if finish is None else finish

    @property
    def partial(self) -> Path:
        return Path(f"{self.target}.partial")

    @property
    def plan(self) -> Plan:
        """What `prepare` has made."""
        assert self.made is not None
        return self.made

    @property
    def arguments(self) -> dict[str, Any]:
        """What plan and convert both take."""
        rules = self.selection.rules or None
        flags = {name: getattr(self, name) for name in ("keep_foreign", "weights_only", "all_files")}
        return {"spec": self.spec, "dialect": self.dialect, "rules": rules, "patterns": self.patterns} | flags

    def prepare(self, reader: Reader) -> Plan:
        """Makes the plan. reader: of the source."""
        self.check_target()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of rules: there are remarks about these
            plan = moeq.plan(self.source, self.target, **self.arguments)
        self.made = self.selection.translate(plan)
        self.stacks, self.experts = reader.stacks, expert_stacks(reader)
        self.remarks = [*self.selection.remarks(self.plan, reader), *notes(self.plan, self.wanted)]
        return self.plan

    def check_target(self) -> None:
        """That it is not a part of the source."""
        source = self.source.resolve()
        if source.is_dir() and source in self.target.resolve().parents:
            raise CommandError(f"{self.target} is inside of {self.source}", "the target has to be a folder of its own")

    def tell(self) -> None:
        for line in self.remarks:
            remark(f"note: {line}")

    @property
    def wanted(self) -> bool:
        """Whether any format was asked for."""
        return self.spec is not None or any(spec for _, spec in self.selection.rules)

    @property
    def chosen(self) -> Sequence[PlanUnit]:
        """The units of the plan that are to be done."""
        return self.plan.units if self.units is None else self.plan.units[slice(*self.units)]

    def check(self) -> None:
        """That there is something to do."""
        if not self.chosen:
            raise CommandError(f"--units: the plan has {len(self.plan.units)} units", "moeq plan lists them")
        totals = self.plan.totals
        nothing = not (totals.weights_quantized or totals.weights_made_dense)
        if nothing and isinstance(self.spec, str) and not any(stack.quantized for stack in self.stacks):
            foreign = self.plan.foreign
            raise CommandError(
                f"{self.source}: nothing in it is quantized that could be made {self.spec}"
                + (f"; it is {foreign_text(foreign)}" if foreign else ""),
                "" if foreign else "what is dense keeps its type",
                Status.INPUT,
            )
        if self.wanted and nothing and not any(stack.quantized for stack in self.stacks):
            options = self.selection.leaving(self.plan, self.stacks)
            if options:
                raise CommandError(f"{self.source}: nothing in it would be quantized", f"because of {options}")
            if self.plan.foreign:
                raise CommandError(
                    f"{self.source}: nothing in it would be quantized; it is {foreign_text(self.plan.foreign)}",
                    "start from the original in bf16",
                    Status.INPUT,
                )
            if self.plan.odd_experts:
                raise CommandError(
                    f"{self.source}: nothing in it would be quantized; its experts are {self.plan.odd_experts}",
                    "moeq leaves such ones as they are",
                    Status.INPUT,
                )
            raise CommandError(
                f"{self.source}: nothing in it would be quantized",
                "moeq plan says why; a model type that moeq does not know needs --patterns, a single file its folder",
                Status.INPUT,
            )
        parent = self.target.parent
        if not parent.is_dir():
            raise CommandError(f"there is no folder {parent}, in which {self.target.name} is to be made",
                               f"mkdir -p {shlex.quote(str(parent))}", Status.INPUT)  # fmt: skip

    def tell_space(self) -> None:
        """A remark when what is to be written is more than there is room for."""
        needed = sum(unit.bytes_out for unit in self.chosen if unit.unit not in self.plan.finished)
        free = free_bytes(self.target)
        if free is not None and needed > free:
            remark(f"note: {nbytes(needed)} are to be written, and {nbytes(free)} are free where {self.target} is")

    def work(self, engine: str, address: str | None) -> Callable[[ProgressFunction], None]:
        options: dict[str, Any] = {"units": self.units, "finish": self.finish, "durable": self.durable}

        def body(tell: ProgressFunction) -> None:
            if engine == "local":
                self.plan.run(progress=tell, **options)
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # Ray's own
                moeq.ray.run(self.plan, address=address, progress=tell, **options)

        return body

    def run(
        self, *, engine: str = "local", address: str | None = None, json: bool, quiet: bool, no_progress: bool
    ) -> None:
        """Does it, and says what came of it."""
        loud = not (quiet or json)
        if loud:
            self.tell()
        self.check()
        if self.plan.finished and loud:
            remark(f"going on with {self.partial}: units that are finished are checked and kept")
        if loud:
            self.tell_space()
        clock, before = Clock(), memory_now()
        resume = f"what is finished is in {self.partial}; the same command goes on from there"
        run(self.work(engine, address), shown=not (quiet or no_progress), resume=resume)
        resumed = any(unit.unit in self.plan.finished for unit in self.chosen)
        facts = self.facts(clock.seconds, before) | {"resumed": resumed}
        if resumed or engine != "local":  # not what this process read in that time
            facts["gb_per_s"] = None
        if json:
            emit(facts)
        elif not quiet:
            self.show(facts)

    def facts(self, seconds: float, memory_before: int) -> dict[str, Any]:
        bytes_in, bytes_out = (sum(getattr(unit, key) for unit in self.chosen) for key in ("bytes_in", "bytes_out"))
        begin = 0 if self.units is None else self.units[0]
        return {
            "source": str(self.source),
            "target": str(self.target if self.finish else self.partial),
            "spec": None if self.spec is None else str(self.spec),
            "dialect": self.plan.dialect,
            "plan": self.plan.hash,
            "units": [begin, begin + len(self.chosen)],
            "finished": self.finish,
            **coverage(self.plan, self.experts).facts(),
            "made_dense": made_dense(self.plan),
            "requantized": requantized(self.plan),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "seconds": seconds,
            "gb_per_s": bytes_in / seconds / 1e9,
            "peak_memory": peak_memory(),
            "peak_memory_growth": peak_memory() - memory_before,
            "library_peak_memory": default_context().memory().host_peak,
        }

    def show(self, facts: dict[str, Any]) -> None:
        if self.finish:
            say(*outcome(self.plan, self.experts), totals_line(self.plan))
        else:
            begin, end = facts["units"]
            say(f"units {begin} to {end - 1} of {len(self.plan.units)} are in {self.partial}")
        pace = "" if facts["gb_per_s"] is None else f", {rate(facts['bytes_in'], facts['seconds'])} read"
        say(f"{duration(facts['seconds'])}{pace}, peak memory {nbytes(facts['peak_memory'])}")
        say(f"wrote {facts['target']}" if self.finish else f"next: {self.next_step()}")

    def next_step(self) -> str:
        left = len(self.plan.units) - len(self.plan.again().finished)
        if not left:
            return f"the same command without --units and --no-finish makes {self.target} of it"
        return f"{counted(left, 'other unit')}, anywhere; the same command without --units does them, and the end"
