"""Merging quantizes the sum of weight and adapter anew: the error that this will make, told before; and a merge that
is taken back without one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from .._errors import NotFoundError
from ..torch import MoeqTensor
from .wrappers import wrappers


class MergeError(NamedTuple):
    """What merging one parameter loses to quantization.

    rmse: of the merged weight's elements, against the exact sum. of_weight: as a share of the sum's root mean square.
    of_adapter: as a share of the adapter's change; near 1 the adapter drowns in the rounding.
    """

    rmse: float
    of_weight: float
    of_adapter: float


def targets(model: torch.nn.Module) -> dict[str, Any]:
    """PEFT's wrappers of quantized parameters, by the parameter's name."""
    found = {name: wrapper for name, wrapper in wrappers(model).items() if isinstance(wrapper.get_param(), MoeqTensor)}
    if not found:
        raise NotFoundError(
            "moeq.peft: got a model without adapters on quantized experts; wanted one from peft.get_peft_model with "
            "target_parameters that are MoeqTensors"
        )
    return found


def merge_error(model: torch.nn.Module, adapter: str = "default") -> dict[str, MergeError]:
    """What `merge_adapter` or `merge_and_unload` of that adapter would lose, by parameter. The model stays as it is."""
    return {
        name: error_of(wrapper.get_param(), wrapper.get_delta_weight(adapter).detach())
        for name, wrapper in targets(model).items()
        if adapter in wrapper.lora_A
    }


def error_of(weight: MoeqTensor, change: torch.Tensor) -> MergeError:
    merged = weight.detach().clone()
    merged += change
    errors = sums = changes = 0.0
    for expert in range(weight.shape[0]):
        of_expert = change[expert].float()
        exact = weight.dequantize(experts=expert, dtype=torch.float32) + of_expert
        error = merged.dequantize(experts=expert, dtype=torch.float32) - exact
        for total in (error, exact, of_expert):
            total.square_()
        errors, sums, changes = errors + float(error.sum()), sums + float(exact.sum()), changes + float(of_expert.sum())
    return MergeError(math.sqrt(errors / weight.numel()), ratio(errors, sums), ratio(errors, changes))


def ratio(squares: float, of: float) -> float:
    return math.sqrt(squares / of) if of else math.inf if squares else 0.0


@contextmanager
def merged(model: Any, adapters: list[str] | None = None, *, safe_merge: bool = True) -> Iterator[Any]:
    """Merges adapters for the time of a `with`, for generation or export. At its end every code is what it was before,
    byte for byte, however often this is done; PEFT's own unmerge quantizes once more. Takes a copy of the codes."""
    before = {name: wrapper.get_param().detach().clone() for name, wrapper in targets(model).items()}
    try:
        model.merge_adapter(adapters, safe_merge=safe_merge)
        yield model
    finally:
        model.unmerge_adapter()
        for name, wrapper in targets(model).items():
            wrapper.get_param().data.copy_(before[name])
