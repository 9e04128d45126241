"""Names for target_parameters. Of a module that is parametrized PEFT wants the whole name, and finds nothing by a short
one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch.nn.utils import parametrize

from .._errors import NotFoundError


def parameter_names(model: torch.nn.Module, targets: Iterable[str]) -> list[str]:
    """Whole names of the parameters that targets such as "experts.down_proj" mean, in the order of the model.

    The model is what get_peft_model gets. A target that means none raises.
    """
    targets, names = list(targets), list(parameters(model))
    for target in targets:
        if not any(means(target, name) for name in names):
            last = target.rpartition(".")[2]
            near = [name for name in names if name.rpartition(".")[2] == last]
            raise NotFoundError(
                f"moeq.peft.parameter_names: targets: got {target!r}, which no parameter's name ends with; wanted one "
                f"such as {(near or names or ['none: the model has no parameters'])[0]}"
            )
    return [name for name in names if any(means(target, name) for target in targets)]


def means(target: str, name: str) -> bool:
    return name == target or name.endswith("." + target)


def parameters(model: torch.nn.Module) -> Iterator[str]:
    """Plain ones and parametrized ones, by the name that the code of their module reads."""
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList) or ".parametrizations." in f".{path}.":
            continue
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if parametrize.is_parametrized(module):
            own += list(module.parametrizations)  # type: ignore[arg-type]
        yield from (f"{path}.{name}" if path else name for name in own)
