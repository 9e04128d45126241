"""load_state_dict: a whole state dict that one rank has, into a model that fully_shard has cut; every rank gets its
share of each weight's experts and nothing more."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from .._errors import ArgumentError, MismatchError, NotFoundError, UnsupportedError
from ..torch import MoeqTensor
from ..torch.collectives import as_bytes, chunks
from ..torch.store import Store
from .group import device_of, gather, group_of, reaching, source_of, tell
from .structure import compare, describe
from .together import together


def load_state_dict(
    model: torch.nn.Module, state: dict[str, Any] | None = None, src: int = 0, *, group: Any = None
) -> None:
    """Loads rank `src`'s state dict on all ranks. The others give none.

    The model may be on meta, as it should be where it is large, or hold memory; sharded by fully_shard or whole.
    Quantized weights need the format that the model has, and go as codes: from the rank that has them to each rank its
    own experts. Dense ones are broadcast, and cut on each rank. Names have to fit as with strict=True. If something
    does not, every rank gets an error before a byte moves.
    """
    group = group_of("load_state_dict", group)
    gives = source_of("load_state_dict", src, group)
    targets = targets_of(model)
    compare("load_state_dict", [*describe(model), *targets], group)
    with together("load_state_dict", group=group):
        ranges = {name: experts_of(name, target) for name, target in targets.items() if is_quantized(target)}
        if gives:
            check_state(targets, state or {})
        elif state:
            raise ArgumentError(
                f"moeq.distributed.load_state_dict: state: got one on rank {distributed.get_rank()}; wanted it on "
                f"rank {src} only, which gives it to all"
            )
    loaded = {}
    of_ranks = gather("load_state_dict", ranges, group)
    for name, target in targets.items():
        value = state[name] if gives and state is not None else None
        if name in ranges:
            loaded[name] = deliver(name, target, value, [each[name] for each in of_ranks], src, group)
        elif isinstance(target, torch.Tensor):
            loaded[name] = deliver_dense(name, target, value, src, group)
        else:  # a module's extra state
            loaded[name] = tell(name, value, src, group)
    model.load_state_dict(loaded, assign=any(one.is_meta for one in targets.values() if isinstance(one, torch.Tensor)))


def local_of(tensor: torch.Tensor) -> Any:
    return getattr(tensor, "_local_tensor", tensor)


def is_quantized(tensor: Any) -> bool:
    return isinstance(local_of(tensor), MoeqTensor)


def experts_of(name: str, tensor: Any) -> tuple[int, int]:
    """The experts of a weight that this rank has."""
    count = tensor.shape[0]
    if not hasattr(tensor, "_local_tensor"):
        return 0, count
    axes = [axis for axis, placement in enumerate(tensor.placements) if not placement.is_replicate()]
    if len(axes) > 1 or any(not tensor.placements[axis].is_shard(0) for axis in axes):
        raise UnsupportedError(
            f"moeq.distributed: {name}: got placements {tensor.placements}; wanted experts in shards along one axis "
            "of the mesh, and copies along the others"
        )
    if not axes:
        return 0, count
    share = -(-count // tensor.device_mesh.shape[axes[0]])
    begin = min(count, share * tensor.device_mesh.get_coordinate()[axes[0]])
    return begin, min(count, begin + share)


def check_state(targets: dict[str, Any], state: dict[str, Any]) -> None:
    missing, unknown = targets.keys() - state.keys(), state.keys() - targets.keys()
    for what, names in (("no", missing), ("an unknown", unknown)):
        if names:
            raise NotFoundError(
                f"moeq.distributed.load_state_dict: state: got {what} {sorted(names)[0]!r}"
                f"{f' and {len(names) - 1} more' if len(names) > 1 else ''}; wanted the names of model.state_dict()"
            )
    for name, target in targets.items():
        value = state[name]
        if not isinstance(target, torch.Tensor):
            continue
        if value.is_meta or hasattr(value, "_local_tensor") or value.shape != target.shape:
            got = "one on meta" if value.is_meta else f"{type(value).__name__} {list(value.shape)}"
            raise MismatchError(
                f"moeq.distributed.load_state_dict: {name}: got {got}; wanted a whole tensor {list(target.shape)}"
            )
        if kind_of(value) != kind_of(local_of(target)):
            raise MismatchError(
                f"moeq.distributed.load_state_dict: {name}: got {kind_of(value)}; wanted {kind_of(local_of(target))}, "
                "as the model has"
            )


def kind_of(tensor: torch.Tensor) -> str:
    return f"codes {tensor.spec}" if isinstance(tensor, MoeqTensor) else "dense values"


def targets_of(model: torch.nn.Module) -> dict[str, Any]:
    """The model's state dict, and what `prepare` leaves out of it."""
    waiting = ((name, one) for name, one in model.named_parameters(remove_duplicate=False) if is_quantized(one))
    return {**model.state_dict(), **dict(waiting)}


# ---- quantized weights


def deliver(
    name: str, target: Any, value: MoeqTensor | None, ranges: list[tuple[int, int]], src: int, group: Any
) -> Any:
    """The target with this rank's share of the codes that rank `src` has as `value`. ranges: those of all ranks."""
    like, ranks = local_of(target), distributed.get_process_group_ranks(group or distributed.group.WORLD)
    begin, end = ranges[ranks.index(distributed.get_rank())]
    with reaching(name):
        if value is not None:
            for rank, (first, last) in zip(ranks, ranges):
                if rank != src:
                    send_codes(value._store.experts(first, last), rank, group)
            # A copy: the whole stack can be let go.
            store = value._store.experts(begin, end).map(lambda part: part.detach().to(device_of(group), copy=True))
        else:
            store = Store.empty(like.spec, (end - begin, *like.shape[1:]), device_of(group))
            receive_codes(store, src, group)
    mine = MoeqTensor._of(store, like.dtype)
    return mine if like is target else sharded_like(target, mine)


def send_codes(store: Store, rank: int, group: Any) -> None:
    for part in store.components.values():
        for chunk in chunks(part):
            distributed.send(as_bytes(part[chunk]).to(device_of(group)), rank, group=group)


def receive_codes(store: Store, src: int, group: Any) -> None:
    """Into new memory, which lies in a row."""
    for part in store.components.values():
        for chunk in chunks(part):
            distributed.recv(as_bytes(part[chunk]), src, group=group)


def sharded_like(target: Any, local: torch.Tensor) -> Any:
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        local, target.device_mesh, target.placements, run_check=False, shape=target.shape, stride=target.stride()
    )


# ---- dense ones


def deliver_dense(name: str, target: Any, value: torch.Tensor | None, src: int, group: Any) -> torch.Tensor:
    device = device_of(group)
    if value is None:
        whole = torch.empty(target.shape, dtype=target.dtype, device=device)
    else:
        whole = value.detach().to(device=device, dtype=target.dtype).contiguous()
    with reaching(name):
        if whole.numel():
            distributed.broadcast(as_bytes(whole), src, group=group)
    if not hasattr(target, "_local_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)
