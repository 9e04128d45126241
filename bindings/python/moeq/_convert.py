"""Converting whole checkpoints, in units that may run anywhere."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from ._cdef import ffi
from ._context import Context, default_context, sized
from ._errors import ArgumentError, ArgumentTypeError, MoeqError, check, new_error
from ._library import lib
from ._names import FLOATS, dtype_code, number_of
from ._plan import Plan, plan_of
from ._progress import Progress, ProgressFunction
from ._reader import json_of, json_text, path_bytes
from ._spec import Spec, as_spec

UNITS, FINISH = ffi.integer_const("MOEQ_CONVERT_UNITS"), ffi.integer_const("MOEQ_CONVERT_FINISH")

# By glob: the spec for what matches, "bf16" and its like to make it dense, None to leave it as it is. Order counts: the
# first match wins.
Rules = Mapping[str, "Spec | str | None"] | Iterable[tuple[str, "Spec | str | None"]] | str

WANTED_RULES = "{glob: spec or None}, pairs of these, or JSON"


def as_target(spec: Spec | str | None) -> Spec | str | None:
    """What weights become: a Spec; or one of FLOATS, which makes dense ones of quantized ones."""
    return spec if spec is None or spec in FLOATS else as_spec(spec)


def target_text(spec: Spec | str | None) -> str | None:
    """The same as text."""
    return None if spec is None else str(as_target(spec))


def rule_pairs(rules: Rules | None) -> list[tuple[str, str | None]] | str | None:
    """Rules with specs as text. A text is taken for the library's JSON."""
    if rules is None or isinstance(rules, str):
        return rules
    try:
        pairs = [(glob, spec) for glob, spec in (rules.items() if isinstance(rules, Mapping) else rules)]
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"moeq.convert: rules: got {rules!r}; wanted {WANTED_RULES}") from None
    for glob, spec in pairs:
        if not isinstance(glob, str) or not isinstance(spec, (Spec, str, type(None))):
            raise ArgumentTypeError(f"moeq.convert: rules: got {glob!r}: {spec!r}; wanted {WANTED_RULES}")
    return [(glob, target_text(spec)) for glob, spec in pairs]


def rules_json(rules: Rules | None) -> Any:
    """Rules as the library reads them."""
    pairs = rule_pairs(rules)
    return [{"match": glob, "spec": spec} for glob, spec in pairs] if isinstance(pairs, list) else pairs


def unit_bounds(units: tuple[int, int] | range) -> tuple[int, int]:
    """[begin, end) of units."""
    try:
        if isinstance(units, range) and units.step != 1:
            raise ValueError
        begin, end = (units.start, units.stop) if isinstance(units, range) else map(operator.index, units)
    except (TypeError, ValueError):
        raise ArgumentError(f"moeq.convert: units: got {units!r}; wanted (begin, end) or a range with step 1") from None
    if not 0 <= begin <= end:
        raise ArgumentError(f"moeq.convert: units: got [{begin}, {end}); wanted 0 <= begin <= end")
    return begin, end


class _Options:
    """A moeq_convert_options, and what it points to."""

    def __init__(
        self,
        spec: Spec | str | None = None,
        dialect: str = "native",
        rules: Rules | None = None,
        patterns: Any = None,
        durable: bool = True,
        keep_foreign: bool = False,
        weights_only: bool = False,
        all_files: bool = False,
    ):
        self.pointer = sized("moeq_convert_options")
        target = as_target(spec)
        self._spec = target if isinstance(target, Spec) else None
        self._rules, self._patterns = json_text(rules_json(rules), "rules"), json_text(patterns, "patterns")
        self.pointer.dialect = number_of("dialect", dialect)
        asked = {"WRITER_NOT_DURABLE": not durable, "CONVERT_KEEP_FOREIGN": keep_foreign,
                 "CONVERT_WEIGHTS_ONLY": weights_only, "CONVERT_ALL_FILES": all_files}  # fmt: skip
        self.pointer.flags = sum(ffi.integer_const(f"MOEQ_{name}") for name, wanted in asked.items() if wanted)
        self.pointer.spec = ffi.NULL if self._spec is None else self._spec._struct
        self.pointer.dense_dtype = dtype_code(target) if isinstance(target, str) else 0
        self.pointer.rules, self.pointer.patterns = self._rules, self._patterns

    def set_steps(self, units: Any, finish: bool) -> None:
        begin, end = (0, 0) if units is None else unit_bounds(units)
        self.pointer.steps = (FINISH if finish else 0) | (UNITS if units is None or begin < end else 0)
        self.pointer.unit_begin, self.pointer.unit_end = begin, end


