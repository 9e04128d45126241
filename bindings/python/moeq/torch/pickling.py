"""Pickling: torch.save, torch.load(weights_only=True), copies to other processes."""

from __future__ import annotations

from typing import Any

import torch

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
    result = cls.from_components(spec, shape, components, dtype=dtype)
    if is_parameter:
        result._is_param = True  # type: ignore[attr-defined]
    return result


def reduce(weight: MoeqTensor) -> tuple[Any, ...]:
    is_parameter = bool(getattr(weight, "_is_param", False))
    arguments = (str(weight.spec), tuple(weight.shape), weight.dtype, weight.components(), is_parameter)
    return rebuild, (type(weight), *arguments)


torch.serialization.add_safe_globals([MoeqTensor, rebuild])
