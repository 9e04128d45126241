"""What is likely to go otherwise than meant, told before hours of training."""

from __future__ import annotations

import torch
from torch.nn.utils import parametrize

from ..torch import MoeqTensor
from .wrappers import wrappers


def check(model: torch.nn.Module) -> list[str]:
    """Findings about adapters of a model with quantized experts, a sentence each; none if all is well."""
    told = forgotten(model)
    found = [] if told is None else [told]
    adapted = wrappers(model)
    frozen = [name for name, wrapper in adapted.items() if not any(p.requires_grad for p in own_matrices(wrapper))]
    if frozen:
        found.append(
            f"Adapters of {len(frozen)} parameters are frozen, such as {frozen[0]}: is_trainable=True loads them to train."
        )
    for adapter, config in getattr(model, "peft_config", {}).items():
        names = [name for name, wrapper in adapted.items() if adapter in wrapper.lora_A]
        if getattr(config, "target_parameters", None) and not names:
            found.append(
                f"Adapter {adapter!r} has target_parameters and is on none: PEFT has not found them, as it does not find a "
                "second adapter's where experts are parametrized."
            )
    modules: dict[str, list[str]] = {}
    for name, wrapper in adapted.items():
        if parametrize.is_parametrized(wrapper.get_base_layer(), wrapper.parameter_name):
            modules.setdefault(name.rpartition(".")[0], []).append(name)
    for names in modules.values():
        if len(names) > 1:
            found.append(
                f"{names[0]} and {len(names) - 1} more of its module are parametrized: PEFT's own files of them load on "
                "such a base only; moeq.peft.load_adapter and save_per_expert sort them out."
            )
            break
    return found


def forgotten(model: torch.nn.Module) -> str | None:
    """The finding that experts are quantized, and none has an adapter."""
    quantized = quantized_parameters(model)
    if not quantized or wrappers(model):
        return None
    tails = sorted({".".join(name.split(".")[-2:]) for name in quantized})
    return (
        f"None of {len(quantized)} quantized weights of experts has an adapter: LoraConfig(target_parameters={tails}) "
        "gives them one, or moeq.peft.parameter_names of these where they are parametrized."
    )


def own_matrices(wrapper: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [part for kind in (wrapper.lora_A, wrapper.lora_B) for part in kind.parameters()]  # type: ignore[union-attr]


def quantized_parameters(model: torch.nn.Module) -> list[str]:
    """MoeqTensors, and what moeq.torch.parametrize has replaced."""
    from ..torch.parametrize.attached import DecodedList

    found = [name for name, value in model.named_parameters() if isinstance(value, MoeqTensor)]
    for path, module in model.named_modules():
        if isinstance(module, DecodedList):
            found.append(path.replace("parametrizations.", ""))
    return found
