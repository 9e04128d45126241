"""load_shares: quantized weights of a native file; each rank reads the experts that it has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch

from .._errors import MismatchError, NotFoundError
from .._reader import Reader, StackInfo
from .._reader import open as open_checkpoint
from ..torch import MoeqTensor
from ..torch.store import Store
from .group import group_of
from .shards import experts_of, is_quantized, local_of, sharded_like
from .structure import compare, describe
from .together import together

EXPERT = ".moeq_expert."  # before the number, in names of weights that are one expert


def load_shares(model: torch.nn.Module, path: str | os.PathLike[str], *, group: Any = None) -> list[str]:
    """Gives a model's quantized weights the codes of a native file or folder, as moeq.transformers saves or caches it.

    The file is mapped, and of it only this rank's experts are read: after fully_shard its own, else all. The model may
    be on meta. Names are its own, so that adapters come afterwards. Dense tensors are not loaded. Returns the names
    that were. An error on one rank is one on all, and leaves every weight as it was.
    """
    group = group_of("load_shares", group)
    compare("load_shares", describe(model), group)
    with together("load_shares", group=group):
        file = Shares(path)
        wanted = {name: one for name, one in model.named_parameters() if is_quantized(one)}
        loaded = {name: file.load(name, target) for name, target in wanted.items()}
    model.load_state_dict(loaded, strict=False, assign=any(one.is_meta for one in wanted.values()))
    return list(loaded)


class Shares:
    """The quantized weights of a mapped file, by the parameters that they are."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._reader: Reader = open_checkpoint(path, mmap=True)
        self._stacks: dict[str, dict[int | None, StackInfo]] = {}
        for stack in self._reader.stacks:
            if stack.quantized:
                name, found, expert = stack.name.partition(EXPERT)
                self._stacks.setdefault(name, {})[int(expert) if found else None] = stack

    def load(self, name: str, target: Any) -> Any:
        """What stands for the target, with memory of its own for this rank's experts."""
        like = local_of(target)
        begin, end = experts_of(name, target)
        stacks = self._stacks.get(name)
        if stacks is None:
            raise NotFoundError(
                f"moeq.distributed.load_shares: {name}: got none in {self._path}; wanted a quantized weight of that "
                f"name; it has {', '.join(sorted(self._stacks)[:3]) or 'no quantized weights'}"
            )
        shape = next(iter(stacks.values())).shape
        shape = shape if None in stacks else (len(stacks), *shape[-2:])
        if tuple(shape) != tuple(target.shape):
            raise MismatchError(
                f"moeq.distributed.load_shares: {name}: got {list(shape)}; wanted {list(target.shape)}, as the model has"
            )
        store = Store.empty(like.spec, (end - begin, *like.shape[1:]), "cpu" if like.is_meta else like.device)
        for first, last, part in self._parts(stacks, begin, end, like.dtype):
            if part.spec != like.spec:
                raise MismatchError(
                    f"moeq.distributed.load_shares: {name}: got codes {str(part.spec)!r}; wanted {str(like.spec)!r}, "
                    "as the model has"
                )
            for component, values in part.components().items():
                store.components[component][first - begin : last - begin].copy_(values)
        mine = MoeqTensor._of(store, like.dtype)
        return mine if like is target else sharded_like(target, mine)

    def _parts(
        self, stacks: dict[int | None, StackInfo], begin: int, end: int, dtype: torch.dtype
    ) -> Iterator[tuple[int, int, MoeqTensor]]:
        """Ranges of experts, over the mapped memory."""
        if None in stacks:
            yield begin, end, MoeqTensor.from_qtensor(self._reader.load(stacks[None]), dtype=dtype)[begin:end]
            return
        for expert in range(begin, end):
            yield expert, expert + 1, MoeqTensor.from_qtensor(self._reader.load(stacks[expert]), dtype=dtype)
