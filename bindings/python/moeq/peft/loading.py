"""Adapters of parameters from files, whichever PEFT wrote them and whatever the base was.

PEFT's files do not say what their matrices belong to. Two things changed or differ: until 0.18 the matrices of a weight
[experts, out, in] were made for [experts, in, out]; and two parameters of one module are nested in the order in which
they are defined, but by the alphabet where they were parametrized. Shapes tell, nearly always.
"""

from __future__ import annotations

import json
import os
import tempfile
from itertools import product
from typing import Any, NamedTuple

import torch
from torch.nn.utils import parametrize

from .._errors import ArgumentError, MismatchError, NotFoundError, UnsupportedError
from .names import parameter_names

CALLED = "moeq.peft.load_adapter"
ROOT = "base_model.model."
LAYOUTS, ORDERS = ("0.19", "0.18"), ("defined", "alphabet")
FILES = ("adapter_config.json", "adapter_model.safetensors")


class Target(NamedTuple):
    """A parameter that has an adapter. transposed: [experts, in, out], as its module says."""

    name: str
    shape: tuple[int, ...]
    transposed: bool

    @property
    def module(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def experts(self) -> int:
        return self.shape[0] if len(self.shape) == 3 else 1

    def widths(self, layout: str) -> tuple[int, int]:
        """Columns of lora_A and rows of lora_B."""
        first, second = self.shape[-2:]
        return (first, second) if self.transposed or self.turned(layout) else (second, first)

    def turned(self, layout: str) -> bool:
        """Whether its matrices were made for the other direction."""
        return layout == "0.18" and len(self.shape) == 3 and not self.transposed


class Reading(NamedTuple):
    """One way to understand a file: keys of lora_A and lora_B by parameter."""

    layout: str
    order: str
    keys: dict[str, tuple[str, str]]


def load_adapter(
    model: torch.nn.Module,
    folder: str | os.PathLike[str],
    *,
    layout: str | None = None,
    order: str | None = None,
    **options: Any,
) -> Any:
    """peft.PeftModel.from_pretrained, for adapters of any PEFT since 0.17 and of any kind of base.

    The file is compared with the model first: what does not fit raises and leaves the model as it was. layout ("0.18" or
    "0.19") and order ("defined" or "alphabet") are for files that can be understood in two ways. options are PEFT's.
    """
    from peft import PeftModel
    from safetensors.torch import save_file

    if isinstance(model, PeftModel):
        raise ArgumentError(f"{CALLED}: model: got a PeftModel; wanted the model that it is made of, without adapters")
    check_choice("layout", layout, LAYOUTS)
    check_choice("order", order, ORDERS)
    config, tensors = read_files(folder)
    names = parameter_names(model, config.get("target_parameters") or [])
    if not names:
        raise UnsupportedError(
            f"{CALLED}: {folder}: got an adapter without target_parameters, such as one of linears; wanted one of "
            "parameters; peft.PeftModel.from_pretrained loads others"
        )
    found = [target_of(model, name) for name in names]
    check_others(model, found, tensors)
    reading = choose(found, tensors, known_layout(config, layout), order)
    wanted = keys_of(found, lambda module: natural_order(model, module))
    result = {name: part for name, part in tensors.items() if not is_of(name, found)}
    for target in found:
        pair = tensors[reading.keys[target.name][0]], tensors[reading.keys[target.name][1]]
        if target.turned(reading.layout):
            pair = turned(*pair, target.experts)
        result |= dict(zip(wanted[target.name], (part.contiguous() for part in pair)))
    with tempfile.TemporaryDirectory() as place:
        save_file(result, os.path.join(place, FILES[1]), metadata={"format": "pt"})
        with open(os.path.join(place, FILES[0]), "w", encoding="utf-8") as file:
            json.dump(config | {"target_parameters": names}, file)
        return PeftModel.from_pretrained(model, place, **options)


def check_choice(argument: str, got: str | None, choices: tuple[str, ...]) -> None:
    if got is not None and got not in choices:
        raise ArgumentError(f"{CALLED}: {argument}: got {got!r}; wanted {' or '.join(map(repr, choices))}")


def read_files(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors.torch import load_file

    paths = [os.path.join(folder, name) for name in FILES]
    for path, name in zip(paths, FILES):
        if not os.path.exists(path):
            raise NotFoundError(
                f"{CALLED}: folder: got {os.fspath(folder)!r}, without {name}; wanted {' and '.join(FILES)}"
            )
    with open(paths[0], encoding="utf-8") as file:
        return json.load(file), load_file(paths[1])


def target_of(model: torch.nn.Module, name: str) -> Target:
    module = model.get_submodule(name.rpartition(".")[0])
    shape = tuple(getattr(module, name.rpartition(".")[2]).shape)
    return Target(name, shape, len(shape) == 3 and bool(getattr(module, "is_transposed", False)))


def known_layout(config: dict[str, Any], asked: str | None) -> str | None:
    """Files say which PEFT wrote them since 0.18."""
    if asked is not None:
        return asked
    numbers = str(config.get("peft_version") or "").split(".")[:2]
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return None
    return "0.18" if tuple(map(int, numbers)) < (0, 19) else "0.19"


def natural_order(model: torch.nn.Module, module: str) -> str:
    return ORDERS[parametrize.is_parametrized(model.get_submodule(module))]


def keys_of(targets: list[Target], order: Any) -> dict[str, tuple[str, str]]:
    """What PEFT calls the matrices of each parameter; the first one of a module is wrapped by all others."""
    found = {}
    for module in dict.fromkeys(target.module for target in targets):
        names = [target.name for target in targets if target.module == module]
        if order(module) == "alphabet":
            names.sort()
        for depth, name in enumerate(reversed(names)):
            prefix = f"{ROOT}{module}.{'base_layer.' * depth}"
            found[name] = (f"{prefix}lora_A.weight", f"{prefix}lora_B.weight")
    return found


def is_of(key: str, targets: list[Target]) -> bool:
    return key.startswith(tuple(f"{ROOT}{target.module}." for target in targets)) and ".lora_" in key


def choose(targets: list[Target], tensors: dict[str, torch.Tensor], layout: str | None, order: str | None) -> Reading:
    """The one way in which all shapes fit."""
    readings = []
    for one, other in product([layout] if layout else LAYOUTS, [order] if order else ORDERS):
        reading = Reading(one, other, keys_of(targets, lambda module, other=other: other))
        if all(fits(target, reading, tensors) for target in targets):
            readings.append(reading)
    meanings = {meaning(targets, reading) for reading in readings}
    if len(meanings) > 1:
        raise ArgumentError(
            f"{CALLED}: got an adapter whose shapes fit in several ways: "
            + ", ".join(f"layout={one.layout!r} with order={one.order!r}" for one in readings)
            + "; wanted layout= and order= that say which"
        )
    if not readings:
        raise MismatchError(f"{CALLED}: {misfit(targets, tensors, layout or LAYOUTS[0])}")
    return readings[0]


def meaning(targets: list[Target], reading: Reading) -> tuple[Any, ...]:
    """Equal for readings that come to the same, such as both orders of a single parameter."""
    return tuple((reading.keys[target.name], target.turned(reading.layout)) for target in targets)


def fits(target: Target, reading: Reading, tensors: dict[str, torch.Tensor]) -> bool:
    a, b = (tensors.get(key) for key in reading.keys[target.name])
    if a is None or b is None or a.ndim != 2 or b.ndim != 2:
        return False
    return (a.shape[1], b.shape[0]) == target.widths(reading.layout) and a.shape[0] == b.shape[1] \
        and a.shape[0] % target.experts == 0  # fmt: skip


def misfit(targets: list[Target], tensors: dict[str, torch.Tensor], layout: str) -> str:
    """What is wrong with the first parameter that does not fit, in the usual reading."""
    keys = keys_of(targets, lambda module: ORDERS[0])
    target = next(one for one in targets if not fits(one, Reading(layout, ORDERS[0], keys), tensors))
    shapes = [list(tensors[key].shape) if key in tensors else None for key in keys[target.name]]
    columns, rows = target.widths(layout)
    return (
        f"{target.name}: got lora_A {shapes[0]} and lora_B {shapes[1]} for a weight {list(target.shape)}; wanted "
        f"lora_A [{target.experts}*r, {columns}] and lora_B [{rows}, {target.experts}*r]"
    )


def check_others(model: torch.nn.Module, targets: list[Target], tensors: dict[str, torch.Tensor]) -> None:
    """Adapters of linears: their modules are there, and as wide."""
    for name, part in tensors.items():
        if is_of(name, targets) or ".lora_" not in name or not name.endswith(("lora_A.weight", "lora_B.weight")):
            continue
        path, _, kind = name.removeprefix(ROOT).rpartition(".lora_")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            raise NotFoundError(f"{CALLED}: {name}: got an adapter of {path}, which the model does not have") from None
        width = getattr(module, "in_features" if kind.startswith("A") else "out_features", None)
        got = part.shape[1 if kind.startswith("A") else 0]
        if width is not None and got != width:
            raise MismatchError(f"{CALLED}: {name}: got a width of {got}; wanted {width}, the linear's")


def turned(a: torch.Tensor, b: torch.Tensor, experts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same change of a weight [experts, x, y], from matrices for [experts, in, out] to those for [experts, out, in]."""
    of_first, of_second = a.view(experts, -1, a.shape[1]), b.view(b.shape[0], -1, experts)
    return (
        of_second.permute(2, 1, 0).reshape(-1, b.shape[0]),
        of_first.permute(2, 1, 0).reshape(a.shape[1], -1),
    )
