"""FSDP2: a shard is a range of whole experts with their scales. What is gathered are codes, cast to nothing.

FSDP2 keeps the shard of a rank as the beginning of one that is padded to the largest rank's number of experts. The
padding is gathered with it, and the gathered weight is cut by as_strided to the size that it had.
"""

from __future__ import annotations

from typing import Any

import torch

from .store import Store
from .tensor import MoeqTensor


def fsdp_pre_all_gather(self: MoeqTensor, mesh: Any) -> tuple[tuple[torch.Tensor, ...], Any]:
    """The components to gather, and what to make of them on every rank. FSDP2 calls the form with one argument when
    ranks may have different numbers of experts."""
    store = self._store.padded or self._store
    return tuple(store.components.values()), (tuple(store.components), store.spec, store.shape[1:])


def fsdp_post_all_gather(
    self: MoeqTensor, outputs: tuple[torch.Tensor, ...], metadata: Any, param_dtype: torch.dtype, *, out: Any = None
) -> Any:
    """The whole weight over what was gathered. In the type of the mixed precision policy; codes are codes."""
    if out is not None:  # over the same memory, which was filled again
        return None
    names, spec, matrix = metadata
    store = Store(spec, (outputs[0].shape[0], *matrix), dict(zip(names, outputs)))
    return MoeqTensor._of(store, param_dtype), outputs


MoeqTensor.fsdp_pre_all_gather = fsdp_pre_all_gather  # type: ignore[attr-defined]
MoeqTensor.fsdp_post_all_gather = fsdp_post_all_gather  # type: ignore[attr-defined]
