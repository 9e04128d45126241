"""Globs over the names of parameters, as the rules of `moeq quantize` have them."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=256)
def compiled(glob: str) -> re.Pattern[str]:
    """`*` is anything in one segment of a name, `**` any number of segments, `{a,b}` a choice."""
    parts = re.split(r"(\*\*\.|\*\*|\*|\{[^{}]*\})", glob)
    return re.compile("".join(map(_translated, parts)))


def _translated(part: str) -> str:
    if part == "**.":
        return r"(?:[^.]+\.)*"
    if part == "**":
        return r".*"
    if part == "*":
        return r"[^.]*"
    if part.startswith("{") and part.endswith("}"):
        return "(?:" + "|".join(re.escape(choice) for choice in part[1:-1].split(",")) + ")"
    return re.escape(part)


def matches(glob: str, name: str) -> bool:
    return compiled(glob).fullmatch(name) is not None
