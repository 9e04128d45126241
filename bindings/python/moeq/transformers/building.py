"""Codes of one parameter from values that come expert by expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .._errors import BadValueError
from ..torch import MoeqTensor
from ..torch.store import Store
from .plan import Planned


def quantize_experts(
    planned: Planned, dense: Callable[[int], torch.Tensor], device: Any, source_of: Callable[[int, int | None], str]
) -> MoeqTensor:
    """dense(e): one expert's values [R, C]. source_of(e, row): where they come from, for messages."""
    store = Store.empty(planned.spec, planned.weight.shape, device)
    current = 0

    def next_expert(expert: int) -> torch.Tensor:
        nonlocal current
        current = expert
        return dense(expert)

    try:
        store.fill(next_expert)
    except BadValueError as error:
        row = error.row if error.row is not None and error.row >= 0 else None
        raise BadValueError(
            f"moeq.transformers: {planned.weight.name}: got NaN or Inf in expert {current}, row {row}, column "
            f"{error.column}, from {source_of(current, row)}; wanted finite values",
            error.status,
            expert=current,
            row=row,
            column=error.column,
        ) from error
    return MoeqTensor.from_components(planned.spec, store.shape, store.components, dtype=planned.weight.dtype)


def as_parameter(tensor: MoeqTensor) -> torch.nn.Parameter:
    """As transformers takes it: initialized, and frozen."""
    parameter = torch.nn.Parameter(tensor, requires_grad=False)
    parameter._is_hf_initialized = True  # type: ignore[attr-defined]
    return parameter
