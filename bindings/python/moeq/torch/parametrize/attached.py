"""How such a parameter hangs on its module: torch's parametrization, with a cache of its own.

torch's cache is one for the whole process. Within PEFT's forward it keeps the values from before PEFT's own
parametrization of the same parameter, so that an adapter has no effect and gets no gradient; here the values are kept by
the parameter's list, for the time of its module's forward, and forgotten when the list changes.
"""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import Any

import torch
from torch.nn.utils import parametrize

from ..._errors import ShapeError
from .guarded import DecodedWeight
from .saving import load_entries, save_entries


class Window(threading.local):
    """What one thread has decoded in a forward of the module that is under way."""

    depth = 0
    key: tuple[int, bool] | None = None
    value: torch.Tensor | None = None

    def forget(self) -> None:
        self.key = self.value = None

    def __deepcopy__(self, memo: Any) -> Window:
        return Window()

    def __reduce__(self) -> Any:
        return Window, ()


class DecodedList(parametrize.ParametrizationList):
    """A ParametrizationList whose first member decodes. Made of torch's by `attach`."""

    window: Window
    forwarded: bool  # a forward has ended since the last change
    handles: list[Any]

    @torch.compiler.disable(reason="moeq.torch: quantized weights are decoded outside of graphs")
    def forward(self) -> torch.Tensor:
        if self.forwarded:
            self.remove_left_behind()
        window = self.window
        if not window.depth:
            return self.evaluate()
        key = (len(self), torch.is_grad_enabled())
        if window.value is None or window.key != key:
            window.value, window.key = self.evaluate(), key
        return window.value

    def evaluate(self) -> torch.Tensor:
        value = super().forward()
        if len(self) > 1:
            return value
        value = value.as_subclass(DecodedWeight)
        value._is_hf_initialized = True  # type: ignore[attr-defined]  # transformers' initializers leave it alone
        return value

    def append(self, module: torch.nn.Module) -> DecodedList:
        self.remove_left_behind()  # PEFT has one at a time
        super().append(module)
        return self

    def __delitem__(self, index: Any) -> None:
        super().__delitem__(index)
        self.window.forget()

    def remove_left_behind(self) -> None:
        """PEFT 0.21 does not take away what it put behind another parametrization. When its forward is over it has no
        effect any more."""
        for index in reversed(range(1, len(self))):
            if type(self[index]).__module__.split(".")[0] == "peft":
                super().__delitem__(index)
        self.forwarded = False
        self.window.forget()

    @torch.no_grad()
    def right_inverse(self, value: torch.Tensor) -> None:
        """What `module.name = value` does: new codes in the same memory."""
        shape = self[0](self.original.to("meta")).shape
        if value.shape != shape:
            raise ShapeError(f"moeq.torch.parametrize: value: got shape {list(value.shape)}; wanted {list(shape)}")
        fresh, codes = self[0].encode(value)
        self[0].take(fresh)
        self.original.copy_(codes)
        self.window.forget()


def enter(name: str, module: torch.nn.Module, args: Any) -> None:
    listed(module, name).window.depth += 1


def leave(name: str, module: torch.nn.Module, args: Any, output: Any) -> None:
    """Also after an exception, which may have come before `enter`."""
    found = listed(module, name)
    found.window.depth = max(0, found.window.depth - 1)
    if not found.window.depth:
        found.window.forget()
        found.forwarded = True


def listed(module: torch.nn.Module, name: str) -> DecodedList:
    return module.parametrizations[name]  # type: ignore[union-attr, index, return-value]


def attach(
    module: torch.nn.Module, name: str, parametrization: torch.nn.Module, codes: torch.Tensor
) -> torch.nn.Module:
    """The parameter becomes `codes`, read through the parametrization."""
    module.register_parameter(name, torch.nn.Parameter(codes, requires_grad=False))
    parametrize.register_parametrization(module, name, parametrization, unsafe=True)
    found = listed(module, name)
    found.__class__ = DecodedList
    found.window, found.forwarded = Window(), False
    found.handles = [
        module.register_forward_pre_hook(partial(enter, name)),
        module.register_forward_hook(partial(leave, name), always_call=True),
        module.register_state_dict_post_hook(partial(save_entries, name)),
        module.register_load_state_dict_pre_hook(partial(load_entries, name)),
    ]
    give_properties(type(module), [name])
    return module


def detach(module: torch.nn.Module, name: str) -> None:
    """Leaves the codes as an ordinary parameter."""
    for handle in listed(module, name).handles:
        handle.remove()
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)


# ---- the class that torch makes for one module


def give_properties(kind: type, names: list[str]) -> None:
    """torch has made this class for the module, with a property for each name that asks the process's cache."""
    for name in names:
        setattr(kind, name, property(partial(read, name), partial(write, name)))
    kind._is_hf_initialized = property(is_initialized, set_initialized)  # type: ignore[attr-defined]
    base = kind.__bases__[0]
    if base.__reduce__ is object.__reduce__:
        kind.__reduce__ = reduce  # type: ignore[assignment, method-assign]
    if not hasattr(base, "__deepcopy__"):
        kind.__deepcopy__ = deep_copy  # type: ignore[attr-defined]


def read(name: str, module: torch.nn.Module) -> torch.Tensor:
    return listed(module, name)()


def write(name: str, module: torch.nn.Module, value: torch.Tensor) -> None:
    listed(module, name).right_inverse(value)


def is_initialized(module: torch.nn.Module) -> bool:
    """transformers initializes what a load has not filled, and skips modules of which this is true; to look at a
    parameter of ours, it would decode it."""
    if module.__dict__.get("_is_hf_initialized"):
        return True
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return all(getattr(part, "_is_hf_initialized", False) for part in own)


def set_initialized(module: torch.nn.Module, value: bool) -> None:
    module.__dict__["_is_hf_initialized"] = value


def reduce(module: torch.nn.Module) -> Any:
    """For pickle, which cannot find the class that torch has made."""
    return shell, shape_of(module), dict(module.__dict__)


def deep_copy(module: torch.nn.Module, memo: dict[int, Any]) -> torch.nn.Module:
    """Into a class of its own: in torch's copy, which shares it, taking a parametrization away breaks the original."""
    if id(module) in memo:
        return memo[id(module)]
    memo[id(module)] = result = shell(*shape_of(module))
    result.__dict__.update(copy.deepcopy(module.__dict__, memo))
    return result


def shape_of(module: torch.nn.Module) -> tuple[type[torch.nn.Module], list[str], list[str]]:
    lists = module.parametrizations.items()  # type: ignore[union-attr, operator]
    ours = [name for name, found in lists if isinstance(found, DecodedList)]
    return parametrize.type_before_parametrizations(module), [name for name, _ in lists], ours


def shell(kind: type[torch.nn.Module], names: list[str], ours: list[str]) -> Any:
    """A module of a class of its own, to be filled."""
    module = object.__new__(kind)
    torch.nn.Module.__init__(module)
    for name in names:
        module.register_parameter(name, torch.nn.Parameter(torch.empty(0)))
        parametrize.register_parametrization(module, name, torch.nn.Identity(), unsafe=True)
    give_properties(type(module), ours)
    return module
