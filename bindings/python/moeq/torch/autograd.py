"""The product of rows with the experts of a quantized weight: decoded on the way, forward and backward.

Nothing dense is kept for backward, which decodes again. Decoded experts are in a buffer that the next expert
overwrites; no tensor that autograd sees points into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from .._errors import StateError
from .buffers import expert_buffer
from .lazy import Dense, Expression, Factors


class Group(NamedTuple):
    """Rows [begin, end) of the input go through one expert."""

    expert: int
    begin: int
    end: int


def matrix_of(expression: Expression, expert: int) -> torch.Tensor:
    """The matrix [K, N] of one expert with its dense terms, in the thread's buffer."""
    store = expression.store
    matrix = store.decode(expert, expert_buffer(*store.shape[1:], expression.dtype, store.device))
    for term in expression.terms:
        if isinstance(term, Dense):
            matrix.add_(term.value[expert], alpha=term.alpha)
    return matrix.t() if expression.transposed else matrix


def factors_of(expression: Expression, expert: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """left [K, r], right [r, N] and alpha of each low-rank term, as the expression is turned."""
    for term in expression.terms:
        if isinstance(term, Factors):
            lhs, rhs = term.lhs[expert].to(expression.dtype), term.rhs[expert].to(expression.dtype)
            yield (rhs.t(), lhs.t(), term.alpha) if expression.transposed else (lhs, rhs, term.alpha)


def types_as_they_are(x: torch.Tensor) -> AbstractContextManager[Any]:
    """An autocast region has its say before a product; inside it would cast one part of the sum."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def multiply(x: torch.Tensor, expression: Expression, groups: list[Group]) -> torch.Tensor:
    """Rows [N, K] times the matrices of their experts, without autograd. Rows of no group become zero."""
    covered = sum(group.end - group.begin for group in groups)
    make = x.new_empty if covered == x.shape[0] else x.new_zeros
    result = make(x.shape[0], expression.shape[-1])
    for expert, begin, end in groups:
        rows, out = x[begin:end], result[begin:end]
        torch.mm(rows, matrix_of(expression, expert), out=out)
        for left, right, alpha in factors_of(expression, expert):
            out.addmm_(rows @ left, right, alpha=alpha)
    return result


class Gradients:
    """Gradients of the terms' tensors, in their order; made where somebody wants them."""

    def __init__(self, expression: Expression, wanted: tuple[bool, ...]) -> None:
        tensors = expression.term_tensors()
        self.all = [torch.zeros_like(part) if want else None for part, want in zip(tensors, wanted)]
        self._expression = expression

    def add(self, expert: int, rows: torch.Tensor, gradient: torch.Tensor) -> None:
        """Of one group: its input rows [n, K] and the gradient [n, N] of its result."""
        place = 0
        for term in self._expression.terms:
            if isinstance(term, Dense):
                self._add_matrix(place, expert, term.alpha, rows.t(), gradient)
                place += 1
                continue
            left, right = term.lhs[expert].to(rows.dtype), term.rhs[expert].to(rows.dtype)
            if self._expression.transposed:  # the product is rows @ rhs^T @ lhs^T
                self._add_matrix(place, expert, term.alpha, (rows @ right.t()).t(), gradient)
                self._add_matrix(place + 1, expert, term.alpha, rows.t(), gradient @ left)
            else:
                self._add_matrix(place, expert, term.alpha, rows.t(), gradient @ right.t())
                self._add_matrix(place + 1, expert, term.alpha, (rows @ left).t(), gradient)
            place += 2

    def _add_matrix(self, place: int, expert: int, alpha: float, a: torch.Tensor, b: torch.Tensor) -> None:
        """alpha * a @ b, transposed where the expression is."""
        total = self.all[place]
        if total is None:
            return
        if self._expression.transposed:
            a, b = b.t(), a.t()
        if total.dtype == a.dtype:
            total[expert].addmm_(a, b, alpha=alpha)
        else:
            total[expert].add_(a @ b, alpha=alpha)


class Product(torch.autograd.Function):
    """multiply() with gradients of the rows and of the terms."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, expression: Expression, groups: list[Group], *terms: torch.Tensor
    ) -> torch.Tensor:
        ctx.expression, ctx.groups, ctx.rows = expression.with_term_tensors(None), groups, x.shape
        ctx.stamp = expression.store.stamp()
        wants_terms = any(ctx.needs_input_grad[3:])
        ctx.save_for_backward(x if wants_terms else None, *terms)
        with types_as_they_are(x):
            return multiply(x, expression, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, *terms = ctx.saved_tensors
        expression = ctx.expression.with_term_tensors(terms)
        if ctx.stamp != expression.store.stamp():
            raise StateError(
                "moeq.torch: backward: got a quantized weight that was written after the forward; wanted its codes as "
                "they were: call backward before merging, loading or copying into it"
            )
        wants_x, wants_terms = ctx.needs_input_grad[0], ctx.needs_input_grad[3:]
        of_x = gradient.new_zeros(ctx.rows) if wants_x else None
        of_terms = Gradients(expression, wants_terms)
        with types_as_they_are(gradient):
            for expert, begin, end in ctx.groups:
                part = gradient[begin:end]
                if of_x is not None:
                    out = of_x[begin:end]
                    torch.mm(part, matrix_of(expression, expert).t(), out=out)
                    for left, right, alpha in factors_of(expression, expert):
                        out.addmm_(part @ right.t(), left.t(), alpha=alpha)
                if x is not None:
                    of_terms.add(expert, x[begin:end], part)
        return of_x, None, None, *of_terms.all


def product(x: torch.Tensor, expression: Expression, groups: list[Group]) -> torch.Tensor:
    """Rows [N, K], sorted into groups, times the matrices of their experts. Differentiable in rows and terms."""
    if x.shape[-1] != expression.shape[-2]:
        raise RuntimeError(
            f"moeq.torch: product: got rows of {x.shape[-1]} and a quantized weight of shape "
            f"{list(expression.shape)}; wanted rows of {expression.shape[-2]}"
        )
    if x.dtype != expression.dtype:
        raise RuntimeError(
            f"moeq.torch: product: got rows of {x.dtype} and a quantized weight that stands for {expression.dtype}; "
            "wanted one type"
        )
    groups = [group for group in groups if group.end > group.begin]
    return Product.apply(x, expression, groups, *expression.term_tensors())
