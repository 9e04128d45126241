"""What ranks have to agree on before a byte moves: names, shapes, types, formats and placements of a model's tensors."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from .._errors import MismatchError
from ..torch import MoeqTensor
from .group import gather, group_of
from .ties import places


def described(name: str, tensor: torch.Tensor) -> str:
    """One tensor, the same text on every rank that has the same one; on meta, too."""
    local = getattr(tensor, "_local_tensor", None)
    inner = tensor if local is None else local
    kind = f"quantized {inner.spec}" if isinstance(inner, MoeqTensor) else "dense"
    placed = "" if local is None else f" {tuple(tensor.placements)} of {tensor.device_mesh.shape}"  # type: ignore[attr-defined]
    return f"{name}: {kind} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}{placed}"


def describe(model: torch.nn.Module) -> list[str]:
    """Of all parameters and buffers, in the model's order; one that is used twice stands there twice."""
    return [described(name, tensor) for name, tensor in places(model)]


def check(model: torch.nn.Module, *, group: Any = None) -> None:
    """Raises the same MismatchError on every rank where models differ in structure: it names the first difference.

    Values are not compared, nor whether they are on meta.
    """
    group = group_of("check", group)
    compare("check", describe(model), group)


def compare(function: str, lines: list[str], group: Any) -> None:
    """Digests first: a large model has many lines."""
    if len(set(gather(function, hashlib.sha256("\n".join(lines).encode()).hexdigest(), group))) == 1:
        return
    of_ranks = gather(function, lines, group)
    first = of_ranks[0]
    for rank, theirs in enumerate(of_ranks):
        for place in range(max(len(first), len(theirs))):
            got = theirs[place] if place < len(theirs) else "nothing"
            wanted = first[place] if place < len(first) else "nothing"
            if got != wanted:
                raise MismatchError(
                    f"moeq.distributed.{function}: model: rank {rank} got {got!r}; wanted {wanted!r}, as rank 0 has "
                    "it: build the same model on every rank (of rank 0's checkpoint and formats; perhaps on meta)"
                )
