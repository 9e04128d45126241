"""What torch's collectives do with quantized weights: bytes of codes and scales travel, dense values never.

DistributedDataParallel begins with a broadcast of everything that a model has: many tensors in one flat one, which it
cuts again. With quantized weights among them the flat one is a FlatBag, which knows what it was made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import distributed

from .._errors import MismatchError, UnsupportedError
from .lazy import Expression, LazyWeight, wrapper
from .operators import aten, operator
from .products import as_lazy
from .store import Store
from .tensor import MoeqTensor

CHUNK = 32 << 20  # bytes that are sent at once, and what a receiver has beside its codes

Send = Callable[[torch.Tensor], None]


# ---- bytes


def as_bytes(part: torch.Tensor) -> torch.Tensor:
    """A component's bytes in a row; of every type that a backend may not know. The same memory where it is whole."""
    return part.contiguous().reshape(-1).view(torch.uint8)


def chunks(part: torch.Tensor) -> Iterator[slice]:
    """Ranges of a component's experts that are not too large to be sent at once."""
    count = len(part)
    experts = max(1, CHUNK * count // max(1, part.numel() * part.element_size()))
    return (slice(begin, begin + experts) for begin in range(0, count if part.numel() else 0, experts))


def broadcast_store(store: Store, send: Send, *, receives: bool) -> None:
    """Codes of one rank for all. send: broadcasts a tensor of bytes, and returns when it is there.

    A receiver writes only what differs, so codes that are mapped from a file stay mapped where they are the same.
    """
    for name, part in store.components.items():
        for chunk in chunks(part):
            mine = as_bytes(part[chunk])
            if not receives:
                send(mine)
                continue
            came = torch.empty_like(mine)
            send(came)
            if not torch.equal(came, mine):
                store.make_writable()
                store._writes[0] += 1
                place = store.components[name][chunk]
                place.copy_(came.view(place.dtype).view(place.shape))


# ---- many tensors as one


class FlatBag(torch.Tensor):
    """Tensors one after the other, some of them quantized weights: what a bucket of DistributedDataParallel is made of.

    It can be broadcast and cut where its pieces meet. pieces: flat ones, plain tensors or descriptions of whole weights.
    """

    pieces: list[torch.Tensor | Expression]
    plain: torch.Tensor  # the memory of all plain ones

    @staticmethod
    def __new__(cls, flats: Sequence[torch.Tensor]) -> FlatBag:
        dtype = next(flat.dtype for flat in flats)
        self = wrapper(cls, (sum(flat.numel() for flat in flats),), dtype, flats[0].device)
        plain = [flat for flat in flats if not isinstance(flat, LazyWeight)]
        self.plain = torch.cat(plain) if plain else torch.empty(0, dtype=dtype, device=flats[0].device)
        left = iter(self.plain.split([len(flat) for flat in plain]))
        self.pieces = [flat._expression if isinstance(flat, LazyWeight) else next(left) for flat in flats]
        return self

    def __init__(self, flats: Sequence[torch.Tensor]) -> None:
        pass

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"FlatBag({len(self.pieces)} pieces, {self.numel()} elements)"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handlers: dict[Any, Callable[..., Any]] = {
            aten.slice.Tensor: cut,
            torch.ops.c10d.broadcast_.default: broadcast_,
        }
        handler = handlers.get(func)
        if handler is None:
            raise UnsupportedError(
                f"moeq.torch: {func}: got tensors in a row with quantized weights among them; wanted to broadcast them"
            )
        return handler(*args, **(kwargs or {}))


def cut(bag: FlatBag, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> torch.Tensor:
    """A piece of a bag."""
    begin, stop, _ = slice(start, end, step).indices(bag.numel())
    offset = 0
    for piece in bag.pieces:
        count = piece.numel() if isinstance(piece, torch.Tensor) else piece.shape[0]
        if (begin, stop) == (offset, offset + count):
            return piece if isinstance(piece, torch.Tensor) else as_lazy(piece)
        offset += count
    raise UnsupportedError(f"moeq.torch: slice: got [{begin}, {stop}) of tensors in a row; wanted one of them")


@operator(aten.cat.default)
def cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> Any:
    """Of flat weights and flat tensors of their type; anything else is for dense values."""
    weights = [one for one in tensors if isinstance(one, LazyWeight)]
    if not weights or not all(one._expression.flat for one in weights):
        return NotImplemented
    if any(one.ndim != 1 or one.dtype != tensors[0].dtype or isinstance(one, MoeqTensor) for one in tensors):
        return NotImplemented
    return FlatBag(tensors)


# ---- collectives of a process group


def structure(pieces: Sequence[torch.Tensor | Expression]) -> str:
    """What all ranks have to agree on before bytes go."""
    return "; ".join(
        f"{piece.dtype} {piece.numel()}" if isinstance(piece, torch.Tensor)
        else f"{piece.dtype} {piece.store.spec} {list(piece.store.shape)}"
        for piece in pieces
    )  # fmt: skip


def check_structure(mine: str, processes: Any, send: Send, receives: bool, device: torch.device) -> None:
    """Ends all ranks where the weights of one are not of the same kinds as those of the sender, before codes come."""
    digest = torch.frombuffer(bytearray(hashlib.sha256(mine.encode()).digest()), dtype=torch.uint8).to(device)
    sent = digest.clone()
    send(sent)
    unlike = receives and not torch.equal(sent, digest)
    count = torch.tensor([int(unlike)], dtype=torch.int32, device=device)
    processes.allreduce([count]).wait()
    if not int(count):
        return
    got = f"weights of other formats or shapes than the sending rank has; this rank has {mine}"
    if not unlike:
        got = f"{int(count)} ranks with weights of other formats or shapes than the sending rank has: {mine}"
    raise MismatchError(
        f"moeq.torch: broadcast: got {got}; wanted the same on all ranks (moeq.distributed.check(model) names the first "
        "difference)"
    )


def broadcast_(
    tensors: list[Any], group: Any, root_rank: int, root_tensor: int, async_op: bool = True, timeout: int = -1
) -> Any:
    """Of a bag, or of one flat weight: all ranks have quantized weights then. Of a weight itself nobody knows that."""
    (tensor,) = tensors
    if isinstance(tensor, FlatBag):
        pieces, plain = tensor.pieces, tensor.plain
    elif isinstance(tensor, LazyWeight) and tensor._expression.flat:
        pieces, plain = [tensor._expression], torch.empty(0)
    else:
        raise UnsupportedError(
            "moeq.torch: broadcast: got a quantized weight, for which other ranks may have dense memory (accelerate's "
            "cpu_ram_efficient_loading and torch's broadcast_from_rank0 do that); wanted "
            "moeq.distributed.prepare(model) before accelerate prepares it, moeq.distributed.load_state_dict(model, "
            "state) for a state dict, or moeq.distributed.broadcast(model)"
        )
    processes = distributed.ProcessGroup.unbox(group)
    works: list[Any] = []  # the last one, which is what the caller waits for

    def send(flat: torch.Tensor) -> None:
        works[:] = [processes.broadcast([flat], broadcast_options(root_rank))]
        works[0].wait()

    receives = processes.rank() != root_rank
    check_structure(structure(pieces), processes, send, receives, tensor.device)
    if plain.numel():
        send(plain)
    for piece in pieces:
        if isinstance(piece, Expression):
            broadcast_store(piece.store, send, receives=receives)
    return tensors, works[0].boxed()


def broadcast_options(root_rank: int) -> Any:
    options = distributed.BroadcastOptions()
    options.rootRank = root_rank
    return options


def scatter_(
    outputs: list[Any], inputs: list[list[Any]], group: Any, root_rank: int, async_op: bool = True, timeout: int = -1
) -> Any:
    """Ranges of experts for each rank, as distribute_tensor cuts them: component by component."""
    (output,) = outputs
    if not isinstance(output, MoeqTensor) or not all(isinstance(one, MoeqTensor) for each in inputs for one in each):
        raise UnsupportedError("moeq.torch: scatter: got dense and quantized weights together; wanted one kind")
    processes = distributed.ProcessGroup.unbox(group)
    options = distributed.ScatterOptions()
    options.rootRank = root_rank
    for name, part in output.components().items():
        came = torch.empty_like(as_bytes(part))
        work = processes.scatter(
            [came], [[as_bytes(one.components()[name]) for one in each] for each in inputs], options
        )
        work.wait()
        part.copy_(came.view(part.dtype).view(part.shape))
    output._store._writes[0] += 1
    return outputs, work.boxed()


# ---- collectives of functions


def all_gather(weight: Any, size: int, group: Any) -> Any:
    """Codes and scales of all ranks. They have ranges of experts of the same size."""

    def gathered(part: torch.Tensor) -> torch.Tensor:
        sent = part.contiguous()
        if sent.element_size() == 1:  # float8, which gloo does not know
            sent = sent.view(torch.uint8)
        return torch.ops._c10d_functional.all_gather_into_tensor(sent, size, group).view(part.dtype)

    components = {name: gathered(part) for name, part in weight._store.components.items()}
    return weight._like(Store(weight.spec, (weight.shape[0] * size, *weight.shape[1:]), components))


def wait(weight: Any) -> Any:
    return weight._like(weight._store.map(torch.ops._c10d_functional.wait_tensor))


def register() -> None:
    if not distributed.is_available():
        return
    functional, of_groups = torch.ops._c10d_functional, torch.ops.c10d
    operator(of_groups.broadcast_.default)(broadcast_)
    operator(of_groups.scatter_.default)(scatter_)
    operator(functional.all_gather_into_tensor.default)(all_gather)
    operator(functional.wait_tensor.default)(wait)
    if hasattr(functional, "_wrap_tensor_autograd"):  # of newer torch: waits when it is read, which is now
        operator(functional._wrap_tensor_autograd.default)(wait)


register()
