"""MoeqQuantizer: the hooks that transformers calls during a load and a save."""

from __future__ import annotations

import logging as levels
import os
from typing import Any

import torch
from transformers.core_model_loading import WeightConverter, WeightRenaming
from transformers.integrations.accelerate import get_device
from transformers.integrations.deepspeed import deepspeed_config
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils import logging

from .._errors import ArgumentError, IncompleteError, UnsupportedError
from .._reader import open as open_checkpoint
from ..distributed.accelerate import add_hooks
from ..peft.reminder import remind
from ..torch import MoeqTensor
from .building import as_parameter
from .cache import Cache, cache_key
from .config import MoeqConfig
from .experts import find_experts
from .files import SourceFiles
from .linears import Linears, modules, nbytes_of
from .native import Packed, saved_tensors
from .packed import converter_for, match_parameters
from .plan import Planned, make_plan, spec_for
from .report import Quantized, Report, Skipped
from .streaming import Keep, StreamingConverter, is_divided, is_streamable
from .whole import QuantizeWhole

logger = logging.get_logger("transformers.moeq")


@register_quantizer("moeq")
class MoeqQuantizer(HfQuantizer):
    """Made by transformers; a model has it as `model.hf_quantizer`. Of use to users: report() and footprint(model)."""

    quantization_config: MoeqConfig

    def __init__(self, quantization_config: MoeqConfig, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        self.from_checkpoint = bool(kwargs.get("pre_quantized", True))
        # transformers reads ahead in threads what it takes for quantized already. Nothing of ours is read by it.
        self.pre_quantized = False
        self.linears = self._delegate(quantization_config)
        self.plan: dict[str, Planned] = {}
        self._report = Report()
        self._device_map: Any = None
        self._cache: Cache | None = None
        self._packed: Packed | None = None
        self._parameters: dict[str, str] = {}  # of native weights
        self._files = SourceFiles([])

    def _delegate(self, config: MoeqConfig) -> Linears | None:
        """A quantizer for linears: as the files have them, else as the caller asks for, of dense ones."""
        asked = config.requested["linears"] if config.requested is not None else None
        if config.linears is None and asked is not None:
            config.linears = asked
            return Linears(asked, pre_quantized=False)
        if config.linears is None:
            return None
        if asked is not None and asked.quantization_method() != config.linears.quantization_method():
            raise ArgumentError(
                f"moeq.transformers.MoeqConfig: linears: got {asked.quantization_method()!r}, which the checkpoint has "
                f"as {config.linears.quantization_method()!r}; wanted none, which takes them as they are"
            )
        return Linears(config.linears, pre_quantized=self.from_checkpoint)

    # ---- what transformers asks

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters are trained, codes are not."""
        return True

    def validate_environment(self, *args: Any, device_map: Any = None, **kwargs: Any) -> None:
        """Called with what the user gave, and again with what "auto" became."""
        if deepspeed_config() is not None:
            raise UnsupportedError(
                "moeq.transformers: DeepSpeed: got its configuration, as TrainingArguments(deepspeed=...) sets it; wanted "
                "none: its engine sends parameters as dense bytes, which codes do not have. Use FSDP2 or "
                "DistributedDataParallel (docs/distributed.md)"
            )
        self._device_map = device_map
        devices = set(device_map.values()) if isinstance(device_map, dict) else {device_map}
        offloaded = {"disk"} & devices or ({"cpu"} & devices if len(devices) > 1 else set())
        if offloaded:
            places = [name or "the model" for name, device in device_map.items() if device in offloaded]
            raise UnsupportedError(
                f"moeq.transformers: device_map: got {places[0]!r}{' and others' if len(places) > 1 else ''} on "
                f"{sorted(offloaded)[0]!r}; wanted accelerators only, or device_map='cpu' for all: quantized experts "
                "are not offloaded by a load. Choose a smaller format, raise max_memory, load with device_map='cpu' and "
                "then call accelerate.cpu_offload; from a saved folder or a cache codes are mapped, and take no memory "
                "of the process"
            )
        if self.linears is not None:
            self.linears.host.validate_environment(*args, device_map=device_map, **kwargs)

    def update_device_map(self, device_map: Any) -> Any:
        if self.linears is not None:  # without one it takes the accelerator
            self._device_map = device_map = self.linears.host.update_device_map(device_map)
        return device_map

    def adjust_max_memory(self, max_memory: dict[str, Any]) -> dict[str, Any]:
        return max_memory if self.linears is None else self.linears.host.adjust_max_memory(max_memory)

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        return param_name in self.plan or (self.linears is not None and self.linears.has(model, param_name))

    def param_element_size(self, model: Any, param_name: str, param: torch.Tensor) -> float:
        """Bytes per element as it will be: device maps and warm-up multiply by it."""
        planned = self.plan.get(param_name)
        if planned is not None:
            return planned.nbytes / param.numel()
        if self.linears is not None and self.linears.has(model, param_name):
            return self.linears.element_size(model, param_name, param)
        return param.element_size()

    def get_quantize_ops(self) -> QuantizeWhole:
        """For what reaches the model in one piece, since its converter cannot be taken expert by expert, and linears."""
        return QuantizeWhole(self)

    # ---- before the load

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: list[str] | None = None, **kwargs: Any
    ) -> Any:
        if getattr(model.config, "distributed_config", None) is not None:
            raise UnsupportedError(
                "moeq.transformers: distributed_config: got tensor or expert parallelism; wanted none: "
                "quantized experts are loaded whole on each rank"
            )
        self._files = SourceFiles(checkpoint_files or [])
        if self.from_checkpoint:
            self._plan_of_checkpoint(model, checkpoint_files or [])
        else:
            self._plan_of_config(model, checkpoint_files or [])
        if self.linears is not None:
            self.linears.replace(model, kwargs.get("device_map"), checkpoint_files or [])
        return model

    def _plan_of_config(self, model: Any, files: list[str]) -> None:
        config = self.quantization_config
        if config.format is None:
            raise ArgumentError(
                "moeq.transformers.MoeqConfig: format: got none for a checkpoint that is not quantized; wanted "
                "one such as MoeqConfig('nf4')"
            )
        self.plan, self._report.skipped = make_plan(model, config)
        if not self.plan and not config.allow_nothing:
            raise ArgumentError(
                f"moeq.transformers: got nothing to quantize in {type(model).__name__}: "
                + ("; ".join(f"{one.name}: {one.reason}" for one in self._report.skipped[:4]) or "it has no experts")
                + "; wanted weights of experts, or MoeqConfig(allow_nothing=True)"
            )
        if config.cache is not None and self._files.paths and self.plan:
            self._cache = Cache(config.cache, cache_key(self._files.paths, self.plan), self.plan)

    def _plan_of_checkpoint(self, model: Any, files: list[str]) -> None:
        if not files or not files[0].endswith(".safetensors"):
            raise ArgumentError("moeq.transformers: got a quantized model without .safetensors files; wanted a folder")
        self._packed = Packed(open_checkpoint(os.path.dirname(files[0]), mmap=True))
        self._experts = {one.name: one for one in find_experts(model)}
        self._model_prefix = model.base_model_prefix

    def _refuse_another_format(self) -> None:
        """Where the caller gave a configuration too, it has to be what the files have."""
        if self.quantization_config.requested is None or self.quantization_config.requested["format"] is None:
            return
        asked = MoeqConfig(**self.quantization_config.requested)
        for name, planned in self.plan.items():
            text = asked.spec_text(name)
            wanted = None if text is None else spec_for(planned.weight, text)
            if wanted != planned.spec.with_(logical_dtype=None).resolve((1, *planned.weight.shape[1:])):
                raise ArgumentError(
                    f"moeq.transformers: quantization_config: got {text or 'dense'!r} for {name}, which the "
                    f"checkpoint has as {str(planned.spec)!r}; wanted no quantization_config=, "
                    "which takes it as it is; for another format load the dense checkpoint"
                )

    def update_weight_conversions(self, weight_conversions: list[Any], model: Any) -> list[Any]:
        if self._packed is not None:
            return self._conversions_of_checkpoint(weight_conversions)
        result = [StreamingConverter.like(one) if self._replaceable(one) else one for one in weight_conversions]
        return result + self._converters_of_renamed()

    def _replaceable(self, converter: Any) -> bool:
        if type(converter) is not WeightConverter or not is_streamable(converter.operations):
            return False
        targets = [target.replace("\\", "") for target in converter._original_target_patterns]
        if len(targets) > 1 and not is_divided(converter.operations):
            return False
        return any(name.endswith(target.lstrip("^")) for name in self.plan for target in targets)

    def _converters_of_renamed(self) -> list[StreamingConverter]:
        """For files that have a whole parameter under its own name. The host's converters come first."""
        tails = sorted({".".join(name.rsplit(".", 2)[-2:]) for name in self.plan})
        return [StreamingConverter([tail], [tail], [Keep()]) for tail in tails]

    def _conversions_of_checkpoint(self, conversions: list[Any]) -> list[Any]:
        assert self._packed is not None
        self._parameters = match_parameters(self._packed, self._experts, conversions, self._model_prefix)
        for name, parameter in self._parameters.items():
            weight, spec = self._experts[parameter], self._packed.spec(name)
            self.plan[parameter] = Planned(weight, spec)
        self._refuse_another_format()
        self._report.skipped = [
            Skipped(one.name, one.reason or "the checkpoint has it dense", one.nbytes)
            for one in self._experts.values() if one.name not in self.plan
        ]  # fmt: skip
        renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
        others = [one for one in conversions if not isinstance(one, WeightRenaming)]
        targets = {key: one for name, one in self._parameters.items() for key in self._packed.keys(name)}
        if self.linears is not None and self.linears.pre_quantized:
            targets |= self.linears.keys(self._files, self._model_prefix)
        return [*renamings, converter_for(targets, conversions), *others]

    # ---- during the load, by our converters

    def device_of(self, name: str) -> Any:
        if not isinstance(self._device_map, dict):
            return "cpu"
        return get_device(self._device_map, name, valid_torch_device=True)

    def open_source(self, name: str) -> Any:
        return self._files.slice(name)

    def take_ready(self, name: str) -> MoeqTensor | None:
        """A parameter that need not be quantized: of the checkpoint, or of the cache."""
        if self._packed is not None:
            source = next(one for one, parameter in self._parameters.items() if parameter == name)
            ready: MoeqTensor | None = self._packed.load(source, self.plan[name].weight.dtype)
            where = "checkpoint"
        else:
            ready = self._cache.load(name) if self._cache is not None else None
            where = "cache"
        if ready is None:
            return None
        self.finished(name, ready, where)
        device = torch.device(self.device_of(name))
        return ready if device.type == "cpu" else ready.to(device)

    def from_files(self, name: str, model: Any) -> torch.Tensor:
        """A parameter whose codes the checkpoint has."""
        ready = self.take_ready(name) if name in self.plan else None
        if ready is not None:
            return as_parameter(ready)
        assert self.linears is not None
        return self.linears.load(model, name, self._files, self.device_of(name))

    def finished(self, name: str, tensor: MoeqTensor, source: str) -> None:
        weight = self.plan[name].weight
        if self._cache is not None and source in ("streamed", "whole"):
            self._cache.put(name, tensor)
        self._report.quantized.append(
            Quantized(name, str(tensor.spec), weight.shape, weight.nbytes, tensor.quantized_nbytes, source)
        )

    # ---- after the load

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        parameters = dict(model.named_parameters())
        everything = dict(model.named_parameters(remove_duplicate=False))  # tied weights under all their names
        for name in self.plan:
            if not isinstance(everything.get(name), MoeqTensor):
                raise IncompleteError(
                    f"moeq.transformers: {name}: got no values from the checkpoint; wanted its experts"
                )
        if self.from_checkpoint:
            self._refuse_missing(parameters)
        if self._cache is not None:
            self._cache.finish()
            self._report.notes += self._cache.notes
        self._cache = self._packed = None
        self._files = SourceFiles([])
        add_hooks(model)  # for accelerate, where there are several processes
        if self.plan:
            remind(model)
        if self.linears is not None:
            self.linears.host._process_model_after_weight_loading(model, **kwargs)
            self._report.linears = self.linears.described(model)
        handed = {one.name for one in self._report.linears}
        counted = handed | {one.name for one in self._report.quantized} | {one.name for one in self._report.skipped}
        self._report.other_bytes = sum(
            value.nbytes
            for name, value in parameters.items()
            if name not in counted and not isinstance(value, MoeqTensor)
        )
        self.quantization_config.modules_to_not_convert = dense_modules(
            {name: value for name, value in parameters.items() if name not in handed}
        )
        if self.plan:
            # Codes are saved under the names that the model has: the host's reversed converters would cut them.
            model._weight_conversions = []
        logger.log(levels.WARNING if self._something_left() else levels.INFO, self._report.line())
        return model

    def _refuse_missing(self, parameters: dict[str, Any]) -> None:
        """Experts that the files have neither quantized nor dense were made at random by the host."""
        missing = [one.name for one in self._report.skipped
                   if one.name in parameters and not getattr(parameters[one.name], "_is_hf_initialized", False)]  # fmt: skip
        if missing:
            raise IncompleteError(
                f"moeq.transformers: {missing[0]}: got no values from the checkpoint"
                f"{f', nor for {len(missing) - 1} others' if len(missing) > 1 else ''}; wanted its experts, quantized "
                "or dense: a whole checkpoint"
            )

    def _something_left(self) -> bool:
        """Whether weights stayed dense that nobody asked to leave; biases do not count."""
        total = sum(one.dense_bytes for one in self._report.quantized)
        asked = "the configuration says so"
        return sum(one.bytes for one in self._report.skipped if one.reason != asked) > 0.01 * total

    def report(self) -> Report:
        """What was quantized, what was left and why; its text is a line for each weight."""
        return self._report

    @staticmethod
    def footprint(model: Any) -> int:
        """Bytes of a model's parameters and buffers as they are held: quantized ones by their codes and scales."""
        held = {id(one): one for one in [*model.parameters(), *model.buffers()]}
        linears = {id(module.weight): nbytes_of(module) for _, module in modules(model)}
        return sum(
            one.quantized_nbytes if isinstance(one, MoeqTensor) else linears.get(id(one), one.nbytes)
            for one in held.values()
        )

    # ---- save, dequantize

    def get_state_dict_and_metadata(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        state, metadata = {}, {}
        tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
        for name, value in model.state_dict().items():
            if isinstance(getattr(value, "_local_tensor", None), MoeqTensor):
                raise UnsupportedError(
                    f"moeq.transformers: save_pretrained: got {name} in shards; wanted a whole model: codes do not change "
                    "in training, so save adapters (docs/distributed.md has how), or torch's sharded checkpoints"
                )
            if isinstance(value, MoeqTensor):
                if name in tied:  # the file has it under the other name, and the host ties it again
                    continue
                tensors, about = saved_tensors(name, value)
                state.update(tensors)
                metadata.update(about)
            else:
                state[name] = value
        return state, metadata

    def _dequantize(self, model: Any, dtype: Any = None) -> Any:
        if isinstance(dtype, str):  # as save_pretrained leaves it in the configuration
            dtype = getattr(torch, dtype)
        if self.linears is not None:
            model = self.linears.host._dequantize(model, dtype=dtype)
        for module in model.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                if isinstance(value, MoeqTensor):
                    setattr(module, name, torch.nn.Parameter(value.dequantize(dtype=dtype or value.dtype)))
            if hasattr(getattr(module, "config", None), "_is_quantized"):
                del module.config._is_quantized
        return model


def dense_modules(parameters: dict[str, Any]) -> list[str]:
    """Modules with matrices that stay as they are, for readers of config.json."""
    names = (name.rpartition(".")[0] for name, value in parameters.items()
             if value.ndim >= 2 and not isinstance(value, MoeqTensor))  # fmt: skip
    return list(dict.fromkeys(names))
