"""Which weight of one checkpoint is which of another, and both of them in one form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ... import Reader
from .weights import Raw, Weight, from_canonical, stacked, weights_of


class Piece(NamedTuple):
    """Of a weight the canonical rows [begin, end) of each expert."""

    weight: Weight
    begin: int
    end: int


@dataclass
class Pair:
    """A weight of ours, and what it is in the other checkpoint: one weight, half of one, or two halves."""

    name: str
    ours: Weight
    theirs: list[Piece]

    @property
    def quantized(self) -> bool:
        """On one side at least."""
        return self.ours.stack.quantized or any(piece.weight.stack.quantized for piece in self.theirs)

    @property
    def as_stored(self) -> bool:
        """Whether the elements of both lie alike, so that no common form is needed."""
        mine, (other, begin, end) = self.ours, self.theirs[0]
        if mine.stack.shape != other.stack.shape or len(self.theirs) > 1 or end - begin != other.outputs:
            return False
        if not (mine.placed and other.placed):
            return True  # a name is a name
        if mine.stack.scale_axis != other.stack.scale_axis:
            return False
        layouts = {mine.stack.layout, other.stack.layout}
        # A file that says "plain" of a tensor with all experts does not tell where gate and up are: they are the same.
        return len(layouts) == 1 or ("plain" in layouts and mine.stack.fused and other.stack.fused)

    def mismatch(self) -> str:
        """Why the two cannot be compared; "" where they can."""
        if self.as_stored:
            return ""
        mine = self.ours.experts, self.ours.outputs, self.ours.inputs
        first = self.theirs[0].weight
        other = first.experts, sum(piece.end - piece.begin for piece in self.theirs), first.inputs
        if mine != other or any(piece.weight.experts != first.experts for piece in self.theirs):
            return f"experts, outputs and inputs {mine} here and {other} there"
        return ""

    def bands(self, expert: int) -> Iterator[tuple[Raw, Raw]]:
        """Elements of an expert here and there."""
        if self.as_stored:
            yield from zip(self.ours.bands(expert), self.theirs[0].weight.bands(expert))
        else:
            yield self.ours.canonical(expert), self._canonical(expert)

    def source(self, expert: int) -> Raw:
        """The other one's expert [rows, columns], in the form that ours has."""
        if self.as_stored:
            return self.theirs[0].weight.whole(expert)
        raw = self._canonical(expert)
        return Raw(from_canonical(raw.array, self.ours.stack), raw.dtype)

    def _canonical(self, expert: int) -> Raw:
        parts = [(piece, piece.weight.canonical(expert)) for piece in self.theirs]
        return stacked([Raw(raw.array[piece.begin : piece.end], raw.dtype) for piece, raw in parts])


class Family(NamedTuple):
    """Names of the weight that has gate and up, and of these as weights of their own."""

    whole: str
    gate: str
    up: str


def families(name: str) -> list[Family]:
    """What a name may be a member of; the library names halves like this."""
    prefix, dot, last = name.rpartition(".")
    if last in ("gate_up_proj", "gate_proj", "up_proj"):
        return [Family(prefix + dot + "gate_up_proj", prefix + dot + "gate_proj", prefix + dot + "up_proj")]
    found = [Family(name, name + ".gate", name + ".up")]
    return [*found, Family(prefix, prefix + ".gate", prefix + ".up")] if last in ("gate", "up") else found


def find(weights: dict[str, Weight], name: str) -> list[Piece]:
    """The weight of that name, in pieces where it is a part of another one or is in parts; [] where it is not there."""
    if name in weights:
        return [Piece(weights[name], 0, weights[name].outputs)]
    for family in families(name):
        whole, gate, up = (weights.get(member) for member in family)
        if name == family.whole and gate and up and gate.placed and up.placed:
            return [Piece(half, 0, half.outputs) for half in (gate, up)]
        if name != family.whole and whole and whole.placed:
            middle = whole.outputs // 2
            return [Piece(whole, 0, middle) if name == family.gate else Piece(whole, middle, 2 * middle)]
    return []


def pairs(ours: Reader, theirs: Reader) -> tuple[list[Pair], list[str], list[str]]:
    """Weights that both have, but for dense tensors in both; and names of stacks that only one has."""
    left, right = weights_of(ours), weights_of(theirs)
    made, only_left = [], []
    others = renamed(left, right)
    for name, weight in left.items():
        pieces = find(right, others.get(name, name))
        if not pieces:
            if not weight.tensor:
                only_left.append(name)
        elif not (weight.tensor and all(piece.weight.tensor for piece in pieces)):
            made.append(Pair(name, weight, pieces))
    return made, only_left, left_over(right, made)


def place(name: str) -> tuple[tuple[str, ...], str]:
    """The numbers of a name, and what it ends with: the same for a layer's weight whatever holds it."""
    segments = name.split(".")
    return tuple(segment for segment in segments if segment.isdigit()), segments[-1]


def renamed(left: dict[str, Weight], right: dict[str, Weight]) -> dict[str, str]:
    """Stacks that a conversion has put below another holder, as the model's loader wants it: "mlp.experts" of files as
    the model lies in memory is "block_sparse_moe.experts" on the hub. Only where no other one could be meant."""
    lone: list[dict[tuple[tuple[str, ...], str], list[str]]] = [{}, {}]
    for mine, other, found in ((left, right, lone[0]), (right, left, lone[1])):
        for name, weight in mine.items():
            if weight.placed and not find(other, name):
                found.setdefault(place(name), []).append(name)
    return {
        names[0]: lone[1][key][0]
        for key, names in lone[0].items()
        if len(names) == 1 and len(lone[1].get(key, ())) == 1
    }


def left_over(weights: dict[str, Weight], made: list[Pair]) -> list[str]:
    """Stacks, and halves of them, that are in no pair."""
    found: dict[str, list[Piece]] = {}
    for pair in made:
        for piece in pair.theirs:
            found.setdefault(piece.weight.name, []).append(piece)
    names = [name for name, weight in weights.items() if not weight.tensor and name not in found]
    for name, pieces in found.items():
        if len(pieces) == 1 and pieces[0].end - pieces[0].begin < weights[name].outputs:
            family = families(name)[0]
            names.append(family.up if pieces[0].begin == 0 else family.gate)
    return names
