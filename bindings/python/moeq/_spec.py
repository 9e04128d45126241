"""Spec: what codes and scales mean. A value."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from ._cdef import ffi
from ._context import sized
from ._errors import ArgumentError, MoeqError, check, new_error
from ._library import lib
from ._names import dtype_code, dtype_word, number_of, word_of

# The fields of moeq_spec in its order; those with words have them in _names.SPEC_WORDS.
NUMBER_FIELDS = ("block_rows", "block_columns", "scale_axis")
FIELDS = (
    "format", "granularity", "block_rows", "block_columns", "blocking", "scale_axis", "scale_kind", "nested", "layout",
    "nonfinite", "profile", "logical_dtype",
)  # fmt: skip


class ComponentInfo(NamedTuple):
    """Size of one component of a quantized weight. shape is in stored elements (packed 4-bit codes: bytes)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def shape_array(shape: Iterable[int]) -> tuple[int, Any]:
    """ndim and int64_t[] of a shape."""
    extents = [operator.index(extent) for extent in shape]
    return len(extents), ffi.new("int64_t[]", extents or 1)


class Spec:
    """How a weight is quantized. Immutable and hashable; equal specs give equal bytes on every machine.

        Spec("nf4:64,nested")
        Spec(format="fp8_e4m3", granularity="block", block=128)
        Spec("nf4", layout="gate_up")

    text: the spelling that command lines and files use. The keywords change it, or stand alone:

    format: "int8", "nf4", "fp4", "fp8_e4m3", "fp8_e5m2", "mxfp8" (the one field without a default).
    granularity: "row", "expert", "block"; block: elements per block, or (rows, columns) of a tile.
    blocking: "expert", "row", "flat": over what 1-D blocks run. scale_axis: -1 (the default) or -2.
    scale_kind: "absmax" or "factor" is what is stored. nested: absmax itself in 8 bits.
    layout: "plain", "gate_up", "up_gate", "gate_up_interleaved". nonfinite: "refuse", "saturate".
    profile: "moeq", "bnb_cpu", "bnb_cpu_fp16". logical_dtype: what the weight stands for; default: the source's type.
    """

    __slots__ = ("_struct", "_key")
    _struct: Any
    _key: tuple[int, ...]

    def __init__(self, text: str | Spec | None = None, /, **fields: Any) -> None:
        struct = sized("moeq_spec")
        if isinstance(text, Spec):
            ffi.memmove(struct, text._struct, ffi.sizeof("moeq_spec"))
        elif isinstance(text, str):
            err = new_error()
            if "\0" in text:  # a C string would end there
                raise ArgumentError(f"moeq.Spec: text: got {text!r}; wanted a text without NUL")
            check(lib.moeq_spec_parse(text.encode(), struct, err), err)
        elif text is not None:
            raise ArgumentError(f"moeq.Spec: text: got {type(text).__name__}; wanted a string such as 'nf4:64,nested'")
        elif "format" not in fields:
            raise ArgumentError("moeq.Spec: format: got nothing; wanted a text such as 'nf4', or format=")
        _change(struct, fields)
        self._set(struct)

    def _set(self, struct: Any) -> None:
        object.__setattr__(self, "_struct", struct)
        object.__setattr__(self, "_key", tuple(getattr(struct, field) for field in FIELDS))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"moeq.Spec is immutable: use with_({name}=...)")

    @classmethod
    def _of(cls, struct: Any) -> Spec:
        spec = cls.__new__(cls)
        spec._set(struct)
        return spec

    # ---- fields

    @property
    def format(self) -> str | int:
        return word_of("format", self._struct.format)

    @property
    def granularity(self) -> str | int:
        return word_of("granularity", self._struct.granularity)

    @property
    def block(self) -> tuple[int, int]:
        """(rows, columns) in elements; 0 is the format's default."""
        return self._struct.block_rows, self._struct.block_columns

    @property
    def blocking(self) -> str | int:
        return word_of("blocking", self._struct.blocking)

    @property
    def scale_axis(self) -> int:
        return self._struct.scale_axis

    @property
    def scale_kind(self) -> str | int:
        return word_of("scale_kind", self._struct.scale_kind)

    @property
    def nested(self) -> bool:
        return bool(self._struct.nested)

    @property
    def layout(self) -> str | int:
        return word_of("layout", self._struct.layout)

    @property
    def nonfinite(self) -> str | int:
        return word_of("nonfinite", self._struct.nonfinite)

    @property
    def profile(self) -> str | int:
        return word_of("profile", self._struct.profile)

    @property
    def logical_dtype(self) -> str | None:
        """What the weight stands for; None: the source's type."""
        return dtype_word(self._struct.logical_dtype) if self._struct.logical_dtype else None

    # ---- a value

    def with_(self, **changes: Any) -> Spec:
        """A copy with other fields: the constructor's keywords."""
        return Spec(self, **changes)

    def __str__(self) -> str:
        text, err = ffi.new("char[]", ffi.integer_const("MOEQ_SPEC_TEXT")), new_error()
        check(lib.moeq_spec_print(self._struct, text, err), err)
        return ffi.string(text).decode()

    def __repr__(self) -> str:
        try:
            return f"moeq.Spec({str(self)!r})"
        except MoeqError:  # a spec that the library refuses has no text; its fields still show what it is
            return f"moeq.Spec({', '.join(f'{name}={value}' for name, value in zip(FIELDS, self._key) if value)})"

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, Spec) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> str | tuple[int, ...]:
        """What equal specs have in common: the text, in which a default and its value are the same."""
        try:
            return str(self)
        except MoeqError:
            return self._key

    def __reduce__(self) -> tuple:
        return _restore, (self._key,)

    # ---- against a shape

    def resolve(self, shape: Iterable[int]) -> Spec:
        """The same with every default replaced by its value; raises where the spec does not fit the weight's shape."""
        out, err = sized("moeq_spec"), new_error()
        check(lib.moeq_spec_resolve(self._struct, *shape_array(shape), out, err), err)
        return Spec._of(out)

    def component(self, name: str, shape: Iterable[int]) -> ComponentInfo:
        """Type, shape and size of one component of a weight of that shape; NotFoundError where there is none."""
        out, err = sized("moeq_component_info"), new_error()
        number = number_of("component", name)
        check(lib.moeq_spec_get_component(self._struct, *shape_array(shape), number, out, err), err)
        return ComponentInfo(
            str(word_of("component", out.component)), dtype_word(out.dtype), tuple(out.shape[0 : out.ndim]), out.bytes
        )

    def nbytes(self, shape: Iterable[int]) -> int:
        """Bytes of all components of a weight of that shape."""
        return self._bytes(shape)[0]

    def staging(self, shape: Iterable[int]) -> int:
        """The most bytes that a Builder of that shape can have to stage."""
        return self._bytes(shape)[1]

    def _bytes(self, shape: Iterable[int]) -> tuple[int, int]:
        total, staging, err = ffi.new("int64_t *"), ffi.new("int64_t *"), new_error()
        check(lib.moeq_spec_get_bytes(self._struct, *shape_array(shape), total, staging, err), err)
        return total[0], staging[0]


