"""DecodedWeight: values that are looked at. What is written into them would be lost, so it raises."""

from __future__ import annotations

from typing import Any

import torch

from ..._errors import ReadOnlyError

KEPT = (torch.Tensor.data.__get__, torch.Tensor.detach)  # type: ignore[attr-defined]  # other names of the values
HARMLESS = ("requires_grad_", "share_memory_", "retain_grad")
IN_PLACE = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "__imatmul__")


class DecodedWeight(torch.Tensor):
    """A plain tensor in all else. PEFT's merge adds to the `.data` of what it reads, and would not notice."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if writes(func, args, kwargs):
            raise ReadOnlyError(
                f"moeq.torch.parametrize: {func.__name__}: got a write into the decoded values of a quantized parameter, "
                "which forget it (PEFT's merge does this); wanted module.name = values, which quantizes them, "
                "or dense_parameter(module, name) or moeq_parameter(module, name) first, into which PEFT can merge"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        return result.as_subclass(cls) if func in KEPT else result


def writes(func: Any, args: Any, kwargs: Any) -> bool:
    if isinstance(kwargs.get("out"), DecodedWeight):
        return True
    if not args or not isinstance(args[0], DecodedWeight):
        return False
    name = getattr(func, "__name__", "")
    if func == torch.Tensor.data.__set__ or name in IN_PLACE:  # type: ignore[attr-defined]
        return True
    return name.endswith("_") and not name.endswith("__") and name not in HARMLESS
