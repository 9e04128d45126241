"""An adapter of fused experts as one of linears per expert, the layout that serving engines read.

PEFT packs all experts of a parameter into one pair of matrices, whose keys do not say so: lora_A [E*r, in] expert by
expert, lora_B [out, r*E] with the expert index running fastest. Engines that look for linears per expert find none of
their names in it, and serve the base model.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch

from .._errors import NotFoundError, UnsupportedError
from .wrappers import wrappers

OLDEST = (0, 19)  # before it, in and out were the other way round
PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "up_proj": ("up_proj",), "down_proj": ("down_proj",)}


def save_per_expert(model: Any, folder: str | os.PathLike[str], adapter: str = "default") -> dict[str, torch.Tensor]:
    """Writes adapter_model.safetensors and adapter_config.json; returns the tensors.

    Experts become `...experts.E.gate_proj.lora_A.weight` and so on, gate and up with the lora_A that they share; what
    else the adapter has keeps its keys. PEFT itself reads it on a model with such linears.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    check_version(version("peft"))
    fused = wrappers(model)
    if not fused:
        raise NotFoundError(
            "moeq.peft.save_per_expert: model: got one without adapters on parameters; wanted target_parameters"
        )
    with torch.no_grad():
        tensors = dict(part for name, wrapper in fused.items() for part in linears(name, wrapper, adapter))
    prefixes = tuple(name.rpartition(".")[0] + "." for name in fused)
    others = get_peft_model_state_dict(model, adapter_name=adapter)
    tensors |= {name: part for name, part in others.items() if not name.startswith(prefixes)}
    os.makedirs(folder, exist_ok=True)
    save_file({name: part.contiguous().cpu() for name, part in tensors.items()},
              os.path.join(folder, "adapter_model.safetensors"), metadata={"format": "pt"})  # fmt: skip
    per_linear_config(model.peft_config[adapter], tensors).save_pretrained(folder)
    return tensors


def check_version(text: str) -> None:
    if tuple(int(part) for part in text.split(".")[:2]) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise UnsupportedError(f"moeq.peft.save_per_expert: got PEFT {text}, which packs otherwise; wanted {wanted}")


def linears(name: str, wrapper: Any, adapter: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and matrices of one fused parameter."""
    module, _, parameter = name.rpartition(".")
    if parameter not in PARTS:
        raise UnsupportedError(
            f"moeq.peft.save_per_expert: {name}: got a parameter whose linears are not known; wanted one of "
            f"{', '.join(PARTS)}"
        )
    a, b, count = wrapper.lora_A[adapter].weight, wrapper.lora_B[adapter].weight, wrapper.num_experts
    a, b = a.view(count, -1, a.shape[1]), b.view(b.shape[0], -1, count)
    for expert in range(count):
        for linear, rows in zip(PARTS[parameter], halves(wrapper, b[:, :, expert], len(PARTS[parameter]))):
            key = f"{module}.{expert}.{linear}"
            yield f"{key}.lora_A.weight", a[expert].clone()
            yield f"{key}.lora_B.weight", rows.clone()


def halves(wrapper: Any, rows: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
    """Output rows of gate and up: one after the other, or in turns where the module says so."""
    if parts == 1:
        return (rows,)
    concatenated = getattr(wrapper.get_base_layer(), "is_concatenated", True)
    return tuple(rows.chunk(2)) if concatenated else (rows[0::2], rows[1::2])


def per_linear_config(config: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The adapter's config with the linears for targets."""
    config = copy.copy(config)
    config.target_parameters = None
    config.target_modules = {name.split(".lora_")[0].rpartition(".")[2] for name in tensors if ".lora_" in name}
    config.inference_mode = True
    return config