def _change(struct: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name == "block":
            rows, columns = value if isinstance(value, (tuple, list)) else _tile(struct, fields, value)
            struct.block_rows, struct.block_columns = operator.index(rows), operator.index(columns)
        elif name == "logical_dtype":
            struct.logical_dtype = 0 if value is None else dtype_code(value)
        elif name == "nested":
            struct.nested = int(value)
        elif name in NUMBER_FIELDS:
            setattr(struct, name, operator.index(value))
        elif name in FIELDS:
            setattr(struct, name, number_of(name, value))
        else:
            raise TypeError(f"moeq.Spec: got an unexpected keyword {name!r}; wanted block, {', '.join(FIELDS)}")


def _tile(struct: Any, fields: dict[str, Any], side: int) -> tuple[int, int]:
    """One number for a block: a square tile for FP8, a run of elements (tile of one row) for the 4-bit formats."""
    name = word_of("format", struct.format) if "format" not in fields else fields["format"]
    return (side, side) if str(name).startswith("fp8") else (0, side)


def _restore(key: tuple[int, ...]) -> Spec:
    struct = sized("moeq_spec")
    for field, value in zip(FIELDS, key):
        setattr(struct, field, value)
    return Spec._of(struct)


def as_spec(spec: Spec | str) -> Spec:
    """A Spec from what functions take for one."""
    return spec if isinstance(spec, Spec) else Spec(spec)
