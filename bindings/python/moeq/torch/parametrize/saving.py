"""Names in a state dict: bitsandbytes' for 4 bits, those of the parametrization for 8; both, and dense values, load."""

from __future__ import annotations

from typing import Any

import torch

from ..._errors import MoeqError
from .forms import Bnb4bitParametrization, Bnb8bitParametrization
from .quant_state import MARK, TENSORS, QuantState


def save_entries(name: str, module: torch.nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The codes get the parameter's own name, and what they need stands beside them."""
    found = module.parametrizations[name]  # type: ignore[union-attr, index]
    original = f"{prefix}parametrizations.{name}.original"
    if isinstance(found[0], Bnb4bitParametrization) and original in state:
        state[prefix + name] = state.pop(original)
        for key, value in found[0].quant_state.as_dict(packed=True).items():
            state[f"{prefix}{name}.{key}"] = value


def load_entries(
    name: str, module: torch.nn.Module, state: dict[str, Any], prefix: str, metadata: Any, strict: bool,
    missing: list[str], unexpected: list[str], errors: list[str],
) -> None:  # fmt: skip
    key = prefix + name
    if key not in state:
        return
    found = module.parametrizations[name]  # type: ignore[union-attr, index]
    value = state.pop(key)
    beside = {one.removeprefix(key + "."): state.pop(one) for one in beside_of(key, state)}
    device = value.device if found.original.is_meta else found.original.device
    try:
        fresh, codes = parts_of(found[0], value, beside, device)
        if codes.shape != found.original.shape:
            raise MoeqError(f"got codes {list(codes.shape)}; wanted {list(found.original.shape)}")
        if isinstance(fresh, Bnb4bitParametrization) and (fresh.shape, fresh.spec) != (found[0].shape, found[0].spec):
            raise MoeqError(f"got {fresh.extra_repr()}; wanted {found[0].extra_repr()}")
    except MoeqError as error:
        errors.append(f"{key}: {error}")
        fresh, codes = found[0], found.original
    else:
        found[0].take(fresh)
    state[f"{prefix}parametrizations.{name}.original"] = codes
    if isinstance(fresh, Bnb8bitParametrization):
        state[f"{prefix}parametrizations.{name}.0.row_stats"] = fresh.row_stats


def beside_of(key: str, state: dict[str, Any]) -> list[str]:
    tensors = [f"{key}.{suffix}" for suffix in (*TENSORS, "row_stats")]
    return [one for one in state if one in tensors or one.startswith(f"{key}.{MARK}")]


def parts_of(
    form: Any, value: torch.Tensor, beside: dict[str, torch.Tensor], device: torch.device
) -> tuple[Any, torch.Tensor]:
    """A parametrization and codes of what a file has."""
    if value.is_floating_point():
        return form.encode(value.to(device))
    if isinstance(form, Bnb8bitParametrization):
        if "row_stats" not in beside:
            raise MoeqError(f"got {value.dtype} codes alone; wanted row_stats beside them")
        return Bnb8bitParametrization(beside["row_stats"].reshape(-1), form.dtype), value
    return Bnb4bitParametrization(QuantState.from_dict(beside, device)), value
