"""take_formats: ranks that only build a model, on meta, learn which of its weights the loading rank has quantized."""

from __future__ import annotations

from typing import Any

import torch

from ..torch import MoeqTensor
from .group import group_of, source_of, tell


def take_formats(model: torch.nn.Module, src: int = 0, *, group: Any = None) -> None:
    """Makes dense parameters on meta quantized ones on meta, where rank `src` has them quantized.

    So the others can build the dense model, without the configuration of its quantization. Parameters with memory, of
    other shapes or other formats are left as they are; `check` and what else compares structures names them. `broadcast`
    calls it; before fully_shard one calls it oneself.
    """
    group = group_of("take_formats", group)
    gives = source_of("take_formats", src, group)
    formats = tell("take_formats", formats_of(model) if gives else None, src, group)
    made: dict[int, torch.nn.Parameter] = {}  # tied ones stay tied
    for name, current in list(model.named_parameters(remove_duplicate=False)):
        if name not in formats or not current.is_meta or hasattr(current, "_local_tensor"):
            continue
        spec, shape, dtype = formats[name]
        if isinstance(current, MoeqTensor) or tuple(current.shape) != shape:
            continue
        if id(current) not in made:
            waiting = MoeqTensor.empty(shape, spec, dtype=dtype, device="meta")
            made[id(current)] = torch.nn.Parameter(waiting, requires_grad=False)
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, made[id(current)])


def formats_of(model: torch.nn.Module) -> dict[str, tuple[str, tuple[int, ...], torch.dtype]]:
    return {
        name: (str(one.spec), tuple(one.shape), one.dtype)
        for name, one in model.named_parameters(remove_duplicate=False)
        if isinstance(one, MoeqTensor)
    }
