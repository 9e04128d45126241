"""What torch's functions do with quantized weights above autograd: products, sums with adapters, `.data`.

All that is not here goes on to the operators, below autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .._errors import ArgumentError, MoeqError, UnsupportedError
from . import products
from .lazy import Dense, Factors, LazyWeight
from .policy import no_bytes, permit
from .products import as_lazy, expression_of, factor_of
from .tensor import MoeqTensor

Function = Callable[..., Any]


class NeedsDense(MoeqError, NotImplementedError):
    """An operator below autograd met a weight with adapters, which only autograd may make dense."""


def plain_call(func: Function, args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        result = func(*args, **kwargs)
        if isinstance(result, MoeqTensor) and result.requires_grad:  # written in place from what has a gradient
            result._has_history = True
    return result


@torch.compiler.disable(reason="moeq.torch: quantized weights are decoded outside of graphs")
def call(func: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """__torch_function__ of both tensor classes."""
    handler = FUNCTIONS.get(func) or OPERATORS_OF_OTHERS.get(getattr(func, "_qualified_op_name", ""))
    if handler is not None:
        result = handler(*args, **kwargs)
        if result is not NotImplemented:
            return result
    try:
        return plain_call(func, args, kwargs)
    except NeedsDense:
        args, kwargs = pytree.tree_map_only(LazyWeight, lambda lazy: made_dense(func, lazy), (args, kwargs))
        return func(*args, **kwargs)


def made_dense(func: Function, lazy: LazyWeight) -> torch.Tensor:
    """The values of a lazy weight for an operator, where the policy has nothing against it. Autograd sees them made."""
    permit(getattr(func, "__name__", func), tuple(lazy.shape))
    return lazy.dequantize()


# ---- sums


def add(a: Any, b: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """Weight plus a dense tensor of its shape, as PEFT adds an adapter: a term."""
    left, right = factor_of(a), factor_of(b)
    if out is not None or (left is None) == (right is None):
        return NotImplemented
    weight, value = (left, b) if right is None else (right, a)
    assert weight is not None
    if weight is right and alpha != 1:
        return NotImplemented
    if not isinstance(value, torch.Tensor) or weight.experts is not None or value.shape != weight.shape:
        return NotImplemented
    if not value.dtype.is_floating_point or torch.promote_types(value.dtype, weight.dtype) != weight.dtype:
        return NotImplemented  # the sum has another type than the weight
    value = value.transpose(-2, -1) if weight.transposed else value
    return as_lazy(weight.plus(Dense(value, alpha)))


def subtract(a: Any, b: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    return add(a, b, alpha=-alpha, out=out) if expression_of(a) is not None else NotImplemented


def baddbmm(weight: Any, lhs: Any, rhs: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """Weight plus low-rank factors, as PEFT adds one adapter: a term, not a second stack."""
    found = factor_of(weight)
    if found is None or found.experts is not None or beta != 1 or out is not None:
        return NotImplemented
    if expression_of(lhs) is not None or expression_of(rhs) is not None:
        return NotImplemented
    shape = (*lhs.shape[:-1], rhs.shape[-1])
    if lhs.ndim != 3 or rhs.ndim != 3 or lhs.shape[::2] != shape[:1] + rhs.shape[1:2] or shape != found.shape:
        raise RuntimeError(
            f"moeq.torch: baddbmm: got factors {list(lhs.shape)} and {list(rhs.shape)} for a quantized weight of shape "
            f"{list(found.shape)}; wanted [E, R, r] and [E, r, C]"
        )
    if lhs.dtype != found.dtype or rhs.dtype != found.dtype:
        raise RuntimeError(
            f"moeq.torch: baddbmm: got factors of {lhs.dtype} and {rhs.dtype}; wanted the weight's {found.dtype}"
        )
    if found.transposed:
        lhs, rhs = rhs.transpose(-2, -1), lhs.transpose(-2, -1)
    return as_lazy(found.plus(Factors(lhs, rhs, alpha)))


# ---- a tensor's own state


def isfinite(weight: Any) -> Any:
    """Expert by expert, so that no dense stack is made beside the answer."""
    if not isinstance(weight, MoeqTensor) or weight.is_meta:
        return NotImplemented
    result = torch.empty(weight.shape, dtype=torch.bool, device=weight.device)
    for expert in range(weight.shape[0]):
        result[expert] = torch.isfinite(weight.dequantize(experts=expert))
    return result


def set_data(weight: Any, value: Any) -> Any:
    """`weight.data = value`: takes another weight's codes over, or quantizes dense values."""
    if not isinstance(weight, MoeqTensor):
        raise UnsupportedError("moeq.torch: .data: got a lazy weight to write into; wanted one with memory")
    weight._set_data(value)


def requires_grad_(weight: Any, requires_grad: bool = True) -> Any:
    if requires_grad:
        raise ArgumentError(
            "moeq.torch: requires_grad: got True; wanted False: codes have no gradient. "
            "Use torch.nn.Parameter(weight, requires_grad=False), and train adapters"
        )
    return weight


def share_memory_(weight: Any) -> Any:
    return weight._share_memory() if isinstance(weight, MoeqTensor) else NotImplemented


def is_shared(weight: Any) -> Any:
    if not isinstance(weight, MoeqTensor):
        return NotImplemented
    return all(part.is_shared() for part in weight._store.components.values())


def pin_memory(weight: Any, *arguments: Any) -> Any:
    if not isinstance(weight, MoeqTensor):
        return NotImplemented
    return weight._like(weight._store.map(torch.Tensor.pin_memory))


def numpy(weight: Any, **options: Any) -> Any:
    raise no_bytes("numpy()", weight)


Tensor, functional = torch.Tensor, torch.nn.functional
FUNCTIONS: dict[Any, Function] = {
    functional.linear: products.linear,
    torch.matmul: products.matmul,
    Tensor.matmul: products.matmul,
    Tensor.__matmul__: products.matmul,
    Tensor.__rmatmul__: lambda a, b: products.matmul(b, a),
    torch.mm: products.mm,
    Tensor.mm: products.mm,
    torch.bmm: products.bmm,
    Tensor.bmm: products.bmm,
    torch.addmm: products.addmm,
    Tensor.addmm: products.addmm,
    torch._grouped_mm: products.grouped_mm,
    torch.add: add,
    Tensor.add: add,
    Tensor.__add__: add,
    Tensor.__radd__: lambda a, b: add(b, a),
    torch.sub: subtract,
    Tensor.sub: subtract,
    Tensor.__sub__: subtract,
    torch.baddbmm: baddbmm,
    Tensor.baddbmm: baddbmm,
    torch.isfinite: isfinite,
    Tensor.isfinite: isfinite,
    Tensor.data.__set__: set_data,
    Tensor.requires_grad.__set__: requires_grad_,
    Tensor.requires_grad_: requires_grad_,
    Tensor.share_memory_: share_memory_,
    Tensor.is_shared: is_shared,
    Tensor.pin_memory: pin_memory,
    Tensor.numpy: numpy,
}
if hasattr(functional, "grouped_mm"):
    FUNCTIONS[functional.grouped_mm] = products.grouped_mm
OPERATORS_OF_OTHERS: dict[str, Function] = {"transformers::grouped_mm_fallback": products.grouped_mm}
