"""prepare: accelerate's FSDP2 preparation with cpu_ram_efficient_loading, through hooks that torch's modules have.

accelerate takes a state dict, moves the model to meta, shards it, and sends each entry from the main process to the
others, which it gives dense memory. So quantized weights that are sharded on meta are left out of the state dict, and
come in when accelerate loads what it has made of it.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import distributed

from .._errors import StateError
from ..torch import MoeqTensor
from .group import gather
from .shards import deliver, experts_of
from .structure import compare, described
from .together import together


def prepare(model: torch.nn.Module) -> torch.nn.Module:
    """Call it before `accelerator.prepare(model, ...)` where `cpu_ram_efficient_loading` may be on; models that
    moeq.transformers has loaded are prepared. Returns the model.

    After it a state dict has no entries for quantized weights that are both sharded and on meta, and loading a state
    dict without them fills them with the codes that the main process had in its last state dict before. Nothing else
    changes, and calling it again does nothing.
    """
    for name, one in model.named_parameters():
        if one.is_meta and one.requires_grad:
            raise StateError(
                f"moeq.distributed.prepare: model: got the trainable {name} on meta; wanted memory for what is trained, on "
                "every rank: accelerate finds an optimizer's parameters by their addresses"
            )
    add_hooks(model)
    return model


def add_hooks(model: torch.nn.Module) -> None:
    for module in model.modules():
        quantized = any(isinstance(one, MoeqTensor) for one in module._parameters.values())
        if quantized and not any(isinstance(hook, LeaveOut) for hook in module._state_dict_hooks.values()):
            leave_out = LeaveOut()
            module.register_state_dict_post_hook(leave_out)
            module.register_load_state_dict_pre_hook(BringIn(leave_out))


def waits(tensor: Any) -> bool:
    """Whether it is sharded, on meta, and quantized."""
    return hasattr(tensor, "_local_tensor") and tensor.is_meta and isinstance(tensor._local_tensor, MoeqTensor)


class LeaveOut:
    """After the state dict of a module is made. It remembers whole weights, but keeps none alive: a state dict that
    accelerate holds meanwhile does."""

    def __init__(self) -> None:
        self.seen: dict[str, weakref.ref[MoeqTensor]] = {}

    def __call__(self, module: torch.nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        for name in module._parameters:
            value = state.get(prefix + name)
            if waits(value):
                del state[prefix + name]
            elif isinstance(value, MoeqTensor) and not value.is_meta:
                self.seen[name] = weakref.ref(value)

    def __getstate__(self) -> dict[str, Any]:
        return {"seen": {}}  # copies of a model remember nothing


class BringIn:
    """Before a module takes its part of a state dict: a collective of all ranks."""

    def __init__(self, before: LeaveOut) -> None:
        self._before = before

    def __call__(self, module: torch.nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
        names = [name for name, one in module._parameters.items() if waits(one) and prefix + name not in state]
        if not names:
            return
        lines = [described(prefix + name, module._parameters[name]) for name in names]  # type: ignore[arg-type]
        compare("prepare", lines, None)
        with together(f"{prefix}{names[0]}"):
            values = {name: self._codes(prefix, name) for name in names} if distributed.get_rank() == 0 else {}
            ranges = {name: experts_of(prefix + name, module._parameters[name]) for name in names}
        of_ranks = gather(f"{prefix}{names[0]}", ranges, None)
        for name in names:
            each = [one[name] for one in of_ranks]
            state[prefix + name] = deliver(
                prefix + name, module._parameters[name], values.get(name), each, src=0, group=None
            )

    def _codes(self, prefix: str, name: str) -> MoeqTensor:
        value = self._before.seen[name]() if name in self._before.seen else None
        if value is None:
            raise StateError(
                f"moeq.distributed.prepare: {prefix}{name}: got no codes on rank 0; wanted a state dict of the model, "
                "taken with its weights and held until this one is loaded, as accelerate does; by hand use "
                "moeq.distributed.load_state_dict"
            )
        return value
