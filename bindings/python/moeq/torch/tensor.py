"""MoeqTensor: a quantized weight [experts, rows, columns] as an ordinary, frozen parameter."""

from __future__ import annotations

import builtins
import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .._errors import ArgumentError, DtypeError, ShapeError
from .._names import SHORT_NAMES
from .._qtensor import QTensor
from .._region import row_range
from .._spec import Spec
from .lazy import Described, LazyWeight, wrapper
from .store import LOGICAL_DTYPES, NAMES, Store

RESERVED = ("_store", "_is_param", "_has_history")


class MoeqTensor(Described):
    """Codes and scales behind the shape and the element type of the weight that they stand for.

        experts.down_proj = torch.nn.Parameter(MoeqTensor.quantize(weight, "nf4"), requires_grad=False)

    `MoeqTensor(other, requires_grad=False)` is a parameter with the same codes, which sees what is written into them, as
    detach() and `.data` do; hosts rebuild parameters by such a call of their class. Products decode expert by expert;
    what an operator does is in docs/torch.md.
    """

    _store: Store
    _has_history = False
    _is_param = False

    @staticmethod
    def __new__(cls, data: Any, requires_grad: bool = False) -> MoeqTensor:
        if not isinstance(data, MoeqTensor):
            raise ArgumentError(
                f"moeq.torch.MoeqTensor: data: got {type(data).__name__}; wanted a MoeqTensor; dense weights go "
                "through MoeqTensor.quantize, handles through MoeqTensor.from_qtensor"
            )
        if requires_grad:
            raise ArgumentError("moeq.torch.MoeqTensor: requires_grad: got True; wanted False: codes have no gradient")
        self = cls._of(data._store, data.dtype)
        self._is_param = True  # for isinstance(self, torch.nn.Parameter), as torch.nn.Parameter() itself marks it
        return self

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        pass

    @classmethod
    def _of(cls, store: Store, dtype: torch.dtype) -> MoeqTensor:
        if dtype not in LOGICAL_DTYPES:
            wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in LOGICAL_DTYPES)
            raise DtypeError(f"moeq.torch.MoeqTensor: dtype: got {dtype}; wanted one of {wanted}")
        self = wrapper(cls, store.shape, dtype, store.device)
        self._store = store
        return self

    def _like(self, store: Store) -> MoeqTensor:
        return type(self)._of(store, self.dtype)

    # ---- make

    @classmethod
    def quantize(cls, weight: torch.Tensor, spec: Spec | str, *, dtype: torch.dtype | None = None) -> MoeqTensor:
        """Quantizes a dense weight [E, R, C]: "nf4", "int8", "fp8_e4m3", "nf4:64,nested" ...

        dtype: what it stands for, the source's by default.
        """
        return cls._of(Store.quantize(weight, spec), dtype or weight.dtype)

    @classmethod
    def from_qtensor(cls, q: QTensor, *, dtype: torch.dtype | None = None) -> MoeqTensor:
        """Over a handle's memory, without a copy. The first write makes one: the memory may be a mapped file."""
        if dtype is None:
            words = {word: getattr(torch, name) for name, word in SHORT_NAMES.items() if hasattr(torch, name)}
            dtype = words[q.spec.logical_dtype or "fp32"]
        return cls._of(Store.of_qtensor(q), dtype)

    @classmethod
    def from_components(
        cls, spec: Spec | str, shape: Iterable[int], components: Mapping[str, torch.Tensor], *, dtype: torch.dtype
    ) -> MoeqTensor:
        """Over what `.components()` gives, without a copy."""
        like = Store.empty(spec, shape, "meta")
        for name, part in like.components.items():
            given = components.get(name)
            if given is None or given.shape != part.shape or given.dtype != part.dtype:
                got = None if given is None else f"{given.dtype} {list(given.shape)}"
                raise ShapeError(
                    f"moeq.torch.MoeqTensor.from_components: {name}: got {got}; wanted {part.dtype} {list(part.shape)}"
                )
        return cls._of(Store(like.spec, like.shape, {name: components[name] for name in like.components}), dtype)

    @classmethod
    def empty(
        cls, shape: Iterable[int], spec: Spec | str, *, dtype: torch.dtype = torch.bfloat16, device: Any = None
    ) -> MoeqTensor:
        """With undefined codes, also on "meta": something to load into."""
        return cls._of(Store.empty(spec, shape, device), dtype)

    # ---- look

    @property
    def spec(self) -> Spec:
        """How it is quantized, with every default resolved."""
        return self._store.spec

    def components(self) -> dict[str, torch.Tensor]:
        """Codes and scales by name: ordinary tensors over the weight's own memory, each [experts, ...]."""
        return dict(self._store.components)

    @property
    def qtensor(self) -> QTensor:
        """A handle over the same memory. Nested weights whose experts were written one by one have none."""
        return self._store.whole(self.dtype)

    @property
    def quantized_nbytes(self) -> int:
        """Bytes of all components; nbytes is what the dense weight would take."""
        return self._store.nbytes

    def __repr__(self, *, tensor_contents: object = None) -> str:
        parameter = ", parameter" if self._is_param else ""
        device = "" if self.device.type == "cpu" else f", device='{self.device}'"
        return (
            f"MoeqTensor({str(self.spec)!r}, {list(self.shape)}, dtype={self.dtype}{device}, "
            f"quantized_nbytes={self.quantized_nbytes}{parameter})"
        )

    # ---- read

    def dequantize(
        self,
        *,
        experts: Any = None,
        rows: builtins.slice | tuple[int, int] | None = None,
        out: torch.Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """Dense values of the weight or of a part of it.

        experts: one index (its axis goes), or a list, range, slice or tensor of indices. rows: slice(begin, end) or
        (begin, end). out: a tensor to write into. dtype: fp32, fp16, bf16 or fp64 (fp32's values); default: the
        weight's.
        """
        count, height, width = self._store.shape
        chosen, one = expert_indices(experts, count)
        begin, end = row_range(rows, height)
        if out is None:
            out = torch.empty(len(chosen), end - begin, width, dtype=dtype or self.dtype, device=self.device)
            result = out[0] if one else out
        else:
            result, out = out, out.unsqueeze(0) if one else out
            if out.shape != (len(chosen), end - begin, width) or (dtype or out.dtype) != out.dtype:
                raise ShapeError(
                    f"moeq.torch.MoeqTensor.dequantize: out: got {result.dtype} {list(result.shape)}; wanted "
                    f"{dtype or 'any type'} {[len(chosen), end - begin, width][one:]}"
                )
        self._store.decode_into(out, chosen, (begin, end))
        return result

    # ---- what torch asks of a subclass

    def _set_data(self, value: Any) -> None:
        if isinstance(value, LazyWeight) or not isinstance(value, torch.Tensor):
            raise ArgumentError(
                f"moeq.torch.MoeqTensor.data: got {type(value).__name__}; wanted a MoeqTensor or dense values"
            )
        if value.shape != self.shape:
            raise ShapeError(f"moeq.torch.MoeqTensor.data: got shape {list(value.shape)}; wanted {list(self.shape)}")
        if not isinstance(value, MoeqTensor):
            value = type(self).quantize(value, self.spec, dtype=self.dtype)
        elif value.spec != self.spec:
            raise ArgumentError(
                f"moeq.torch.MoeqTensor.data: got codes {str(value.spec)!r}; wanted {str(self.spec)!r}, or dense values"
            )
        with torch._C.DisableTorchFunctionSubclass():
            torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]  # its type and device
        self._store = value._store

    def _share_memory(self) -> MoeqTensor:
        """In place, as torch has it; the old memory stays whole for handles that are out."""
        self._store.rebind({name: part.clone().share_memory_() for name, part in self.components().items()})
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MoeqTensor:
        if id(self) in memo:
            return memo[id(self)]
        result = self._like(self._store.map(torch.clone))
        memo[id(self)] = result
        if self._is_param:
            result._is_param = True
        for name, value in self.__dict__.items():
            if name not in RESERVED:
                setattr(result, name, copy.deepcopy(value, memo))
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        from .pickling import reduce

        return reduce(self)

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return list(self._store.components), (type(self), str(self.spec), self._store.shape[1:], self.dtype)

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], context: Any, size: Any, stride: Any) -> MoeqTensor:
        cls, spec, matrix, dtype = context
        components = {name: inner[name] for name in NAMES if name in inner}
        shape = (components["codes"].shape[0], *matrix)
        return cls._of(Store(Spec(spec), shape, components), dtype)


def component_property(name: str) -> property:
    return property(lambda self: self._store.components[name])


for _name in NAMES:  # where torch.compile looks for what __tensor_flatten__ names
    setattr(MoeqTensor, _name, component_property(_name))


def expert_indices(experts: Any, count: int) -> tuple[list[int], bool]:
    """Indices in [0, count) of what `experts=` says, and whether it was a single index."""
    if experts is None:
        return list(range(count)), False
    if isinstance(experts, slice):
        return list(range(*experts.indices(count))), False
    if isinstance(experts, torch.Tensor):
        experts = experts.tolist()
    one = isinstance(experts, int)
    indices = [experts] if one else [int(expert) for expert in experts]
    for expert in indices:
        if not -count <= expert < count:
            raise IndexError(f"moeq.torch: expert: got {expert}; wanted one in [{-count}, {count})")
    return [expert % count for expert in indices], one
