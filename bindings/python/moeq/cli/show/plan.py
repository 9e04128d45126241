"""What a plan says, in the words that people use: layers and experts, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import ForeignCodes, Plan, StackInfo
from .screen import (
    MAX_ROWS,
    beyond,
    counted,
    digits,
    kind_of,
    nbytes,
    percent,
    ranges,
    shape_text,
    short_kind,
    short_spec,
    table,
    unit_for,
)

KEPT_QUANTIZED = "quantized already, kept"
# What a command line leaves dense.
KEPT_DENSE = "kept dense by rule", "no spec was given", "dense already, its type stays"
TILE = 128  # rows and columns of hf-fp8


@dataclass
class Change:
    """What becomes of one expert weight, or of one 2-D weight that a rule names."""

    name: str
    before: str
    after: str
    bytes_in: int
    shape: Sequence[int]
    bytes_out: int = 0
    lossy: bool = False
    weights: int = 0


@dataclass
class Coverage:
    """How much of the model's experts is quantized in the end.

    Done is a layer, and each expert in it, when all of its weights are; partly done when some are. Experts are counted
    in each layer.
    """

    layers: int = 0
    layers_done: int = 0
    layers_partly: int = 0
    experts: int = 0
    experts_done: int = 0
    weights: int = 0
    skipped: list[str] = field(default_factory=list)
    dense: int = 0  # weights that are made dense

    def facts(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "layers_quantized": self.layers_done,
            "layers_partly_quantized": self.layers_partly,
            "experts": self.experts,
            "experts_quantized": self.experts_done,
            "weights": self.weights,
            "weights_quantized": self.weights - self.dense - len(self.skipped),
            "skipped": self.skipped,
        }

    def __str__(self) -> str:
        partly = f" ({self.layers_partly} in part)" if self.layers_partly else ""
        left = self.dense + len(self.skipped)
        weights = f"{self.weights - left}/{self.weights} weights, " if left else ""
        return (
            f"{self.layers_done}/{self.layers} layers{partly}, {self.experts_done}/{self.experts} experts, {weights}"
            f"{len(self.skipped)} skipped"
        )


def changes(plan: Plan, stacks: Sequence[StackInfo]) -> list[Change]:
    """By weight, in the order of the plan."""
    known = {stack.name: stack for stack in stacks}
    kept = {entry.name for entry in plan.kept}
    found: dict[str, Change] = {}
    for unit in plan.units:
        for weight in unit.weights:
            stack = known.get(weight.stack)
            if weight.stack not in found:
                before = "dense" if stack is None else str(stack.spec or stack.dtype)
                found[weight.stack] = Change(
                    weight.stack,
                    weight.requantized_from or weight.decoded_from or before,
                    weight.spec,
                    0 if stack is None else stack.bytes,
                    weight.shape if stack is None else stack.shape,
                    lossy=weight.stack not in kept and weight.decoded_from is None,
                )
            found[weight.stack].bytes_out += weight.bytes
            found[weight.stack].weights += 1
    return list(found.values())


def coverage(plan: Plan, stacks: Sequence[StackInfo]) -> Coverage:
    made = {weight.stack: weight.decoded_from is not None for unit in plan.units for weight in unit.weights}
    done = {name for name, is_dense in made.items() if not is_dense}
    done |= {entry.name for entry in plan.kept if entry.reason == KEPT_QUANTIZED}
    layers: dict[int, list[StackInfo]] = {}
    for stack in stacks:
        layers.setdefault(kind_of(stack.name)[1], []).append(stack)
    result = Coverage(layers=len(layers), weights=len(stacks))
    for group in layers.values():
        experts = max(stack.shape[0] for stack in group)
        left = [stack.name for stack in group if stack.name not in done]
        result.experts += experts
        result.skipped += [name for name in left if name not in made]
        result.dense += sum(name in made for name in left)
        if not left:
            result.layers_done += 1
            result.experts_done += experts
        elif len(left) < len(group):
            result.layers_partly += 1
    return result


def made_dense(plan: Plan) -> list[dict[str, Any]]:
    """Quantized weights that become dense: how many tensors, from what to what."""
    counts = Counter(
        (short_spec(weight.decoded_from), weight.spec)
        for unit in plan.units
        for weight in unit.weights
        if weight.decoded_from is not None
    )
    return [{"from": old, "to": new, "weights": number} for (old, new), number in counts.items()]


def outcome(plan: Plan, stacks: Sequence[StackInfo], title: str = "") -> list[str]:
    """Lines that say how much is quantized in the end, and how much is dense that was not."""
    dense = made_dense(plan)
    lines = [f"made dense: {counted(one['weights'], 'weight')} from {one['from']} to {one['to']}" for one in dense]
    return lines if plan.dialect == "none" else [f"{title}{coverage(plan, stacks)}", *lines]


def requantized(plan: Plan) -> list[dict[str, Any]]:
    """Quantized weights that are quantized anew: how many stacks, from what to what."""
    names: dict[tuple[str, str], set[str]] = {}
    for unit in plan.units:
        for weight in unit.weights:
            if weight.requantized_from is not None:
                key = short_spec(weight.requantized_from), short_spec(weight.spec)
                names.setdefault(key, set()).add(weight.stack)
    return [{"from": old, "to": new, "stacks": len(stacks)} for (old, new), stacks in names.items()]


def foreign_text(foreign: ForeignCodes) -> str:
    """ "quantized by modelopt NVFP4, which moeq does not read"."""
    scheme = f"{foreign.scheme} {foreign.detail}".strip()
    if foreign.lost:
        return f"quantized ({scheme}), but the scales of {counted(foreign.codes, 'tensor')} are in no file"
    return f"quantized by {scheme}, which moeq does not read"


def notes(plan: Plan, wanted: bool) -> list[str]:
    """What somebody who looks at numbers only would miss. wanted: whether a format was asked for."""
    found = [
        f"quantized anew: {counted(one['stacks'], 'weight')} from {one['from']} to {one['to']}; the errors of both add "
        "up, so better start from the original"
        for one in requantized(plan)
    ]
    kept = Counter(short_spec(entry.detail or "") for entry in plan.kept if entry.reason == KEPT_QUANTIZED)
    if wanted:
        found += [f"quantized already, and kept: {counted(number, 'weight')}, {spec}" for spec, number in kept.items()]
    elif not kept and not plan.totals.weights_quantized:
        lack = "the source has none" if not plan.foreign else f"the source is {foreign_text(plan.foreign)}"
        found.append(f"nothing is quantized: no format was asked for, and {lack}")
    if plan.dropped:
        gone = plan.dropped
        found.append(f"left out: {counted(len(gone), 'tensor')} such as {gone[0].name}: {gone[0].reason}")
    return [*found, *plan.notes, *loading_notes(plan)]


def loading_notes(plan: Plan) -> list[str]:
    """What other projects cannot do with the result: docs/store.md, "Who loads what"."""
    made = [weight for unit in plan.units for weight in unit.weights if weight.decoded_from is None]
    found = []
    if plan.dialect == "hf-fp8":
        ragged = [weight for weight in made if any(extent % TILE for extent in weight.shape[-2:])]
        if ragged:
            found.append(
                f"{counted(len(ragged), 'weight')} such as {ragged[0].name} {shape_text(ragged[0].shape)} cannot "
                f"be cut into whole tiles of {TILE}×{TILE}; transformers on the CPU reads such ones wrongly"
            )
    if plan.dialect == "bitsandbytes":
        if any(weight.spec.startswith(("nf4", "fp4")) for weight in made):
            found.append("transformers itself cannot load 4-bit bitsandbytes experts: docs/store.md, who loads what")
        if any(weight.spec.startswith("int8") for weight in made):
            found.append("transformers loads int8 bitsandbytes experts without scales: docs/store.md, who loads what")
    return found


def change_table(plan: Plan, stacks: Sequence[StackInfo]) -> list[Any]:
    """One line for the weights of all layers that fare alike, and a line for the whole checkpoint."""
    groups: dict[tuple, list[Change]] = {}
    for change in changes(plan, stacks):
        key = kind_of(change.name)[0], tuple(change.shape), short_spec(change.before), short_spec(change.after)
        groups.setdefault(key, []).append(change)
    totals = plan.totals
    unit, size = unit_for(max(totals.bytes_in, totals.bytes_out))
    rows = []
    before = after = 0
    for (kind, shape, old, new), group in groups.items():
        bytes_in, bytes_out = sum(one.bytes_in for one in group), sum(one.bytes_out for one in group)
        before, after = before + bytes_in, after + bytes_out
        numbers = ranges(kind_of(one.name)[1] for one in group if kind_of(one.name)[1] >= 0)
        rows.append((short_kind(kind), numbers, shape_text(shape), old, new, *sizes(bytes_in, bytes_out, size)))
    shown = rows[:MAX_ROWS]
    more = beyond(rows)
    rest_in, rest_out = totals.bytes_in - before, totals.bytes_out - after
    if rest_in > 0:
        shown.append(("all else", "", "", "", "kept", *sizes(rest_in, rest_out, size)))
    shown.append(("checkpoint", "", "", "", "", *sizes(totals.bytes_in, totals.bytes_out, size)))
    made = table(
        "What changes",
        [("weights", "left"), ("layers", "right"), ("shape", "right"), ("from", "left"), ("to", "left"),
         (f"before\n{unit}", "right"), (f"after\n{unit}", "right"), ("left\n%", "right")],
        shown,
        total=True,
    )  # fmt: skip
    return [made, *more]


def sizes(before: int, after: int, size: int) -> tuple[str, str, str]:
    """Before, after, and what is left in percent: the last cells of a line."""
    return digits(before, size) if before else "", digits(after, size), percent(after, before)


def kept_table(plan: Plan) -> list[Any]:
    groups: dict[tuple[str, str, str], int] = {}
    for entry in plan.kept:
        key = kind_of(entry.name)[0], entry.reason, str(entry.detail or "")
        groups[key] = groups.get(key, 0) + 1
    rows = [
        (short_kind(kind), count, f"{reason}: {detail}" if detail else reason)
        for (kind, reason, detail), count in groups.items()
    ]
    made = table("What stays as it is", [("name", "left"), ("count", "right"), ("why", "left")], rows[:MAX_ROWS])
    return [made, *beyond(rows)]


def totals_line(plan: Plan) -> str:
    totals = plan.totals
    saved = totals.bytes_in - totals.bytes_out
    verb = "saves" if saved >= 0 else "adds"
    return (
        f"{nbytes(totals.bytes_in)} become {nbytes(totals.bytes_out)}: {verb} {nbytes(abs(saved))} "
        f"({percent(abs(saved), totals.bytes_in)} %)"
    )
