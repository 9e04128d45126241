"""Store: codes and scales of a stack of experts, as torch tensors whose first axis is the expert's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, UnsupportedFakeTensorException

from .._builder import Builder
from .._errors import ArgumentError, BadValueError, NotFoundError, ReadOnlyError, ShapeError, UnsupportedError
from .._qtensor import QTensor, quantize_into
from .._spec import Spec, as_spec

NAMES = ("codes", "scale", "nested_scale", "nested_map", "nested_offset")
OF_EXPERTS = ("codes", "scale")  # the others have no expert axis in the library, and get one here
NESTED_GROUP = 256  # statistics that share a nested scale
DTYPES = {
    "uint8": torch.uint8, "int8": torch.int8, "fp32": torch.float32, "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2, "fp8_e8m0": torch.float8_e8m0fnu,
}  # fmt: skip
LOGICAL_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def plain_spec(spec: Spec | str) -> Spec:
    """The spec without its logical type, which the tensor has; refused where experts share blocks."""
    spec = as_spec(spec).with_(logical_dtype=None)
    if spec.blocking == "flat":
        raise UnsupportedError(
            "moeq.torch: spec: got blocking=flat, whose blocks cross from one expert into the next; wanted "
            "blocking=expert or blocking=row, so that experts can be selected, sharded and written one by one"
        )
    return spec


def one_expert(spec: Spec, rows: int, columns: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Element type and shape of each component of one expert, without an expert axis."""
    found = {}
    for name in NAMES:
        try:
            info = spec.component(name, (1, rows, columns))
        except NotFoundError:
            continue
        found[name] = DTYPES[info.dtype], info.shape[1:] if name in OF_EXPERTS else info.shape
    return found


