"""Where PEFT keeps the adapters of parameters."""

from __future__ import annotations

from typing import Any

import torch


def wrappers(model: torch.nn.Module) -> dict[str, Any]:
    """PEFT's ParamWrappers by the name of their parameter. Those of one module are nested, which names do not show."""
    found = {}
    for name, module in model.named_modules():
        parameter = getattr(module, "parameter_name", None)
        if parameter is not None and hasattr(module, "get_delta_weight"):
            path = [part for part in name.split(".") if part != "base_layer"]
            found[".".join([*path, parameter])] = module
    return found
