"""Which parameters of a model are weights of experts, found by structure, and how they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")

TIED = "it is tied to another parameter"


@dataclass(frozen=True)
class ExpertWeight:
    """A parameter of experts. reason: why it cannot be quantized, None where it can. transposed: [E, in, out]."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    transposed: bool = False
    layout: str = "plain"
    reason: str | None = None

    @property
    def nbytes(self) -> int:
        """Of its own: what is tied to another one has none."""
        return 0 if self.reason == TIED else torch.Size(self.shape).numel() * self.dtype.itemsize


def find_experts(model: torch.nn.Module) -> Iterator[ExpertWeight]:
    """All of them, in the order of the model."""
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    for path, module in model.named_modules():
        own = {name: value for name, value in module.named_parameters(recurse=False) if value.is_floating_point()}
        if not own or not _speaks_of_experts(path, module):
            continue
        for name, value in own.items():
            full = f"{path}.{name}" if path else name
            weight = ExpertWeight(full, tuple(value.shape), value.dtype, *_orientation(module, name, own))
            yield _with_reason(weight, _reason(module, value, full in tied))


def _speaks_of_experts(path: str, module: torch.nn.Module) -> bool:
    """Shared experts, which every token goes through, are ordinary linears and no matter of ours."""
    if "shared" in path:
        return False
    return "expert" in type(module).__name__.lower() or any("experts" in segment for segment in path.split("."))


def _with_reason(weight: ExpertWeight, reason: str | None) -> ExpertWeight:
    return weight if reason is None else ExpertWeight(weight.name, weight.shape, weight.dtype, reason=reason)


def _reason(module: torch.nn.Module, value: torch.nn.Parameter, tied: bool) -> str | None:
    if tied:
        return TIED
    if type(module).__module__.startswith("torch.nn."):
        return f"it is the parameter of a {type(module).__name__}, not a weight of all experts"
    if value.ndim != 3:
        return f"it has {value.ndim} axes, not [experts, rows, columns]"
    counts = _counts(module)
    if counts and value.shape[0] not in counts:
        return f"its first axis is {value.shape[0]}, not the number of experts"
    return None


def _counts(module: torch.nn.Module) -> set[int]:
    """How many experts there are, as the module or its configuration says."""
    found: set[int] = set()
    for holder in (module, getattr(module, "config", None)):
        values = [getattr(holder, name, None) for name in COUNTS]
        found |= {value for value in values if isinstance(value, int) and value > 1}
    return found


def _orientation(module: torch.nn.Module, name: str, own: dict[str, torch.nn.Parameter]) -> tuple[bool, str]:
    """Whether a weight is [in, out], and how gate and up lie in it: what the module says, or else the extents."""
    stacks = {key: tuple(value.shape[1:]) for key, value in own.items() if value.ndim == 3}
    if name not in stacks:
        return False, "plain"
    joined, transposed = _joined(stacks)
    transposed = bool(getattr(module, "is_transposed", transposed))
    if name != joined:
        return transposed, "plain"
    return transposed, "gate_up" if getattr(module, "is_concatenated", True) else "gate_up_interleaved"


def _joined(stacks: dict[str, tuple[Any, ...]]) -> tuple[str | None, bool]:
    """The weight that holds gate and up, whose outputs are twice what another takes in; whether it is [in, out]."""
    for name, (rows, columns) in stacks.items():
        for other, (other_rows, other_columns) in stacks.items():
            if other == name:
                continue
            if (rows, columns) == (2 * other_columns, other_rows):
                return name, False
            if (rows, columns) == (other_columns, 2 * other_rows):
                return name, True
    return None, False
