"""The two forms of codes, as parametrizations: modules that make values of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..._errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from ..._qtensor import QTensor, quantize_into
from ..._spec import Spec
from ..store import DTYPES, LOGICAL_DTYPES, encodable
from .quant_state import NESTED_GROUP, QuantState

COMPONENTS = {"absmax": "scale", "nested_absmax": "nested_scale", "nested_quant_map": "nested_map",
              "nested_offset": "nested_offset"}  # fmt: skip


class Parametrization(torch.nn.Module):
    """What both forms share: statistics that no cast of the module changes. A cast sets the type of the values."""

    dtype: torch.dtype

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Parametrization:
        statistics = [part for part in self.buffers()]
        self.dtype = logical(fn(statistics[0].new_empty(1, dtype=self.dtype)).dtype)
        for name, part in self.named_buffers():
            self._buffers[name] = fn(part.view(torch.uint8)).view(part.dtype)
        return self

    def stacked(self, shape: tuple[int, ...], codes: torch.Tensor) -> tuple[str, dict[str, torch.Tensor]]:
        """Spec and components as the library has them, expert by expert, over the same memory."""
        raise NotImplementedError

    def encode(self, dense: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Another parametrization of this form, and codes, for new values."""
        raise NotImplementedError

    def take(self, other: Any) -> None:
        """The other's statistics; the same memory where it fits."""
        for name, part in other.named_buffers():
            mine = self._buffers[name]
            if mine is None or mine.is_meta != part.is_meta:
                self._buffers[name] = part
            else:
                mine.copy_(part)


class Bnb8bitParametrization(Parametrization):
    """int8 codes of rows. row_stats: fp32, the largest magnitude of each row. dtype: of the values.

    bitsandbytes' int8_vectorwise_quant: a value is code * row_stats / 127, rounded once to dtype.
    """

    def __init__(self, row_stats: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if not isinstance(row_stats, torch.Tensor) or row_stats.dtype != torch.float32:
            got = getattr(row_stats, "dtype", type(row_stats).__name__)
            raise DtypeError(f"moeq.torch.Bnb8bitParametrization: row_stats: got {got}; wanted a tensor of float32")
        self.dtype = logical(dtype)
        self.register_buffer("row_stats", row_stats.detach())

    @torch.no_grad()
    def forward(self, quantized_param: torch.Tensor) -> torch.Tensor:
        """Values in the shape of the codes, whose leading axes are rows."""
        shape = quantized_param.shape
        if quantized_param.dtype != torch.int8 or len(shape) < 2:
            raise ShapeError(
                f"moeq.torch.Bnb8bitParametrization: quantized_param: got {quantized_param.dtype} {list(shape)}; wanted "
                "int8 with two axes or more"
            )
        rows = shape[:-1].numel()
        if self.row_stats.numel() != rows:
            raise ShapeError(
                f"moeq.torch.Bnb8bitParametrization: row_stats: got {self.row_stats.numel()} for codes {list(shape)}; "
                f"wanted {rows}"
            )
        parts = {"codes": quantized_param.reshape(rows, -1), "scale": self.row_stats.reshape(-1)}
        return decoded("int8", (rows, shape[-1]), parts, self.dtype).view(shape)

    def stacked(self, shape: tuple[int, ...], codes: torch.Tensor) -> tuple[str, dict[str, torch.Tensor]]:
        return "int8", {"codes": codes.contiguous(), "scale": self.row_stats.view(shape[:-1])}

    def encode(self, dense: torch.Tensor) -> tuple[Bnb8bitParametrization, torch.Tensor]:
        return encode_8bit(dense, self.dtype)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}"


