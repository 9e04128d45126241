"""Expression: what a tensor without dense values stands for, and LazyWeight, the tensor that carries one.

Selecting, indexing, transposing and adding to a quantized weight only changes the description. Values are made expert
by expert, inside a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .store import Store, refuse_fake


class Factors(NamedTuple):
    """alpha * lhs @ rhs for each expert: lhs [E, R, r], rhs [E, r, C]."""

    lhs: torch.Tensor
    rhs: torch.Tensor
    alpha: float


class Dense(NamedTuple):
    """alpha * value, value [E, R, C]."""

    value: torch.Tensor
    alpha: float


Term = Factors | Dense


class Expression(NamedTuple):
    """Experts of a store in a logical type, plus terms, perhaps transposed.

    experts: None for all of them, one index (which has no axis), or int64 ids [n]. Terms are of all experts and of the
    weight as it is stored. flat: the whole weight as [E*R*C], which FSDP2 keeps as a handle and never reads.
    """

    store: Store
    dtype: torch.dtype
    experts: int | torch.Tensor | None = None
    transposed: bool = False
    terms: tuple[Term, ...] = ()
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        count, rows, columns = self.store.shape
        matrix = (columns, rows) if self.transposed else (rows, columns)
        if self.flat:
            return (count * rows * columns,)
        if self.experts is None:
            return (count, *matrix)
        return matrix if isinstance(self.experts, int) else (self.experts.numel(), *matrix)

    @property
    def is_plain(self) -> bool:
        """Whether it is the whole weight and nothing else."""
        return self.experts is None and not self.transposed and not self.terms and not self.flat

    def term_tensors(self) -> list[torch.Tensor]:
        """The dense tensors of all terms, in order."""
        return [part for term in self.terms for part in term if isinstance(part, torch.Tensor)]

    def with_term_tensors(self, tensors: Sequence[torch.Tensor] | None) -> Expression:
        """The same with other tensors in its terms, in the order of `term_tensors`; with none in them for None."""
        left = iter(tensors or ())
        terms = tuple(
            type(term)(*(next(left, None) if isinstance(part, torch.Tensor) or part is None else part for part in term))  # type: ignore[arg-type]
            for term in self.terms
        )
        return self._replace(terms=terms)

    def requires_grad(self) -> bool:
        return any(part.requires_grad for part in self.term_tensors())

    def indices(self) -> list[int]:
        """The experts that it has, one after the other."""
        if self.experts is None:
            return list(range(self.store.shape[0]))
        return [self.experts] if isinstance(self.experts, int) else self.experts.tolist()

    # ---- change

    def transpose(self) -> Expression:
        return self._replace(transposed=not self.transposed)

    def select(self, index: int) -> Expression:
        """One expert of those that it has."""
        ids = self.experts
        if ids is None:
            return self._replace(experts=index)
        assert isinstance(ids, torch.Tensor)
        return self._replace(experts=int(ids[index]))

    def gather(self, ids: torch.Tensor) -> Expression:
        """Chosen experts, in any order and number."""
        if self.experts is not None:
            assert isinstance(self.experts, torch.Tensor)
            ids = self.experts[ids]
        return self._replace(experts=ids)

    def plus(self, term: Term) -> Expression:
        return self._replace(terms=(*self.terms, term))

    # ---- values

    def dense(self) -> torch.Tensor:
        """Its values; autograd sees the terms."""
        experts = self.indices()
        base = torch.empty(len(experts), *self.store.shape[1:], dtype=self.dtype, device=self.store.device)
        self.store.decode_into(base, experts)
        for term in self.terms:
            value = (term.lhs @ term.rhs if isinstance(term, Factors) else term.value).to(self.dtype)
            base = base + term.alpha * (value if self.experts is None else value[experts])
        if isinstance(self.experts, int):
            base = base[0]
        if self.flat:
            return base.view(-1)
        return base.transpose(-2, -1) if self.transposed else base


def wrapper(cls: type, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Any:
    """A tensor object without storage; an ordinary one in inference mode too, since operators make views of it."""
    make = torch.Tensor._make_wrapper_subclass
    if not torch.is_inference_mode_enabled():
        return make(cls, shape, dtype=dtype, device=device, requires_grad=False)
    with torch.inference_mode(False):
        return make(cls, shape, dtype=dtype, device=device, requires_grad=False)


class Described(torch.Tensor):
    """A tensor that has a description instead of values: functions and operators of torch are this package's."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from .functions import call

        return call(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from .operators import dispatch

        return dispatch(func, args, kwargs or {})


class LazyWeight(Described):
    """A selection of a quantized weight, its transpose, or its sum with adapters: a value that was not computed.

    Products use it expert by expert, with gradients of the adapters; any other operator makes it dense, by the policy
    of `moeq.torch.densify`. It is what one gets from operators, and not what is kept or saved.
    """

    _expression: Expression

    @staticmethod
    def __new__(cls, expression: Expression) -> LazyWeight:
        refuse_fake(expression.store)
        self = wrapper(cls, expression.shape, expression.dtype, expression.store.device)
        self._expression = expression
        return self

    def __init__(self, expression: Expression) -> None:
        pass

    def dequantize(self) -> torch.Tensor:
        """The dense values."""
        return self._expression.dense()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        expression = self._expression
        terms = "".join(f", plus {type(term).__name__.lower()}" for term in expression.terms)
        return f"LazyWeight({list(self.shape)}, dtype={self.dtype}, spec={str(expression.store.spec)!r}{terms})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.dequantize().detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        return self.dequantize().detach().clone()
