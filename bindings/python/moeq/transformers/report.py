"""Report: what a load did with each weight of experts, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Quantized:
    """source: "streamed" (expert by expert), "whole" (the host joined it first), "cache", "checkpoint" (as it was)."""

    name: str
    spec: str
    shape: tuple[int, ...]
    dense_bytes: int
    bytes: int
    source: str


@dataclass(frozen=True)
class Skipped:
    name: str
    reason: str
    bytes: int


@dataclass(frozen=True)
class Delegated:
    """A linear that another quantizer has, by name: how."""

    name: str
    how: str
    dense_bytes: int
    bytes: int


@dataclass
class Report:
    """quantized, skipped: weights of experts. linears: what MoeqConfig(linears=...) handed on. other_bytes: of all other
    parameters. notes: what the cache did."""

    quantized: list[Quantized] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    linears: list[Delegated] = field(default_factory=list)
    other_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes that the model's parameters take, which get_memory_footprint() does not tell."""
        listed: list[Quantized | Skipped | Delegated] = [*self.quantized, *self.skipped, *self.linears]
        return sum(one.bytes for one in listed) + self.other_bytes

    def line(self) -> str:
        dense = sum(one.dense_bytes for one in self.quantized)
        all_dense = dense + sum(one.bytes for one in self.skipped)
        formats = ", ".join(sorted({one.spec for one in self.quantized})) or "nothing"
        sources = ", ".join(sorted({one.source for one in self.quantized}))
        text = f"moeq: experts: {_size(dense)} of {_size(all_dense)} quantized ({formats}; {sources}), now "
        text += f"{_size(sum(one.bytes for one in self.quantized))}; "
        if self.linears:
            text += f"{len(self.linears)} linears: {_size(sum(one.dense_bytes for one in self.linears))} by "
            text += f"{self.linears[0].how}, now {_size(sum(one.bytes for one in self.linears))}; "
        text += f"the model takes {_size(self.nbytes)}"
        if self.skipped:
            text += f"; left dense: {len(self.skipped)}, such as {self.skipped[0].name}: {self.skipped[0].reason}"
        return text

    def __str__(self) -> str:
        lines = [self.line()]
        lines += [f"  {one.name}: {one.spec}, {_size(one.dense_bytes)} -> {_size(one.bytes)}, {one.source}"
                  for one in self.quantized]  # fmt: skip
        lines += [f"  {one.name}: dense, {_size(one.bytes)}: {one.reason}" for one in self.skipped]
        lines += [f"  {one.name}: {one.how}, {_size(one.dense_bytes)} -> {_size(one.bytes)}" for one in self.linears]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def _size(count: float) -> str:
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {UNITS[power]}"
