"""Pickling: torch.save, torch.load(weights_only=True), copies to other processes."""

from __future__ import annotations

from typing import Any

import torch

from .._spec import Spec
from .store import one_expert
from .tensor import MoeqTensor


def rebuild(
    cls: type[MoeqTensor],
    spec: str,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    components: dict[str, torch.Tensor],
    is_parameter: bool,
) -> MoeqTensor:
    """What pickles of a MoeqTensor call. Its arguments are plain, so that weights_only loading takes them."""
    wanted = one_expert(Spec(spec), *shape[1:])
    parts = {name: part.view(wanted[name][0]) if name in wanted else part for name, part in components.items()}
    result = cls.from_components(spec, shape, parts, dtype=dtype)
    result._is_param = is_parameter
    return result


def reduce(weight: MoeqTensor) -> tuple[Any, ...]:
    # Bytes for float8, which torch can save but not pickle.
    parts = {
        name: part.view(torch.uint8) if part.element_size() == 1 else part for name, part in weight.components().items()
    }
    return rebuild, (type(weight), str(weight.spec), tuple(weight.shape), weight.dtype, parts, weight._is_param)


torch.serialization.add_safe_globals([MoeqTensor, rebuild])
