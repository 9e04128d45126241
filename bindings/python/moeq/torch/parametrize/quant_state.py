"""QuantState: what bitsandbytes keeps beside 4-bit codes, with its names, in memory and in files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch

from ..._errors import ArgumentError, FormatError

NESTED_GROUP = 256
MARK = "quant_state.bitsandbytes__"  # the tensor of JSON that says how to read the others
TENSORS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


@dataclass
class QuantState:
    """Attributes as of bitsandbytes.functional.QuantState, whose functions take this one, too.

    code: the table of 16 values. Nested statistics: absmax are codes, state2 has their scales and table, offset their
    mean.
    """

    absmax: torch.Tensor
    shape: tuple[int, ...]
    code: torch.Tensor | None
    blocksize: int
    quant_type: str
    dtype: torch.dtype
    offset: torch.Tensor | None = None
    state2: QuantState | None = None

    @property
    def nested(self) -> bool:
        return self.state2 is not None

    def as_dict(self, packed: bool = False) -> dict[str, Any]:
        """By name; packed: tensors only, for files."""
        facts: dict[str, Any] = {
            "quant_type": self.quant_type,
            "absmax": self.absmax,
            "blocksize": self.blocksize,
            "quant_map": self.code,
            "dtype": word_of(self.dtype),
            "shape": tuple(self.shape),
        }
        if self.state2 is not None and self.offset is not None:
            facts |= {
                "nested_absmax": self.state2.absmax,
                "nested_blocksize": self.state2.blocksize,
                "nested_quant_map": self.state2.code,
                "nested_dtype": word_of(self.state2.dtype),
                "nested_offset": self.offset.item(),
            }
        if not packed:
            return facts
        tensors = {name: value for name, value in facts.items() if isinstance(value, torch.Tensor)}
        words = {name: value for name, value in facts.items() if name not in tensors}
        text = json.dumps(words).encode()
        return tensors | {MARK + self.quant_type: torch.frombuffer(bytearray(text), dtype=torch.uint8)}

    @classmethod
    def from_dict(cls, entries: dict[str, Any], device: Any) -> QuantState:
        """Of `as_dict`, packed or not, or of a file's tensors; what stands before the last dot of a name is ignored."""
        facts: dict[str, Any] = {}
        for name, value in entries.items():
            if MARK in name:
                facts |= unpacked(name, value)
            else:
                facts[name.rpartition(".")[2]] = value
        wanted = ["quant_type", "absmax", "blocksize", "quant_map", "dtype", "shape"]
        if "nested_absmax" in facts:
            wanted += ["nested_blocksize", "nested_quant_map", "nested_dtype", "nested_offset"]
        missing = [name for name in wanted if facts.get(name) is None]
        if missing:
            raise FormatError(
                f"moeq.torch.parametrize.QuantState: got entries {sorted(entries)}; wanted {', '.join(missing)} as well"
            )
        offset = state2 = None
        if "nested_absmax" in facts:
            offset = torch.tensor(float(facts["nested_offset"]), dtype=torch.float32, device=device)
            state2 = cls(
                absmax=facts["nested_absmax"].to(device),
                shape=tuple(facts["absmax"].shape),
                code=facts["nested_quant_map"].to(device),
                blocksize=facts["nested_blocksize"],
                quant_type="",
                dtype=dtype_of(facts["nested_dtype"]),
            )
        return cls(
            absmax=facts["absmax"].to(device),
            shape=tuple(facts["shape"]),
            code=facts["quant_map"].to(device),
            blocksize=facts["blocksize"],
            quant_type=facts["quant_type"],
            dtype=dtype_of(facts["dtype"]),
            offset=offset,
            state2=state2,
        )


def unpacked(name: str, value: torch.Tensor) -> dict[str, Any]:
    try:
        facts = json.loads(bytes(value.cpu().tolist()))
    except ValueError as error:
        raise FormatError(f"moeq.torch.parametrize.QuantState: {name}: got no JSON ({error}); wanted JSON") from None
    if not isinstance(facts, dict):
        raise FormatError(f"moeq.torch.parametrize.QuantState: {name}: got {facts!r}; wanted a JSON object")
    return facts


def word_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_of(word: str) -> torch.dtype:
    found = getattr(torch, word, None)
    if not isinstance(found, torch.dtype):
        raise ArgumentError(f"moeq.torch.parametrize.QuantState: dtype: got {word!r}; wanted a type of torch")
    return found
