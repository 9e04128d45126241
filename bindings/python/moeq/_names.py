"""The words that stand for moeq.h's constants in Python, and element types by any name that frameworks give them."""

from __future__ import annotations

import sys
from typing import Any

from ._cdef import ffi
from ._errors import ArgumentError, DtypeError

SPEC_WORDS = {
    "format": ("int8", "nf4", "fp4", "fp8_e4m3", "fp8_e5m2", "mxfp8"),
    "granularity": ("default", "row", "expert", "block"),
    "blocking": ("expert", "row", "flat"),
    "scale_kind": ("default", "absmax", "factor"),
    "layout": ("plain", "gate_up", "up_gate", "gate_up_interleaved"),
    "nonfinite": ("refuse", "saturate"),
    "profile": ("moeq", "bnb_cpu", "bnb_cpu_fp16"),
}
PREFIX_OF_FIELD = {"scale_kind": "SCALE"}
COMPONENTS = ("codes", "scale", "nested_scale", "nested_map", "nested_offset", "code_map", "global_scale")
CPU_TIERS = ("best", "scalar", "avx2", "avx512", "neon")
DIALECTS = ("native", "bitsandbytes", "compressed-tensors", "hf-fp8", "none")
FLOATS = ("fp32", "fp16", "bf16")  # element types of dense weights
STAGES = ("read", "quantize", "write", "verify")
METRICS = ("max_error", "rmse", "rmse_over_scale", "sqnr_db", "saturated", "zero", "amax")
REDUCTIONS = ("amax", "sum")


def _numbers(prefix: str, words: tuple[str, ...]) -> dict[str, int]:
    return {word: ffi.integer_const(f"MOEQ_{prefix}_{word.upper().replace('-', '_')}") for word in words}


NUMBERS: dict[str, dict[str, int]] = {
    **{field: _numbers(PREFIX_OF_FIELD.get(field, field.upper()), words) for field, words in SPEC_WORDS.items()},
    "component": _numbers("COMPONENT", COMPONENTS),
    "cpu_tier": _numbers("CPU_TIER", CPU_TIERS),
    "metric": _numbers("METRIC", METRICS),
    "operation": _numbers("REDUCE", REDUCTIONS),
    "dialect": _numbers("DIALECT", DIALECTS),
    "stage": _numbers("STAGE", STAGES),
}
WORDS: dict[str, dict[int, str]] = {
    kind: {number: word for word, number in table.items()} for kind, table in NUMBERS.items()
}


def number_of(kind: str, word: str | int) -> int:
    """The constant behind a word. Integers pass through: the library judges them."""
    if isinstance(word, int):
        return int(word)
    try:
        return NUMBERS[kind][word]
    except (KeyError, TypeError):
        wanted = ", ".join(NUMBERS[kind])
        raise ArgumentError(f"moeq: {kind}: got {word!r}; wanted one of {wanted}") from None


def word_of(kind: str, number: int) -> str | int:
    """The word for a constant; a number of a newer library that has no word here stays a number."""
    return WORDS[kind].get(number, number)


def _dlpack(code: int, bits: int) -> int:
    return code | bits << 8 | 1 << 16


# DLPack's triple in one number for every NumPy (and ml_dtypes) element type that has one, accepted by moeq or not:
# what is refused is refused by the library, with its message.
NUMPY_CODES = {
    "float32": ffi.integer_const("MOEQ_DTYPE_FP32"),
    "float16": ffi.integer_const("MOEQ_DTYPE_FP16"),
    "bfloat16": ffi.integer_const("MOEQ_DTYPE_BF16"),
    "float64": ffi.integer_const("MOEQ_DTYPE_FP64"),
    "float8_e4m3fn": ffi.integer_const("MOEQ_DTYPE_FP8_E4M3FN"),
    "float8_e5m2": ffi.integer_const("MOEQ_DTYPE_FP8_E5M2"),
    "int8": ffi.integer_const("MOEQ_DTYPE_INT8"),
    "uint8": ffi.integer_const("MOEQ_DTYPE_UINT8"),
    "int32": ffi.integer_const("MOEQ_DTYPE_INT32"),
    "int64": ffi.integer_const("MOEQ_DTYPE_INT64"),
    "int16": _dlpack(0, 16),
    "uint16": _dlpack(1, 16),
    "uint32": _dlpack(1, 32),
    "uint64": _dlpack(1, 64),
    "complex64": _dlpack(5, 64),
    "complex128": _dlpack(5, 128),
    "bool": _dlpack(6, 8),
    "float8_e3m4": _dlpack(7, 8),
    "float8_e4m3": _dlpack(8, 8),
    "float8_e4m3b11fnuz": _dlpack(9, 8),
    "float8_e4m3fnuz": _dlpack(11, 8),
    "float8_e5m2fnuz": _dlpack(13, 8),
    "float8_e8m0fnu": _dlpack(14, 8),
}
NUMPY_NAMES = {code: name for name, code in NUMPY_CODES.items()}

# moeq's own words for the types of moeq.h, in the header's order; the second half is only read from files and copied.
SHORT_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
SHORT_NAMES |= {
    name: name.replace("float", "fp", 1)
    for name in (
        "float8_e4m3fn", "float8_e5m2", "float8_e8m0", "float8_e4m3fnuz", "float8_e5m2fnuz", "float6_e2m3",
        "float6_e3m2", "float4_e2m1",
    )
}  # fmt: skip
SHORT_NAMES["float8_e8m0fnu"] = "fp8_e8m0"
DTYPES = {SHORT_NAMES.get(name, name): NUMPY_CODES[name] for name in list(NUMPY_CODES)[:10]}
DTYPES |= {
    word: ffi.integer_const(f"MOEQ_DTYPE_{word.upper()}")
    for word in (
        "bool", "int16", "uint16", "uint32", "uint64", "fp8_e8m0", "fp8_e4m3fnuz", "fp8_e5m2fnuz", "fp6_e2m3",
        "fp6_e3m2", "fp4_e2m1", "complex64",
    )
}  # fmt: skip
DTYPE_WORDS = {code: word for word, code in DTYPES.items()}


def dtype_code(dtype: Any) -> int:
    """moeq.h's number for "bf16", "bfloat16", torch.bfloat16, numpy.float32, ml_dtypes.bfloat16 and the like."""
    if isinstance(dtype, int) and not isinstance(dtype, bool):
        return dtype
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    name = str(name if isinstance(name, str) else dtype).removeprefix("torch.").lower()
    name = SHORT_NAMES.get(name, name)
    if name not in DTYPES:
        raise DtypeError(f"moeq: dtype: got {dtype!r}; wanted one of {', '.join(DTYPES)}")
    return DTYPES[name]


def dtype_word(code: int) -> str:
    """ "bf16" for the number; DLPack's triple spelled out for a type that moeq.h has no name for."""
    word = DTYPE_WORDS.get(code)
    return word or f"dlpack(code={code & 0xFF}, bits={code >> 8 & 0xFF}, lanes={code >> 16})"


def dtype_bytes(code: int) -> int:
    """Bytes of one element."""
    return ((code >> 8 & 0xFF) * (code >> 16) + 7) // 8


def numpy_has(code: int) -> bool:
    """Whether NumPy itself has the element type; ml_dtypes has the others."""
    name = NUMPY_NAMES.get(code, "")
    return name in ("float16", "float32", "float64") or name.startswith(("int", "uint", "bool", "complex"))


def numpy_module() -> Any:
    """numpy if the program has imported it already, else None: moeq never imports it to look at an argument."""
    return sys.modules.get("numpy")
