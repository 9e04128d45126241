"""Quantized parameters as weights of moeq's native files, and back.

A parameter NAME is a weight of that name. As in all native files its codes have a shape that no dense NAME has, so that
a transformers without moeq refuses the file. Where every expert has nested statistics of its own there is a weight
NAME.moeq_expert.E for each, and NAME itself is one byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from .._errors import FormatError, UnsupportedError
from .._qtensor import QTensor
from .._reader import Reader, StackInfo
from .._spec import Spec
from ..torch import MoeqTensor
from ..torch.store import NAMES
from .config import FILE_VERSION

EXPERT = ".moeq_expert."
SUFFIXES = {
    "codes": "", "nested_scale": ".moeq.nested_absmax", "nested_map": ".moeq.nested_map",
    "nested_offset": ".moeq.nested_offset",
}  # fmt: skip


class Part(NamedTuple):
    """A native weight: all of a parameter, or one of its experts."""

    name: str
    shape: tuple[int, ...]
    q: QTensor


def parts_of(name: str, tensor: MoeqTensor) -> list[Part]:
    experts, rows, columns = tensor.shape
    try:
        q = tensor.qtensor
    except UnsupportedError:  # every expert has nested statistics of its own
        return [Part(f"{name}{EXPERT}{e}", (1, rows, columns), tensor[e : e + 1].qtensor) for e in range(experts)]
    return [Part(name, (experts, rows, columns), q)]


def saved_tensors(name: str, tensor: MoeqTensor) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata that save_pretrained writes for a parameter."""
    tensors: dict[str, torch.Tensor] = {}
    metadata = {"moeq.version": FILE_VERSION}
    for part in parts_of(name, tensor):
        spec = part.q.spec
        for component, values in part.q.components.items():
            if component not in NAMES:  # the map of codes, which the format has
                continue
            shape = file_shape(component, part.shape, spec)
            value = torch.from_dlpack(values).reshape(shape)
            tensors[part.name + _suffix(component, spec)] = value if part.name == name else value.clone()
        metadata[f"moeq.weight.{part.name}"] = json.dumps({"spec": str(spec), "shape": list(part.shape)})
    tensors.setdefault(name, torch.zeros(1, dtype=torch.uint8))
    return tensors, metadata


def file_shape(component: str, shape: tuple[int, ...], spec: Spec) -> tuple[int, ...]:
    """Of a component in a file: codes that have the weight's own shape get an axis of extent 1 behind the first."""
    of_component = spec.component(component, shape).shape
    return (shape[0], 1, *shape[1:]) if component == "codes" and of_component == shape else of_component


def _suffix(component: str, spec: Spec) -> str:
    if component == "scale":
        return ".moeq.scale" if spec.scale_kind == "factor" else ".moeq.absmax"
    return SUFFIXES[component]


def parameter_name(weight_name: str) -> tuple[str, int | None]:
    """The parameter that a native weight belongs to, and the expert where it is one expert's."""
    name, found, expert = weight_name.partition(EXPERT)
    return (name, int(expert)) if found and expert.isdigit() else (weight_name, None)


def file_keys(weight_name: str, spec: Spec) -> list[str]:
    """The tensors of the files that make up a native weight."""
    nested = ["nested_scale", "nested_map", "nested_offset"] if spec.nested else []
    return [weight_name + _suffix(component, spec) for component in ["codes", "scale", *nested]]


class Packed:
    """Native weights of an open checkpoint, by the parameters that they are."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stacks: dict[str, dict[int | None, StackInfo]] = {}
        for stack in reader.stacks:
            if stack.quantized:
                name, expert = parameter_name(stack.name)
                self._stacks.setdefault(name, {})[expert] = stack

    def names(self) -> Iterable[str]:
        return self._stacks.keys()

    def keys(self, name: str) -> Iterator[str]:
        """Of the files."""
        for expert, stack in self._stacks[name].items():
            assert stack.spec is not None
            yield from file_keys(stack.name, stack.spec)
            if expert is not None:
                yield name

    def spec(self, name: str) -> Spec:
        spec = next(iter(self._stacks[name].values())).spec
        assert spec is not None
        return spec

    def shape(self, name: str) -> tuple[int, int, int]:
        stacks = self._stacks[name]
        first = next(iter(stacks.values()))
        return first.shape if None in stacks else (len(stacks), *first.shape[1:])

    def load(self, name: str, dtype: torch.dtype) -> MoeqTensor:
        """A view of the file; single experts are copied together."""
        stacks = self._stacks[name]
        if None in stacks:
            return MoeqTensor.from_qtensor(self._reader.load(stacks[None]), dtype=dtype)
        if sorted(number for number in stacks if number is not None) != list(range(len(stacks))):
            raise FormatError(f"moeq.transformers: {name}: got experts {sorted(map(str, stacks))}; wanted each once")
        experts = [MoeqTensor.from_qtensor(self._reader.load(stacks[e]), dtype=dtype) for e in range(len(stacks))]
        components = {
            component: torch.cat([one.components()[component] for one in experts])
            for component in experts[0].components()
        }
        return MoeqTensor.from_components(experts[0].spec, self.shape(name), components, dtype=dtype)


def numbers_in(name: str) -> list[str]:
    return re.findall(r"(?<=\.)\d+(?=\.)", name)


def place_of(name: str, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """What the name of a weight has in common with its parameter's, whatever modules are called."""
    return numbers_in(name), name.rpartition(".")[2], shape
