"""Plan: what a conversion would do, as the library has planned it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ._progress import ProgressFunction

if TYPE_CHECKING:
    from ._convert import Request

# Fields that the library's JSON has only where there is something to say.
SOMETIMES = ("detail", "requantized_from", "decoded_from")


@dataclass(frozen=True, slots=True)
class PlanWeight:
    """A weight that a unit writes in codes, or that it makes dense.

    spec: a spec, or "bf16" and its like. stack: of the source, that it is made of. requantized_from, decoded_from: the
    spec of codes that are quantized anew, or made dense; None for all others.
    """

    name: str
    spec: str
    shape: tuple[int, ...]
    bytes: int
    stack: str
    requantized_from: str | None = None
    decoded_from: str | None = None


@dataclass(frozen=True, slots=True)
class PlanUnit:
    """What is done together, into one file. unit: its number. peak: bytes of memory that it takes at most."""

    unit: int
    file: str
    bytes_in: int
    bytes_out: int
    peak: int
    weights: tuple[PlanWeight, ...]
    copied_tensors: int


@dataclass(frozen=True, slots=True)
class PlanKept:
    """A tensor or stack that stays as it is, or that is left out. detail: the spec that it has, or the rule."""

    name: str
    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class PlanSource:
    """What is read. dialect: "none" where nothing in it is quantized."""

    dialect: str
    model_type: str
    files: int
    tensors: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """Of all units. peak: of the one that takes most. stacks, experts: of weights that are quantized in the end."""

    units: int
    bytes_in: int
    bytes_out: int
    peak: int
    weights_quantized: int
    weights_made_dense: int
    stacks: int
    experts: int


@dataclass(frozen=True, slots=True)
class ForeignCodes:
    """Codes of a scheme that moeq does not read. codes: how many tensors; lost: their scales are in no file."""

    scheme: str
    detail: str
    codes: int
    first: str | None
    lost: bool


@dataclass(frozen=True)
class Plan:
    """What a conversion would do. Two plans are equal where they would write the same, wherever source and target lie.

    units: what may be done apart, in any order and anywhere. finished: numbers of those that TARGET.partial had records
    of when it was planned. kept: what is not quantized, and why; dropped: what is left out. unused_rules: globs that
    name nothing. odd_experts: what is special about experts that moeq leaves alone. notes: what one should know before.
    """

    hash: str
    dialect: str
    source: PlanSource
    units: tuple[PlanUnit, ...]
    totals: PlanTotals
    kept: tuple[PlanKept, ...]
    dropped: tuple[PlanKept, ...]
    unused_rules: tuple[str, ...]
    foreign: ForeignCodes | None
    odd_experts: str | None
    notes: tuple[str, ...]
    finished: tuple[int, ...] = field(default=(), compare=False)
    _request: Request | None = field(default=None, compare=False, repr=False)

    def run(
        self,
        *,
        units: tuple[int, int] | range | None = None,
        finish: bool = True,
        progress: ProgressFunction | None = None,
        durable: bool = True,
    ) -> None:
        """Does it: `moeq.convert` with the arguments of the plan. MismatchError where the source is another one now and
        a part is done already."""
        self._asked.run(units=units, finish=finish, progress=progress, durable=durable)

    def again(self) -> Plan:
        """The same, planned anew: `finished` tells what others have done meanwhile."""
        return self._asked.plan()

    @property
    def _asked(self) -> Request:
        """What was asked for, for who carries it out."""
        if self._request is None:
            raise TypeError("moeq.Plan: this one was not made by moeq.plan, so nothing says what to convert")
        return self._request

    @property
    def json(self) -> dict[str, Any]:
        """The plan in lists, dicts, texts and numbers, as the library prints it."""
        return _plain(self)


Made = TypeVar("Made")


def _of(kind: type[Made], facts: Mapping[str, Any], **made: Any) -> Made:
    """The fields that a dataclass has of an object of JSON; `made` stands for those that are no numbers or texts."""
    names = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in facts.items() if name in names} | made)


def _weight(facts: Mapping[str, Any]) -> PlanWeight:
    return _of(PlanWeight, facts, shape=tuple(facts["shape"]))


def _unit(facts: Mapping[str, Any]) -> PlanUnit:
    return _of(PlanUnit, facts, weights=tuple(map(_weight, facts["weights"])))


def plan_of(facts: Mapping[str, Any], request: Request) -> Plan:
    """A plan of the library's JSON."""
    foreign = facts["foreign"]
    made: dict[str, Any] = {
        name: tuple(facts[name]) for name in ("unused_rules", "notes", "finished")
    }  # of texts and numbers
    made |= {name: tuple(_of(PlanKept, one) for one in facts[name]) for name in ("kept", "dropped")}
    return _of(
        Plan,
        facts,
        **made,
        source=_of(PlanSource, facts["source"]),
        units=tuple(map(_unit, facts["units"])),
        totals=_of(PlanTotals, facts["totals"]),
        foreign=None if foreign is None else _of(ForeignCodes, foreign),
        _request=request,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    named = ((one.name, getattr(value, one.name)) for one in dataclasses.fields(value))
    return {
        name: _plain(one) for name, one in named if not name.startswith("_") and not (one is None and name in SOMETIMES)
    }
