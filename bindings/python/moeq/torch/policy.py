"""What happens when torch asks a quantized weight for something that only dense values can answer."""

from __future__ import annotations

import warnings
from typing import Any

from .._errors import ArgumentError, UnsupportedError

MODES = ("error", "warn", "allow")


class DensifyWarning(UserWarning):
    """A whole quantized weight was dequantized for one operator."""


class densify:
    """Sets the policy, from now on or in `with`.

    "error": an operator that needs dense values raises. "warn" (what a process begins with): the weight is
    dequantized and each operator is named once. "allow": the same without a word. Products, copies, merges and the
    other operators of docs/torch.md never need it.
    """

    mode = "warn"
    _warned: set[str] = set()

    def __init__(self, mode: str) -> None:
        if mode not in MODES:
            raise ArgumentError(f"moeq.torch.densify: mode: got {mode!r}; wanted one of {', '.join(MODES)}")
        self._before = densify.mode
        densify.mode = mode

    def __enter__(self) -> densify:
        return self

    def __exit__(self, *exception: object) -> None:
        densify.mode = self._before


def permit(operator: Any, shape: tuple[int, ...]) -> None:
    """Called before a weight of that shape is dequantized for an operator; raises where that is not wanted."""
    name = str(operator)
    if densify.mode == "error":
        raise UnsupportedError(
            f"moeq.torch: {name}: got a quantized weight of shape {list(shape)}; wanted a product, a selection or "
            "another operator that works on codes; use .dequantize(), or allow it with moeq.torch.densify('warn')"
        )
    if densify.mode == "warn" and name not in densify._warned:
        densify._warned.add(name)
        message = f"moeq.torch: {name} dequantizes a whole weight of shape {list(shape)}; see moeq.torch.densify"
        warnings.warn(message, DensifyWarning, stacklevel=2)


def no_bytes(what: str, weight: Any) -> UnsupportedError:
    """For what asks for the bytes of a dense weight, as accelerate does when it offloads to disk."""
    return UnsupportedError(
        f"moeq.torch: {what}: got a quantized weight of shape {list(weight.shape)}, which has no dense bytes; wanted "
        ".components(), or .dequantize() before. Where accelerate offloads a model to disk: save_pretrained and "
        "from_pretrained instead, which maps codes from the files, or accelerate.cpu_offload"
    )
