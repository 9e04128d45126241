"""QuantizeWhole: for parameters that the host joins in one piece."""

from __future__ import annotations

from typing import Any

import torch
from transformers.core_model_loading import ConversionOps

from .building import as_parameter, quantize_experts


class QuantizeWhole(ConversionOps):
    """The last operation of such a parameter; transformers makes one for each."""

    def __init__(self, quantizer: Any) -> None:
        self._quantizer = quantizer

    def convert(  # type: ignore[override]
        self, input_dict: dict[str, Any], source_patterns: Any = None, target_patterns: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        linears = self._quantizer.linears
        if linears is not None and not linears.pre_quantized:
            handed = {name: value for name, value in input_dict.items() if linears.has(kwargs["model"], name)}
            if handed:
                rest = {name: value for name, value in input_dict.items() if name not in handed}
                made = linears.host.get_quantize_ops().convert(handed, **kwargs)
                return made | {name: self._quantized(name, value) for name, value in rest.items()}
        return {name: self._quantized(name, value) for name, value in input_dict.items()}

    def _quantized(self, name: str, value: Any) -> torch.Tensor:
        value = value[0] if isinstance(value, list) else value
        planned = self._quantizer.plan.get(name)
        if planned is None:
            return value
        ready = self._quantizer.take_ready(name)
        if ready is None:
            values = value.to(planned.weight.dtype)
            ready = quantize_experts(planned, values.__getitem__, value.device, lambda expert, row: name)
            self._quantizer.finished(name, ready, "whole")
        return as_parameter(ready)