class Store:
    """Components by name, each [experts, ...], and the handles over them.

    A store is what a tensor and its aliases share. Slices of one share its memory. Every expert can be decoded and
    written by itself: nested weights keep map and offset for each.
    """

    __slots__ = ("spec", "shape", "components", "owned", "is_part", "padded", "_writes", "_handles", "_addresses")

    def __init__(
        self, spec: Spec, shape: tuple[int, int, int], components: Mapping[str, torch.Tensor], *, owned: bool = True
    ) -> None:
        self.spec = spec
        self.shape = shape
        self.components = dict(components)
        self.owned = owned  # False: memory of somebody else's, perhaps a mapped file; it is never written
        self.is_part = False
        self.padded: Store | None = None  # what this is the beginning of
        self._writes = [0]  # counted here, and with what shares memory: below autograd torch counts none
        self._handles: dict[int, QTensor] = {}  # by expert for nested weights, else one at 0
        self._addresses: tuple[int, ...] = ()

    # ---- make

    @classmethod
    def empty(cls, spec: Spec | str, shape: Iterable[int], device: Any, *, zeros: bool = False) -> Store:
        """Components with undefined contents, or of zero bytes, which decode to zeros."""
        extents = tuple(int(extent) for extent in shape)
        if len(extents) != 3:
            raise ShapeError(f"moeq.torch: shape: got {list(extents)}; wanted [experts, rows, columns]")
        experts, rows, columns = extents
        spec = plain_spec(spec).resolve((1, rows, columns))
        make = torch.zeros if zeros else torch.empty
        components = {
            name: make((experts, *shape_of), dtype=dtype, device=device)
            for name, (dtype, shape_of) in one_expert(spec, rows, columns).items()
        }
        return cls(spec, extents, components)

    @classmethod
    def quantize(cls, weight: torch.Tensor, spec: Spec | str) -> Store:
        if weight.ndim != 3 or not weight.dtype.is_floating_point:
            raise ShapeError(
                f"moeq.torch.MoeqTensor.quantize: weight: got {weight.dtype} {list(weight.shape)}; wanted a floating "
                "point tensor [experts, rows, columns]"
            )
        store = cls.empty(spec, weight.shape, weight.device)
        store.encode(weight.detach().__getitem__)
        return store

    @classmethod
    def of_qtensor(cls, q: QTensor) -> Store:
        """Over the memory of a handle, without a copy but of what nested weights keep once."""
        spec, shape = plain_spec(q.spec), q.folded_shape
        given = {name: torch.from_dlpack(part) for name, part in q.components.items() if name in NAMES}
        components = {}
        for name, (_, shape_of) in one_expert(spec, *shape[1:]).items():
            part = given[name]
            if name in ("nested_map", "nested_offset"):
                part = part.expand(shape[0], *part.shape).clone()
            elif name == "nested_scale":
                if not groups_end_with_experts(given["scale"], shape[0]):
                    raise UnsupportedError(
                        f"moeq.torch.MoeqTensor.from_qtensor: q: got a nested weight of shape {list(shape)}, whose "
                        f"nested scales cross from one expert into the next; wanted a multiple of {NESTED_GROUP} "
                        "blocks in each expert; quantize the dequantized weight with MoeqTensor.quantize"
                    )
                part = part.view(shape[0], -1)
            components[name] = part.reshape(shape[0], *shape_of)
        return cls(spec, shape, components, owned=False)

    # ---- look

    @property
    def device(self) -> torch.device:
        return self.components["codes"].device

    @property
    def nested(self) -> bool:
        return "nested_scale" in self.components

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.components.values())

    def stamp(self) -> tuple[int, ...]:
        """Changes with every write of the codes, through the weight or through a component."""
        versions = (0 if part.is_inference() else part._version for part in self.components.values())
        return (self._writes[0], *versions)

    # ---- parts and copies

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Store:
        """Another store of the same experts, with the function applied to each component."""
        return Store(self.spec, self.shape, {name: function(part) for name, part in self.components.items()})

    def experts(self, begin: int, end: int) -> Store:
        """A part that shares memory."""
        components = {name: part[begin:end] for name, part in self.components.items()}
        part = Store(self.spec, (end - begin, *self.shape[1:]), components, owned=self.owned)
        part.is_part = True
        part.padded = self if begin == 0 else None
        part._writes = self._writes
        return part

    def take(self, ids: torch.Tensor) -> Store:
        """A copy of chosen experts' codes."""
        components = {name: part.index_select(0, ids) for name, part in self.components.items()}
        return Store(self.spec, (ids.numel(), *self.shape[1:]), components)

    # ---- decode

    def handle(self, expert: int) -> tuple[QTensor, int]:
        """A handle and the expert's index in it. Handles are made anew where torch has moved the memory."""
        addresses = tuple(part.data_ptr() for part in self.components.values())
        if addresses != self._addresses:
            self._handles, self._addresses = {}, addresses
        key = expert if self.nested else 0
        found = self._handles.get(key)
        if found is None:
            found = self._handles[key] = self._adopt(expert, expert + 1) if self.nested else self._adopt(0)
        return found, expert - key

    def _adopt(self, begin: int, end: int | None = None) -> QTensor:
        end = self.shape[0] if end is None else end
        parts = {name: part[begin:end] if name in OF_EXPERTS else part[begin] for name, part in self.components.items()}
        return QTensor.adopt(self.spec, (end - begin, *self.shape[1:]), parts)

    def decode(self, expert: int, out: torch.Tensor, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """One expert's values, rounded once to the type of `out` [rows, C] (fp64: those of fp32)."""
        refuse_fake(self)
        if out.is_meta:
            return out
        if out.dtype == torch.float64:
            return out.copy_(self.decode(expert, torch.empty_like(out, dtype=torch.float32), rows))
        handle, index = self.handle(expert)
        return handle.dequantize(experts=index, rows=rows, out=out)

    def decode_into(self, out: torch.Tensor, experts: Iterable[int], rows: tuple[int, int] | None = None) -> None:
        """Chosen experts into out [n, rows, C]."""
        for place, expert in enumerate(experts):
            self.decode(expert, out[place], rows)

    def whole(self, dtype: torch.dtype) -> QTensor:
        """One handle over all experts, which stands for a weight of that type."""
        spec = self.spec if dtype == torch.float64 else self.spec.with_(logical_dtype=dtype)
        if not self.nested:
            return QTensor.adopt(spec, self.shape, self.components)
        map_, offset = self.components["nested_map"], self.components["nested_offset"]
        uniform = torch.equal(map_, map_[:1].expand_as(map_)) and torch.equal(offset, offset[:1].expand_as(offset))
        if not uniform or not groups_end_with_experts(self.components["scale"], self.shape[0]):
            raise UnsupportedError(
                f"moeq.torch.MoeqTensor.qtensor: got a nested weight of shape {list(self.shape)} whose experts have "
                "nested scales of their own; wanted one handle: take experts one by one, t[e:e+1].qtensor"
            )
        parts = {name: part if name in OF_EXPERTS else part[0] for name, part in self.components.items()}
        parts["nested_scale"] = self.components["nested_scale"].reshape(-1)
        return QTensor.adopt(spec, self.shape, parts)

    # ---- encode

    def encode(self, dense: Callable[[int], torch.Tensor]) -> None:
        """New codes of every expert: dense(e) [R, C]. They are whole before the first old byte is overwritten, so an
        error leaves the weight as it was."""
        if self.device.type == "meta":
            return
        fresh = Store.empty(self.spec, self.shape, self.device)
        fresh.fill(dense)
        self.write(fresh)

    def fill(self, dense: Callable[[int], torch.Tensor]) -> None:
        """Codes of every expert, written where they lie: for stores that are not in use yet. dense(e) [R, C] is asked for
        one expert after another, and its values may go when the next one is asked for."""
        if self.nested and not groups_end_with_experts(self.components["scale"], self.shape[0]):
            self._encode_each(dense)
        else:
            self._encode_together(dense)

    def _encode_together(self, dense: Callable[[int], torch.Tensor]) -> None:
        """The library's bytes of the whole weight: nested statistics have one offset."""
        storage = {name: part if name in OF_EXPERTS else part[0] for name, part in self.components.items()}
        if self.nested:
            storage["nested_scale"] = self.components["nested_scale"].view(-1)
        with Builder(self.spec, self.shape, storage=storage) as builder:
            for expert in range(self.shape[0]):
                builder.write(encodable(dense(expert)), expert=expert)
            builder.finish().close()
        if self.nested:
            for name in ("nested_map", "nested_offset"):
                self.components[name][1:] = self.components[name][0]

    def _encode_each(self, dense: Callable[[int], torch.Tensor]) -> None:
        """Every expert by itself."""
        for expert in range(self.shape[0]):
            parts = {
                name: part[expert : expert + 1] if name in OF_EXPERTS else part[expert]
                for name, part in self.components.items()
            }
            try:
                quantize_into(encodable(dense(expert)).unsqueeze(0), self.spec, **parts)
            except BadValueError as error:  # it knows one expert only
                raise BadValueError(
                    f"moeq.torch: expert {expert}, alone: {error}",
                    error.status,
                    expert=expert,
                    row=error.row,
                    column=error.column,
                ) from None

    def write(self, other: Store) -> None:
        """The other's codes, byte for byte."""
        if (other.spec, other.shape) != (self.spec, self.shape):
            raise ArgumentError(
                f"moeq.torch: got codes {str(other.spec)!r} {list(other.shape)}; wanted {str(self.spec)!r} "
                f"{list(self.shape)}"
            )
        self._writes[0] += 1
        for name, part in self.components.items():
            part.copy_(other.components[name])

    def make_writable(self) -> None:
        """Before a write: memory that is not ours is replaced by a copy, which every alias of the store sees."""
        if not self.owned:
            if self.is_part:
                raise ReadOnlyError(
                    "moeq.torch: got a write to a slice of a weight whose memory belongs to a moeq.QTensor; wanted a "
                    "weight with memory of its own: clone() the whole one first"
                )
            self.rebind({name: part.clone() for name, part in self.components.items()})

    def rebind(self, components: Mapping[str, torch.Tensor]) -> None:
        """Other memory with the same codes, for this store and all that share it as a whole."""
        self.components, self.owned = dict(components), True
        self._writes[0] += 1


def refuse_fake(store: Store) -> None:
    """What torch.compile traces with has no bytes to decode. The error makes it end its graph, and run this part
    as it is; with fullgraph=True it is what the user sees."""
    if isinstance(store.components["codes"], FakeTensor):
        raise UnsupportedFakeTensorException(
            "moeq.torch: quantized weights are decoded outside of the graphs of torch.compile: use fullgraph=False"
        )


def groups_end_with_experts(scale: torch.Tensor, experts: int) -> bool:
    """Whether each expert has whole groups of nested statistics, so that they can be told apart."""
    return experts <= 1 or scale[0].numel() % NESTED_GROUP == 0


def encodable(dense: torch.Tensor) -> torch.Tensor:
    """As the library takes it."""
    return dense.float() if dense.dtype == torch.float64 else dense
