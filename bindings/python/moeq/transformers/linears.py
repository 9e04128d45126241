"""Delegated: the linears of a model by another quantizer of transformers, beside experts by moeq."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.quantizers.auto import AutoHfQuantizer

from .._errors import ArgumentTypeError
from .experts import find_experts
from .files import SourceFiles
from .report import Delegated

CLASSES = ("Linear4bit", "Linear8bitLt")  # of bitsandbytes
BLOCK = 64  # elements that share a statistic, as transformers has them made
NESTED = 256  # statistics that share one
GATES = 1  # rows of what decides whether a shared expert is asked


def linears_config(given: Any) -> BitsAndBytesConfig | None:
    """What MoeqConfig(linears=...) was given, or config.json has of it."""
    if given is None or isinstance(given, BitsAndBytesConfig):
        return given
    if isinstance(given, Mapping):
        return BitsAndBytesConfig.from_dict(dict(given))
    raise ArgumentTypeError(
        f"moeq.transformers.MoeqConfig: linears: got {type(given).__name__}; wanted a transformers.BitsAndBytesConfig"
    )


class Linears:
    """transformers' own quantizer for bitsandbytes, asked for what is no weight of experts.

    pre_quantized: the files have its codes.
    """

    def __init__(self, config: BitsAndBytesConfig, pre_quantized: bool) -> None:
        self.config = config
        self.pre_quantized = pre_quantized
        self.host = AutoHfQuantizer.from_config(config, pre_quantized=pre_quantized)
        self._keys: dict[str, dict[str, str]] = {}  # of the files, by parameter and by what they are of it
        self._dense: dict[str, int] = {}

    def replace(self, model: Any, device_map: Any, files: Iterable[str]) -> None:
        """Puts its modules in place of the model's. Routers stay what they are; config.json will say so."""
        skip = self.host.get_modules_to_not_convert(
            model, self.config.llm_int8_skip_modules, model._keep_in_fp32_modules
        )
        self.config.llm_int8_skip_modules = sorted({*skip, *routers(model)})
        self.host._process_model_before_weight_loading(model, device_map=device_map, checkpoint_files=files)
        element = torch.empty((), dtype=model.dtype).element_size()
        self._dense = {f"{name}.weight": module.in_features * module.out_features * element
                       for name, module in modules(model)}  # fmt: skip

    def has(self, model: Any, name: str) -> bool:
        return name in self._dense and self.host.param_needs_quantization(model, name)

    def element_size(self, model: Any, name: str, parameter: torch.Tensor) -> float:
        """Of codes and statistics."""
        size = self.host.param_element_size(model, name, parameter)
        if size == 1:
            return size + 4 / parameter.shape[-1]
        return size + (1 / BLOCK + 4 / (BLOCK * NESTED) if self.config.bnb_4bit_use_double_quant else 4 / BLOCK)

    # ---- from files that have codes

    def keys(self, files: SourceFiles, prefix: str) -> dict[str, str]:
        """The parameter of each tensor of the files that is a part of one."""
        targets: dict[str, str] = {}
        there = files.names()
        for parameter in self._dense:
            module = parameter.removesuffix(".weight")
            for stem in (module, f"{prefix}.{module}", module.removeprefix(f"{prefix}.")):
                parts = {part: f"{stem}.{part}" for part in self.host.serialized_names["weight"]}
                found = {part: key for part, key in parts.items() if key in there}
                if "weight" in found:
                    self._keys[parameter] = found
                    targets |= dict.fromkeys(found.values(), parameter)
                    break
        return targets

    def load(self, model: Any, name: str, files: SourceFiles, device: Any) -> torch.Tensor:
        parts = {part: files.tensor(key).to(device) for part, key in self._keys[name].items()}
        operation = self.host.get_load_operations()["deserialize"](self.host)
        (value,) = operation.convert(parts, model=model, full_layer_name=name).values()
        return value[0] if isinstance(value, list) else value

    # ---- what it made

    def described(self, model: Any) -> list[Delegated]:
        how = f"bitsandbytes {self.config.quantization_method()}"
        return [
            Delegated(f"{name}.weight", how, self._dense[f"{name}.weight"], nbytes_of(module))
            for name, module in modules(model)
        ]


def modules(model: Any) -> Iterator[tuple[str, Any]]:
    """Those of bitsandbytes that a model has, without asking whether bitsandbytes is installed."""
    for name, module in model.named_modules():
        if type(module).__name__ in CLASSES and type(module).__module__.startswith("bitsandbytes."):
            yield name, module


def nbytes_of(module: Any) -> int:
    """Codes and statistics of one of its linears."""
    weight = module.weight
    total: int = weight.nbytes
    state = getattr(weight, "quant_state", None)
    while state is not None:  # nested statistics have a state of their own
        total += state.absmax.nbytes + state.code.nbytes
        state = state.state2 if getattr(state, "nested", False) else None
    statistics = getattr(weight, "SCB", None)
    return total if statistics is None else total + statistics.nbytes


def routers(model: Any) -> set[str]:
    """Linears beside experts that decide which of them is asked."""
    found = set()
    for weight in find_experts(model):
        holder = weight.name.rpartition(".")[0].rpartition(".")[0]
        for name, module in model.get_submodule(holder).named_modules(prefix=holder):
            if type(module) is torch.nn.Linear and module.out_features in (weight.shape[0], GATES):
                found.add(name)
    return found
