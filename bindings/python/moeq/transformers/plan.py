"""The plan of a load: which parameters become which format, decided before a byte is read."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from .._errors import ArgumentError, MoeqError
from .._spec import Spec
from ..torch.store import plain_spec
from .config import MoeqConfig
from .experts import ExpertWeight, find_experts
from .globs import matches
from .report import Skipped


@dataclass(frozen=True)
class Planned:
    """A parameter that will be quantized."""

    weight: ExpertWeight
    spec: Spec

    @property
    def nbytes(self) -> int:
        experts, rows, columns = self.weight.shape
        return experts * self.spec.nbytes((1, rows, columns))


def make_plan(model: Any, config: MoeqConfig) -> tuple[dict[str, Planned], list[Skipped]]:
    """What to quantize, by name, and what of the experts stays."""
    planned: dict[str, Planned] = {}
    skipped: list[Skipped] = []
    names = []
    for weight in find_experts(model):
        names.append(weight.name)
        text = None if weight.reason else config.spec_text(weight.name)
        if text is None:
            skipped.append(Skipped(weight.name, weight.reason or "the configuration says so", weight.nbytes))
        else:
            planned[weight.name] = Planned(weight, spec_for(weight, text))
    for glob in config.globs():
        if not any(matches(glob, name) for name in names):
            warnings.warn(f"moeq.transformers: {glob!r} names no parameter of experts", UserWarning, stacklevel=2)
    return planned, skipped


def spec_for(weight: ExpertWeight, text: str) -> Spec:
    """A format in the weight's own orientation, refused where its shape cannot have it."""
    spec = Spec(text)
    changes: dict[str, Any] = {}
    if spec._struct.scale_axis == 0:
        changes["scale_axis"] = -2 if weight.transposed else -1
    if spec._struct.layout == 0:
        changes["layout"] = weight.layout
    try:
        return plain_spec(spec.with_(**changes)).resolve((1, *weight.shape[1:]))
    except MoeqError as error:
        raise ArgumentError(
            f"moeq.transformers: {weight.name}: got the format {text!r} for a weight {list(weight.shape)}: {error}; "
            "give it another one in MoeqConfig(formats={...}), or leave it with skip=[...]"
        ) from error
