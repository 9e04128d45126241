"""A word, once, where adapters are trained that leave every quantized expert out."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch

from .checking import forgotten


class Reminder:
    """Before a forward of the model's body, which PEFT calls in all its versions; the first one of a training looks, and
    no other.

    Adapters come after the load and without a word to the quantizer, and target_modules="all-linear" does not reach
    weights that are no linears.
    """

    def __init__(self) -> None:
        self.looked = False

    def __call__(self, model: torch.nn.Module, arguments: Any) -> None:
        if self.looked or not model.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return
        self.looked = True
        told = forgotten(model) if adapters(model) else None
        if told is not None:
            warnings.warn(f"moeq.peft: {told}", UserWarning, stacklevel=2)


def adapters(model: torch.nn.Module) -> bool:
    """Whether PEFT has changed a module of it."""
    tuners = sys.modules.get("peft.tuners.tuners_utils")
    return tuners is not None and any(isinstance(module, tuners.BaseTunerLayer) for module in model.modules())


def remind(model: torch.nn.Module) -> None:
    """model: one of transformers, without adapters."""
    body: Any = getattr(model, "base_model", model)
    body.register_forward_pre_hook(Reminder())
