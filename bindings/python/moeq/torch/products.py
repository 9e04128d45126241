"""torch's products with a quantized factor, as products of sorted rows. All are differentiable.

Each takes the arguments of the function that it stands for, and returns NotImplemented for a combination that it does
not know, which then goes the way of all other operators.
"""

from __future__ import annotations

from typing import Any

import torch

from .._errors import StateError
from .autograd import Group, product
from .lazy import Expression, LazyWeight


def expression_of(value: Any) -> Expression | None:
    """The expression behind a tensor of this package, else None."""
    from .tensor import MoeqTensor

    if isinstance(value, LazyWeight):
        return value._expression
    if not isinstance(value, MoeqTensor):
        return None
    if value._has_history:
        raise StateError(
            "moeq.torch: got a quantized weight into which values with a gradient were written, and codes would lose "
            "it; wanted torch.no_grad() around the write, or weight + values instead of weight += values"
        )
    return Expression(value._store, value.dtype)


def factor_of(value: Any) -> Expression | None:
    """The same for what can be a factor."""
    found = expression_of(value)
    return None if found is None or found.flat else found


def autocast(x: torch.Tensor, weight: Expression) -> tuple[torch.Tensor, Expression]:
    """Both in the type of the autocast region that is active, as torch's own products have it."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return x, weight
    if not x.dtype.is_floating_point or x.dtype == torch.float64:
        return x, weight
    dtype = torch.get_autocast_dtype(kind)
    return x.to(dtype), weight._replace(dtype=dtype)


def rows_product(x: torch.Tensor, weight: Expression) -> torch.Tensor:
    """x [..., K] times one expert's [K, N]."""
    assert isinstance(weight.experts, int)
    x, weight = autocast(x, weight)
    rows = x.reshape(-1, x.shape[-1])
    result = product(rows, weight, [Group(weight.experts, 0, rows.shape[0])])
    return result.view(*x.shape[:-1], result.shape[-1])


def batch_product(x: torch.Tensor, weight: Expression) -> torch.Tensor:
    """x [B, n, K] times [B, K, N]: rows of the same expert become one group."""
    x, weight = autocast(x, weight)
    batch, count, width = x.shape
    if batch != weight.shape[0]:
        raise RuntimeError(
            f"moeq.torch: batched product: got {batch} matrices and a quantized weight of shape {list(weight.shape)}; "
            "wanted as many"
        )
    if weight.experts is None:
        groups = [Group(expert, expert * count, (expert + 1) * count) for expert in range(batch)]
        return product(x.reshape(-1, width), weight, groups).view(batch, count, -1)
    ids, order = torch.sort(weight.experts, stable=True)
    result = product(x[order].reshape(-1, width), weight, runs(ids.tolist(), count)).view(batch, count, -1)
    return result[torch.argsort(order)]


def runs(ids: list[int], count: int) -> list[Group]:
    """Groups of equal neighbours in sorted ids, each of which has `count` rows."""
    groups: list[Group] = []
    for place, expert in enumerate(ids):
        if groups and groups[-1].expert == expert:
            groups[-1] = groups[-1]._replace(end=(place + 1) * count)
        else:
            groups.append(Group(expert, place * count, (place + 1) * count))
    return groups


# ---- torch's functions


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    found = factor_of(weight)
    if found is None or len(found.shape) != 2:
        return NotImplemented
    result = rows_product(x, found.transpose())
    return result if bias is None else result + bias


def matmul(a: Any, b: Any) -> Any:
    left, right = factor_of(a), factor_of(b)
    if left is not None and right is not None:
        return NotImplemented
    if right is None:  # W @ x is (x^T @ W^T)^T
        if left is None or a.ndim != b.ndim or b.ndim < 2:
            return NotImplemented
        return matmul(b.transpose(-2, -1), as_lazy(left.transpose())).transpose(-2, -1)
    if isinstance(right.experts, int):
        return rows_product(a, right)
    return batch_product(a, right) if a.ndim == 3 else NotImplemented


def mm(a: Any, b: Any) -> Any:
    return matmul(a, b) if a.ndim == b.ndim == 2 else NotImplemented


def bmm(a: Any, b: Any) -> Any:
    return matmul(a, b) if a.ndim == b.ndim == 3 else NotImplemented


def addmm(total: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if expression_of(total) is not None:
        return NotImplemented
    result = mm(a, b)
    return result if result is NotImplemented else beta * total + alpha * result


def grouped_mm(x: Any, weight: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """x [N, K], rows sorted by expert, which end at offs; rows behind the last end become zero."""
    found = factor_of(weight)
    if found is None or bias is not None or isinstance(found.experts, int):
        return NotImplemented
    if offs is None:
        result = batch_product(x, found) if x.ndim == 3 else NotImplemented
    elif x.ndim == 2:
        ends = offs.tolist()
        if len(ends) != found.shape[0]:
            raise RuntimeError(
                f"moeq.torch: grouped_mm: offs: got {len(ends)} ends; wanted {found.shape[0]}, one for each expert"
            )
        result = product(x, found, [Group(*group) for group in zip(found.indices(), [0, *ends], ends)])
    else:
        return NotImplemented
    return result if out_dtype is None or result is NotImplemented else result.to(out_dtype)


def as_lazy(expression: Expression) -> LazyWeight:
    return LazyWeight(expression)