class Bnb4bitParametrization(Parametrization):
    """4-bit codes of blocks that run over the whole weight. quant_state: bitsandbytes' or moeq's."""

    def __init__(self, quant_state: Any) -> None:
        super().__init__()
        self.dtype = logical(quant_state.dtype)
        self.shape = tuple(quant_state.shape)
        self.quant_type, self.blocksize = quant_state.quant_type, quant_state.blocksize
        self.spec = spec_of(self.quant_type, self.blocksize, quant_state.state2 is not None)
        nested = {}
        if quant_state.state2 is not None:
            if quant_state.state2.blocksize != NESTED_GROUP:
                raise ArgumentError(
                    f"moeq.torch.Bnb4bitParametrization: quant_state.state2.blocksize: got "
                    f"{quant_state.state2.blocksize}; wanted {NESTED_GROUP}"
                )
            nested = {
                "nested_absmax": quant_state.state2.absmax,
                "nested_quant_map": quant_state.state2.code,
                "nested_offset": quant_state.offset.reshape(1),
            }
        for name, part in {"absmax": quant_state.absmax, "quant_map": quant_state.code, **nested}.items():
            self.register_buffer(name, part.detach(), persistent=False)  # saved under bitsandbytes' names instead

    @property
    def nested(self) -> bool:
        return self.spec.nested

    @property
    def quant_state(self) -> QuantState:
        """Over the same memory."""
        offset = state2 = None
        if self.nested:
            offset = self.nested_offset.reshape(())
            state2 = QuantState(
                self.nested_absmax, tuple(self.absmax.shape), self.nested_quant_map, NESTED_GROUP, "", torch.float32
            )
        return QuantState(
            self.absmax, self.shape, self.quant_map, self.blocksize, self.quant_type, self.dtype, offset, state2
        )

    @torch.no_grad()
    def forward(self, quantized_param: torch.Tensor) -> torch.Tensor:
        """Values in the shape that the weight had."""
        wanted = (torch.Size(self.shape).numel() + 1) // 2
        if quantized_param.dtype != torch.uint8 or quantized_param.numel() != wanted:
            raise ShapeError(
                f"moeq.torch.Bnb4bitParametrization: quantized_param: got {quantized_param.dtype} "
                f"{list(quantized_param.shape)}; wanted {wanted} uint8 for a weight {list(self.shape)}"
            )
        parts = {"codes": quantized_param.reshape(-1, 1)}
        parts |= {COMPONENTS[name]: part for name, part in self.named_buffers() if name in COMPONENTS}
        if self.nested:
            parts["nested_offset"] = self.nested_offset.reshape(())
        return decoded(self.spec, self.shape, parts, self.dtype)

    def stacked(self, shape: tuple[int, ...], codes: torch.Tensor) -> tuple[str, dict[str, torch.Tensor]]:
        experts, size = shape[0], torch.Size(shape[1:]).numel()
        if size % self.blocksize:
            raise UnsupportedError(
                f"moeq.torch.parametrize.moeq_parameter: got {size} elements in an expert, whose blocks of {self.blocksize} "
                "cross from one expert into the next; wanted a multiple of the block: dense_parameter, and quantize anew"
            )
        parts = {"codes": codes.view(experts, -1), "scale": self.absmax.view(experts, -1)}
        if self.nested:
            parts |= {"nested_scale": self.nested_absmax, "nested_map": self.nested_quant_map,
                      "nested_offset": self.nested_offset.reshape(())}  # fmt: skip
        return f"{self.quant_type}:{self.blocksize}{',nested' if self.nested else ''}", parts

    def encode(self, dense: torch.Tensor) -> tuple[Bnb4bitParametrization, torch.Tensor]:
        return encode_4bit(dense, self.quant_type, self.blocksize, self.nested, self.dtype)

    def extra_repr(self) -> str:
        return f"{str(self.spec)!r}, {list(self.shape)}, dtype={self.dtype}"


def logical(dtype: torch.dtype) -> torch.dtype:
    if dtype not in LOGICAL_DTYPES:
        wanted = ", ".join(str(one).removeprefix("torch.") for one in LOGICAL_DTYPES)
        raise DtypeError(f"moeq.torch.parametrize: dtype: got {dtype}; wanted one of {wanted}")
    return dtype


def spec_of(quant_type: str, blocksize: int, nested: bool) -> Spec:
    """bitsandbytes' layout: blocks over the whole weight, codes as of its path for processors."""
    if quant_type not in ("nf4", "fp4"):
        raise ArgumentError(f"moeq.torch.parametrize: quant_type: got {quant_type!r}; wanted 'nf4' or 'fp4'")
    return Spec(f"{quant_type}:{blocksize},blocking=flat,profile=bnb_cpu{',nested' if nested else ''}")


def decoded(
    spec: Spec | str, shape: tuple[int, ...], parts: dict[str, torch.Tensor], dtype: torch.dtype
) -> torch.Tensor:
    device = parts["codes"].device
    if device.type == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    asked = torch.float32 if dtype == torch.float64 else dtype
    out = torch.empty(shape, dtype=asked, device=device)
    QTensor.adopt(spec, shape, parts).dequantize(out=out)
    return out.to(dtype)


def encode_8bit(dense: torch.Tensor, dtype: torch.dtype) -> tuple[Bnb8bitParametrization, torch.Tensor]:
    codes = torch.empty(dense.shape, dtype=torch.int8, device=dense.device)
    scale = torch.empty(dense.shape[:-1], dtype=torch.float32, device=dense.device)
    if not dense.is_meta:
        quantize_into(encodable(dense.detach()), "int8:profile=bnb_cpu", codes=codes, scale=scale)
    return Bnb8bitParametrization(scale.reshape(-1), dtype), codes


def encode_4bit(
    dense: torch.Tensor, quant_type: str, blocksize: int, nested: bool, dtype: torch.dtype
) -> tuple[Bnb4bitParametrization, torch.Tensor]:
    spec, parts = spec_of(quant_type, blocksize, nested), {}
    for name in ("codes", "scale", *(["nested_scale", "nested_map", "nested_offset"] if nested else [])):
        info = spec.component(name, tuple(dense.shape))
        parts[name] = torch.empty(info.shape, dtype=DTYPES[info.dtype], device=dense.device)
    if not dense.is_meta:
        quantize_into(encodable(dense.detach()), spec, **parts)
    offset = state2 = None
    if nested:
        offset = parts["nested_offset"]
        state2 = QuantState(
            parts["nested_scale"], tuple(parts["scale"].shape), parts["nested_map"], NESTED_GROUP, "", torch.float32
        )
    table = code_map(quant_type).to(dense.device)
    state = QuantState(parts["scale"], tuple(dense.shape), table, blocksize, quant_type, dtype, offset, state2)
    return Bnb4bitParametrization(state), parts["codes"]


def code_map(quant_type: str) -> torch.Tensor:
    """The values of the 16 codes, as the library has them."""
    parts = {"codes": torch.zeros(1, 1, dtype=torch.uint8), "scale": torch.ones(1, 1)}
    return torch.from_dlpack(QTensor.adopt(quant_type, (1, 1, 2), parts).component("code_map")).clone()
