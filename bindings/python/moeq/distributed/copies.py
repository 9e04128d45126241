"""broadcast: one rank's parameters and buffers for all ranks, which have whole ones; perhaps still on meta."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed

from .._errors import StateError, UnsupportedError
from ..torch import MoeqTensor
from ..torch.collectives import as_bytes, broadcast_store
from ..torch.store import Store
from .formats import take_formats
from .group import device_of, group_of, reaching, source_of, tell
from .structure import compare, describe
from .ties import tie, ties_of
from .together import together


def broadcast(model: torch.nn.Module, src: int = 0, *, group: Any = None) -> None:
    """Gives every rank the parameters and buffers of rank `src`: codes and scales byte for byte, dense ones as they are.

    Ranks with a model on meta get memory for it, so that one rank loads and the others only build; what they have
    dense or apart on meta may be quantized or tied on rank `src`. Models have to be of the same structure otherwise; if
    not, every rank gets the same MismatchError before anything moves. For models that fully_shard has cut there is
    load_state_dict.
    """
    group = group_of("broadcast", group)
    gives = source_of("broadcast", src, group)
    take_formats(model, src, group=group)
    tie(model, tell("broadcast", ties_of(model) if gives else None, src, group))
    compare("broadcast", [*describe(model), *(f"{name} is {of}" for name, of in ties_of(model).items())], group)
    with together("broadcast", group=group):
        if gives:
            refuse_meta(model, src)
        refuse_shards(model)
        materialize(model, device_of(group))
    with reaching("broadcast"):
        for tensor in {id(tensor): tensor for _, _, tensor in states(model)}.values():  # tied ones once
            send(tensor, src, group, gives)


def states(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, torch.Tensor]]:
    """Module, name and tensor of all parameters, then all buffers; tied ones at each of their places."""
    for kind in ("_parameters", "_buffers"):
        for module in model.modules():
            for name, tensor in getattr(module, kind).items():
                if tensor is not None:
                    yield module, name, tensor


def refuse_meta(model: torch.nn.Module, src: int) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise StateError(f"moeq.distributed.broadcast: model: got {name} on meta on rank {src}; wanted its values")


def refuse_shards(model: torch.nn.Module) -> None:
    for name, tensor in model.named_parameters():
        if hasattr(tensor, "_local_tensor"):
            raise UnsupportedError(
                f"moeq.distributed.broadcast: model: got {name} in shards; wanted whole parameters: broadcast before "
                "fully_shard, or give a state dict to moeq.distributed.load_state_dict"
            )


def materialize(model: torch.nn.Module, device: torch.device) -> None:
    """Memory for what is on meta. Tied parameters stay tied."""
    made: dict[int, torch.Tensor] = {}
    for module, name, tensor in list(states(model)):
        if tensor.is_meta:
            if id(tensor) not in made:
                made[id(tensor)] = with_memory(tensor, device)
            setattr(module, name, made[id(tensor)])


def with_memory(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    result: torch.Tensor
    if isinstance(tensor, MoeqTensor):
        store = tensor._store
        result = MoeqTensor._of(Store.empty(store.spec, store.shape, device, zeros=True), tensor.dtype)
    else:
        result = torch.empty_like(tensor, device=device)
    if not isinstance(tensor, torch.nn.Parameter):
        return result
    parameter = torch.nn.Parameter(result, requires_grad=tensor.requires_grad)
    parameter.__dict__.update(tensor.__dict__ if not isinstance(tensor, MoeqTensor) else {})
    return parameter


def send(tensor: torch.Tensor, src: int, group: Any, gives: bool) -> None:
    """One tensor's bytes."""

    def one(flat: torch.Tensor) -> None:
        distributed.broadcast(flat, src, group=group)

    if isinstance(tensor, MoeqTensor):
        broadcast_store(tensor._store, one, receives=not gives)
    else:
        send_dense(tensor.detach(), one)


def send_dense(tensor: torch.Tensor, one: Any) -> None:
    flat = as_bytes(tensor)
    if flat.numel():
        one(flat)
    if flat.data_ptr() != tensor.data_ptr():
        tensor.copy_(flat.view(tensor.dtype).view(tensor.shape))
