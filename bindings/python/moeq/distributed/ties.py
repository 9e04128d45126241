"""Tensors that a model has at several places. `.to("meta")` takes them apart, so ranks may differ in it."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def places(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of all parameters and buffers, tied ones at each of their places."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def ties_of(model: torch.nn.Module) -> dict[str, str]:
    """By name, the first name of the same tensor; without those that are the first."""
    first: dict[int, str] = {}
    names = ((name, first.setdefault(id(tensor), name)) for name, tensor in places(model))
    return {name: of for name, of in names if name != of}


def tie(model: torch.nn.Module, ties: dict[str, str]) -> None:
    """Ties what is still on meta."""
    found = dict(places(model))
    for name, of in ties.items():
        tensor, wanted = found.get(name), found.get(of)
        if tensor is not None and wanted is not None and tensor.is_meta and wanted.is_meta and tensor is not wanted:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, wanted)
