"""Process groups, as every function of this package asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

from .._errors import ArgumentError, MoeqError, StateError


class RankError(MoeqError, RuntimeError):
    """Another rank failed. The message has its number and its error; failed: the numbers of all that did, in the group,
    or none of them where one ended without a word, or did not come in time."""

    failed: tuple[int, ...] = ()


def group_of(function: str, group: Any) -> Any:
    """The group, or the default one; refused where there is none, or this process is not in it."""
    if not distributed.is_available() or not distributed.is_initialized():
        raise StateError(
            f"moeq.distributed.{function}: got a process without a process group; wanted "
            "torch.distributed.init_process_group first (accelerate and torchrun's scripts call it)"
        )
    if distributed.get_rank(group) < 0:
        raise ArgumentError(f"moeq.distributed.{function}: group: got one without this process; wanted one it is in")
    return group


def source_of(function: str, src: int, group: Any) -> bool:
    """Whether this process is the one that gives. src: its rank in the whole world, as torch has it."""
    ranks = distributed.get_process_group_ranks(group or distributed.group.WORLD)
    if src not in ranks:
        raise ArgumentError(f"moeq.distributed.{function}: src: got {src}; wanted one of the group's ranks {ranks}")
    return src == distributed.get_rank()


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Around collectives: the group's own error, where a rank has gone, as a RankError that says what was done."""
    try:
        yield
    except RuntimeError as lost:
        if isinstance(lost, MoeqError):
            raise
        raise RankError(
            f"moeq.distributed: {what}: another rank ended, did not come in time, or the group cannot do it: {lost}"
        ) from lost


def gather(what: str, value: Any, group: Any) -> list[Any]:
    """What every rank has, in the order of ranks."""
    values: list[Any] = [None] * distributed.get_world_size(group)
    with reaching(what):
        distributed.all_gather_object(values, value, group=group)
    return values


def tell(what: str, value: Any, src: int, group: Any) -> Any:
    """What rank `src` has, on every rank."""
    box = [value]
    with reaching(what):
        distributed.broadcast_object_list(box, src, group=group)
    return box[0]


def device_of(group: Any) -> torch.device:
    """Where the group sends from and receives to."""
    if "nccl" in distributed.get_backend(group):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
