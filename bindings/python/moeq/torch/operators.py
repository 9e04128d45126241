"""What torch's operators do with quantized weights, below autograd.

Aliases, copies and selections work on codes. An operator that is not here gets dense values, by the policy of
`moeq.torch.densify`; one that writes into a weight has its result quantized.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .._errors import ShapeError, UnsupportedError
from . import products
from .functions import NeedsDense
from .lazy import Expression, LazyWeight
from .policy import no_bytes, permit
from .products import as_lazy, described, expression_of
from .store import LOGICAL_DTYPES, Store
from .tensor import MoeqTensor

aten = torch.ops.aten
OPERATORS: dict[Any, Callable[..., Any]] = {}


def operator(*overloads: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(overloads, function))
        return function

    return register


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """__torch_dispatch__ of both tensor classes."""
    handler = OPERATORS.get(func)
    if handler is not None:
        result = handler(*args, **kwargs)
        if result is not NotImplemented:
            return result
    return on_dense(func, args, kwargs)


# ---- what is not known


def on_dense(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operator on dequantized weights."""
    if func.namespace == "c10d":
        raise UnsupportedError(
            f"moeq.torch: {func}: got a quantized weight, of which no dense values are sent; wanted its .components(), "
            "or what moeq.distributed has"
        )
    written = [arg for arg, spec in zip(args, func._schema.arguments) if spec.is_write]
    if any(isinstance(arg, LazyWeight) for arg in written):
        raise UnsupportedError(f"moeq.torch: {func}: got a lazy weight to write into; wanted one with memory")
    made: dict[int, torch.Tensor] = {}

    def dense(weight: MoeqTensor | LazyWeight) -> torch.Tensor:
        if described(weight).requires_grad():
            raise NeedsDense(
                f"moeq.torch: {func}: got a weight with adapters below autograd, where their gradients would be lost; "
                "wanted its .dequantize()"
            )
        if id(weight) not in made:
            permit(func, tuple(weight.shape))
            made[id(weight)] = weight.dequantize()
        return made[id(weight)]

    plain_args, plain_kwargs = pytree.tree_map_only((MoeqTensor, LazyWeight), dense, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    for weight in written:
        if isinstance(weight, MoeqTensor):
            rewrite(weight, made[id(weight)].__getitem__)
            result = weight
    return result


def rewrite(weight: MoeqTensor, dense: Callable[[int], torch.Tensor]) -> MoeqTensor:
    """Quantizes new values in place."""
    weight._store.make_writable()
    weight._store.encode(dense)
    return weight


# ---- aliases and copies


@operator(aten.detach.default, aten.alias.default)
def alias(weight: Any) -> Any:
    return as_lazy(weight._expression) if isinstance(weight, LazyWeight) else weight._like(weight._store)


@operator(aten.clone.default)
def clone(weight: Any, *, memory_format: Any = None) -> Any:
    return weight._like(weight._store.map(torch.clone)) if isinstance(weight, MoeqTensor) else NotImplemented


@operator(aten._to_copy.default)
def to_copy(weight: Any, *, dtype: Any = None, device: Any = None, non_blocking: bool = False, **others: Any) -> Any:
    """Another logical type, or another device; the codes stay what they are."""
    dtype, device = dtype or weight.dtype, torch.device(device or weight.device)
    if dtype not in LOGICAL_DTYPES:
        return NotImplemented
    if isinstance(weight, LazyWeight):
        return as_lazy(weight._expression._replace(dtype=dtype)) if device == weight.device else NotImplemented
    store = weight._store.map(lambda part: part.to(device, non_blocking=non_blocking, copy=True))
    return type(weight)._of(store, dtype)


@operator(aten.copy_.default)
def copy_(target: Any, source: Any, non_blocking: bool = False) -> Any:
    """Codes of the same spec go byte for byte; all else is quantized, or decoded."""
    if isinstance(target, LazyWeight):
        return NotImplemented
    if not isinstance(target, MoeqTensor):
        return decode_to(target, source)
    if isinstance(source, LazyWeight):
        return NotImplemented
    if isinstance(source, MoeqTensor) and (source.spec, source.shape) == (target.spec, target.shape):
        if source._store is target._store:
            return target
        target._store.make_writable()
        target._store.write(source._store)
        return target
    if source.shape != target.shape:
        raise ShapeError(
            f"moeq.torch: copy_: got values of shape {list(source.shape)}; wanted those of the quantized weight, "
            f"{list(target.shape)}"
        )
    decoded = source._store.decode if isinstance(source, MoeqTensor) else None
    shape, device = target.shape[1:], target.device
    return rewrite(
        target,
        lambda expert: decoded(expert, torch.empty(shape, device=device)) if decoded else source[expert].to(device),
    )


def decode_to(target: torch.Tensor, source: Any) -> Any:
    """A dense tensor gets a weight's values, expert by expert."""
    if not isinstance(source, MoeqTensor) or target.shape != source.shape:
        return NotImplemented
    for expert in range(source.shape[0]):
        target[expert].copy_(source.dequantize(experts=expert))
    return target


@operator(aten.is_pinned.default)
def is_pinned(weight: Any, device: Any = None) -> Any:
    """As torch's checkpoints ask of a shard."""
    if not isinstance(weight, MoeqTensor):
        return NotImplemented
    return all(part.is_pinned() for part in weight._store.components.values())


# ---- sums in place, as merging has them


@operator(aten.add_.Tensor)
def add_(weight: Any, other: Any, *, alpha: Any = 1) -> Any:
    """Decoded and added in fp32, quantized again: one expert at a time."""
    if not isinstance(weight, MoeqTensor) or expression_of(other) is not None or not isinstance(other, torch.Tensor):
        return NotImplemented
    if other.shape != weight.shape:
        return NotImplemented
    buffer = torch.empty(weight.shape[1:], device=weight.device)
    return rewrite(
        weight, lambda expert: weight._store.decode(expert, buffer).add_(other[expert].to(buffer.device), alpha=alpha)
    )


@operator(aten.sub_.Tensor)
def sub_(weight: Any, other: Any, *, alpha: Any = 1) -> Any:
    return add_(weight, other, alpha=-alpha)


# ---- selections


@operator(aten.select.int)
def select(weight: Any, dim: int, index: int) -> Any:
    found = expression_of(weight)
    if found is None or dim % weight.ndim != 0 or weight.ndim != 3:
        return NotImplemented
    count = found.shape[0]
    if not -count <= index < count:
        raise IndexError(f"moeq.torch: select: got expert {index}; wanted one in [{-count}, {count})")
    return as_lazy(found.select(int(index) % count))


@operator(aten.index.Tensor)
def index(weight: Any, indices: list[Any]) -> Any:
    ids = indices[0] if len(indices) == 1 else None
    if ids is None or ids.ndim != 1 or ids.dtype not in (torch.int32, torch.int64) or weight.ndim != 3:
        return NotImplemented
    return as_lazy(described(weight).gather(wrapped(ids, weight.shape[0])))


@operator(aten.index_select.default)
def index_select(weight: Any, dim: int, ids: Any) -> Any:
    return index(weight, [ids]) if dim % weight.ndim == 0 and ids.ndim == 1 else NotImplemented


def wrapped(ids: torch.Tensor, count: int) -> torch.Tensor:
    """int64 ids in [0, count) that nobody else can change."""
    ids = ids.to(torch.int64)
    if ids.numel() and not ids.is_meta and (int(ids.min()) < -count or int(ids.max()) >= count):
        raise IndexError(
            f"moeq.torch: index: got experts from {int(ids.min())} to {int(ids.max())}; wanted [{-count}, {count})"
        )
    return torch.where(ids < 0, ids + count, ids)


@operator(aten.slice.Tensor)
def slice_(weight: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A range of experts shares memory."""
    if not isinstance(weight, MoeqTensor):
        return slice_lazy(weight, dim, start, end, step)
    begin, end, step = slice(start, end, step).indices(weight.shape[dim])
    if step == 1 and (begin, end) == (0, weight.shape[dim]):
        return weight._like(weight._store)
    if dim % weight.ndim != 0 or step != 1:
        return NotImplemented
    return weight._like(weight._store.experts(begin, max(begin, end)))


def slice_lazy(weight: Any, dim: int, start: Any, end: Any, step: int) -> Any:
    begin, end, step = slice(start, end, step).indices(weight.shape[dim])
    if (begin, end, step) == (0, weight.shape[dim], 1):
        return as_lazy(weight._expression)
    if dim % weight.ndim != 0 or weight.ndim != 3:
        return NotImplemented
    return as_lazy(weight._expression.gather(torch.arange(begin, end, step, device=weight.device)))


@operator(aten.split.Tensor)
def split(weight: Any, size: int, dim: int = 0) -> Any:
    if not isinstance(weight, MoeqTensor) or dim % weight.ndim != 0:
        return NotImplemented
    return [slice_(weight, 0, begin, begin + size) for begin in range(0, weight.shape[0], size)]


@operator(aten.split_with_sizes.default)
def split_with_sizes(weight: Any, sizes: list[int], dim: int = 0) -> Any:
    if not isinstance(weight, MoeqTensor) or dim % weight.ndim != 0 or sum(sizes) != weight.shape[0]:
        return NotImplemented
    begins = [sum(sizes[:place]) for place in range(len(sizes))]
    return [slice_(weight, 0, begin, begin + size) for begin, size in zip(begins, sizes)]


@operator(aten.unbind.int)
def unbind(weight: Any, dim: int = 0) -> Any:
    if weight.ndim != 3 or dim % weight.ndim != 0:
        return NotImplemented
    return [select(weight, 0, expert) for expert in range(weight.shape[0])]


@operator(aten.transpose.int)
def transpose(weight: Any, a: int, b: int) -> Any:
    axes = {a % weight.ndim, b % weight.ndim}
    if axes == {weight.ndim - 2, weight.ndim - 1}:
        return turned(described(weight))
    return alias(weight) if len(axes) == 1 else NotImplemented


@operator(aten.t.default)
def t(weight: Any) -> Any:
    return transpose(weight, 0, 1) if weight.ndim == 2 else NotImplemented


@operator(aten.permute.default)
def permute(weight: Any, dims: list[int]) -> Any:
    last_two_swapped = [*range(weight.ndim - 2), weight.ndim - 1, weight.ndim - 2]
    return transpose(weight, -2, -1) if [dim % weight.ndim for dim in dims] == last_two_swapped else NotImplemented


def turned(expression: Expression) -> Any:
    """The transpose; of a transpose of a whole weight, the weight itself."""
    expression = expression.transpose()
    return MoeqTensor._of(expression.store, expression.dtype) if expression.is_plain else as_lazy(expression)


# ---- shapes: what FSDP2 and module conversion do with a shard


@operator(aten.view.dtype)
def view_bytes(weight: Any, dtype: Any) -> Any:
    if dtype == weight.dtype:
        return alias(weight)
    raise no_bytes(f"view({dtype})", weight)


@operator(aten.view.default, aten._unsafe_view.default)
def view(weight: Any, size: list[int]) -> Any:
    """The same shape, or flat: a handle that turns back, and is read by nobody."""
    found = described(weight)
    if not found.is_plain and not found.flat:
        return NotImplemented
    count = math.prod(found.store.shape)
    size = [count // max(1, -math.prod(size)) if extent == -1 else extent for extent in size]
    if size == list(found.store.shape):
        return MoeqTensor._of(found.store, found.dtype)
    return as_lazy(found._replace(flat=True)) if size == [count] else NotImplemented


@operator(aten.constant_pad_nd.default)
def constant_pad_nd(weight: Any, pad: list[int], value: Any = 0) -> Any:
    """More experts at the end, of zeros: ranks with fewer of them gather as many as the others."""
    if not isinstance(weight, MoeqTensor) or any(pad[:-1]) or len(pad) != 6 or pad[-1] < 0 or value:
        return NotImplemented
    padded = Store.empty(weight.spec, (weight.shape[0] + pad[-1], *weight.shape[1:]), weight.device, zeros=True)
    for name, part in padded.components.items():
        part[: weight.shape[0]] = weight._store.components[name]
    return weight._like(padded)


@operator(aten.as_strided.default)
def as_strided(weight: Any, size: list[int], stride: list[int], offset: Any = None) -> Any:
    """The weight itself, or its first experts without the padding that FSDP2 gathered with them."""
    contiguous = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
    if not isinstance(weight, MoeqTensor) or list(stride) != contiguous or offset:
        return NotImplemented
    if len(size) != 3 or list(size[1:]) != list(weight.shape[1:]) or size[0] > weight.shape[0]:
        return NotImplemented
    return slice_(weight, 0, 0, size[0])


# ---- new ones


def fresh(weight: Any, shape: Any, dtype: Any, device: Any, *, zeros: bool) -> Any:
    """A weight of the same spec with any number of experts; any other shape is for an ordinary tensor."""
    if not isinstance(weight, MoeqTensor) or (dtype or weight.dtype) not in LOGICAL_DTYPES:
        return None
    if len(shape) != 3 or tuple(shape[1:]) != tuple(weight.shape[1:]):
        return None
    store = Store.empty(weight.spec, shape, device or weight.device, zeros=zeros)
    return type(weight)._of(store, dtype or weight.dtype)


@operator(aten.new_zeros.default)
def new_zeros(weight: Any, size: Any, *, dtype: Any = None, device: Any = None, **others: Any) -> Any:
    found = fresh(weight, size, dtype, device, zeros=True)
    return torch.zeros(size, dtype=dtype or weight.dtype, device=device or weight.device) if found is None else found


@operator(aten.new_empty.default)
def new_empty(weight: Any, size: Any, *, dtype: Any = None, device: Any = None, **others: Any) -> Any:
    found = fresh(weight, size, dtype, device, zeros=False)
    return torch.empty(size, dtype=dtype or weight.dtype, device=device or weight.device) if found is None else found


@operator(aten.zeros_like.default)
def zeros_like(weight: Any, *, dtype: Any = None, device: Any = None, **others: Any) -> Any:
    return new_zeros(weight, list(weight.shape), dtype=dtype, device=device)


@operator(aten.empty_like.default)
def empty_like(weight: Any, *, dtype: Any = None, device: Any = None, **others: Any) -> Any:
    return new_empty(weight, list(weight.shape), dtype=dtype, device=device)


# ---- products, where a caller has gone past torch's functions


def without_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """A product below autograd. It would lose the gradients of adapters, so those are refused."""

    def product(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            found = expression_of(arg)
            if found is not None and found.requires_grad():
                raise UnsupportedError(
                    "moeq.torch: product: got a weight with adapters below autograd, where their gradients would be "
                    "lost; wanted torch's own functions (not with __torch_function__ disabled)"
                )
        return function(*args, **kwargs)

    return product


OPERATORS.update(
    {
        aten.mm.default: without_gradients(products.mm),
        aten.bmm.default: without_gradients(products.bmm),
        aten.addmm.default: without_gradients(products.addmm),
        aten.matmul.default: without_gradients(products.matmul),
        aten.linear.default: without_gradients(products.linear),
        aten._grouped_mm.default: without_gradients(products.grouped_mm),
    }
)
