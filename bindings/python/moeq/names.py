"""The words that moeq's calls take and give: formats, dialects, element types, metrics."""

from __future__ import annotations

from typing import Any

from ._names import CPU_TIERS, DIALECTS, FLOATS, METRICS, SPEC_WORDS, dtype_bytes, dtype_code, word_of

FORMATS = SPEC_WORDS["format"]


def itemsize(dtype: Any) -> int:
    """Bytes of an element of "bf16", numpy.float32 and the like."""
    return dtype_bytes(dtype_code(dtype))


__all__ = ["CPU_TIERS", "DIALECTS", "FLOATS", "FORMATS", "METRICS", "SPEC_WORDS", "itemsize", "word_of"]