class Request:
    """What is to be converted, and how: of texts, numbers and paths, so that it may travel to other processes.

    what: of _Options, without `durable`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        context: Context | None = None,
        spec: Spec | str | None = None,
        rules: Rules | None = None,
        **what: Any,
    ) -> None:
        self.source, self.target, self.context = source, target, context
        self.what = {"spec": target_text(spec), "rules": rule_pairs(rules), **what}

    def plan(self) -> Plan:
        """A dry run."""
        options = _Options(**self.what)
        out, err = ffi.new("moeq_blob **"), new_error()
        status = lib.moeq_convert_plan(*self._places(), options.pointer, out, err)
        check(status, err)
        return plan_of(json_of(out[0]), self)

    def run(
        self,
        *,
        units: tuple[int, int] | range | None = None,
        finish: bool = True,
        progress: ProgressFunction | None = None,
        durable: bool = True,
    ) -> None:
        """The conversion, or a part of it."""
        told, options = Progress(progress), _Options(**self.what, durable=durable)
        options.set_steps(units, finish)
        if not options.pointer.steps:
            return  # no unit and no finish; 0 would mean everything
        options.pointer.progress, options.pointer.progress_user = told.function, told.user
        err = new_error()
        status = lib.moeq_convert(*self._places(), options.pointer, err)
        told.check(status, err)

    def _places(self) -> tuple[Any, bytes, bytes]:
        """The first three arguments of both calls."""
        context = self.context or default_context()
        return context._pointer, path_bytes(self.source, "source"), path_bytes(self.target, "target")


def warn_of_unused(plan: Plan) -> None:
    """A warning at the call of a public function whose rules name nothing."""
    if plan.unused_rules:
        names = ", ".join(map(repr, plan.unused_rules))
        warnings.warn(f"rules without effect: {names}; moeq.open(source).stacks has the names", stacklevel=3)


def plan(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    spec: Spec | str | None = None,
    dialect: str = "native",
    rules: Rules | None = None,
    patterns: Any = None,
    keep_foreign: bool = False,
    weights_only: bool = False,
    all_files: bool = False,
    context: Context | None = None,
) -> Plan:
    """A dry run of `convert`: units with bytes and peak memory, what is quantized to what or made dense, what is not
    and why.

    The same input gives the same plan, wherever source and target lie. Arguments as of `convert`.
    """
    what: dict[str, Any] = {"spec": spec, "dialect": dialect, "rules": rules, "patterns": patterns}
    what |= {"keep_foreign": keep_foreign, "weights_only": weights_only, "all_files": all_files}
    made = Request(source, target, **what, context=context).plan()
    warn_of_unused(made)
    return made


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    spec: Spec | str | None = None,
    dialect: str = "native",
    rules: Rules | None = None,
    patterns: Any = None,
    keep_foreign: bool = False,
    weights_only: bool = False,
    all_files: bool = False,
    units: tuple[int, int] | range | None = None,
    finish: bool = True,
    progress: ProgressFunction | None = None,
    durable: bool = True,
    context: Context | None = None,
) -> None:
    """Converts a checkpoint unit by unit; what an earlier run has finished is verified and skipped.

    spec: for every expert weight; None leaves dense ones dense and quantized ones as they are. "bf16", "fp16" or "fp32"
    makes every quantized weight dense, of experts or not, under its name and in its shape; what is dense keeps its
    type. rules: exceptions, as {glob: spec or None} on names of stacks and of 2-D tensors, the first match wins.
    dialect: how quantized weights lie in the target; a rule without effect gives a UserWarning. keep_foreign: codes of
    schemes that moeq does not read are copied, though config.json of the target no longer says what they are; else
    UnsupportedError. weights_only: new weights of compressed-tensors ask for no quantized activations.
    all_files: as of moeq.open, of the source.
    units: (begin, end) of the plan's units, None for all, an empty range for none; any number of
    processes may share them. finish: adds index, config and report and puts the target in its place; IncompleteError
    names missing units. progress: called with (stage, name, bytes done, bytes in total); what it raises stops the work
    and is raised here, and the next call goes on from there.
    """
    what: dict[str, Any] = {"spec": spec, "dialect": dialect, "rules": rules, "patterns": patterns, "context": context}
    what |= {"keep_foreign": keep_foreign, "weights_only": weights_only, "all_files": all_files}
    request = Request(source, target, **what)
    if rules is not None:
        try:
            warn_of_unused(request.plan())
        except MoeqError:
            pass  # what follows says so itself
    request.run(units=units, finish=finish, progress=progress, durable=durable)
