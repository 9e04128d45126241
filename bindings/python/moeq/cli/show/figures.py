"""Errors and amax as lines of figures, for the terminal and for the page: (columns, lines)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from .screen import kind_of, short_kind, short_spec

# (header, "left" or "right"); a unit stands below.
Columns = list[tuple[str, str]]
Lines = list[list[str]]

ERROR_TITLE = "Errors against the source; rms errors are in % of the weights' rms"
AMAX_TITLE = "Largest absolute value of each expert"


def title_of(facts: dict[str, Any]) -> str:
    return ERROR_TITLE if facts["against"] else AMAX_TITLE


def lines_of(facts: dict[str, Any]) -> tuple[Columns, Lines]:
    return error_lines(facts["weights"]) if facts["against"] else amax_lines(facts["weights"])


def error_lines(weights: list[dict[str, Any]]) -> tuple[Columns, Lines]:
    columns = [("weight", "left"), ("layer", "right"), ("format", "left"), ("rms\nerror %", "right"),
               ("worst\nexpert", "right"), ("its\nerror %", "right"), ("max\nerror", "right"), ("SQNR\ndB", "right"),
               ("satu-\nrated %", "right"), ("zero\ncodes %", "right")]  # fmt: skip
    lines = []
    for weight in weights:
        experts: dict[str, list[float]] = weight["experts"]
        errors = experts["relative_rms"]
        error = math.sqrt(statistics.fmean(value * value for value in errors))
        worst = ascending(errors)[-1]
        lines.append(
            [
                *place(weight),
                f"{100 * error:.3f}",
                str(worst) if weight["of_experts"] else "",
                f"{100 * errors[worst]:.3f}",
                f"{max(experts['max_error']):.5f}",
                f"{-20 * math.log10(error):.2f}" if error else "exact",
                share(experts["saturated"]),
                share(experts["zero"]),
            ]
        )
    return columns, lines


def amax_lines(weights: list[dict[str, Any]]) -> tuple[Columns, Lines]:
    columns = [("weight", "left"), ("layer", "right"), ("format", "left"), ("largest\namax", "right"),
               ("of\nexpert", "right"), ("smallest\namax", "right"), ("of\nexpert", "right"),
               ("median\namax", "right")]  # fmt: skip
    lines = []
    for weight in weights:
        amax: list[float] = weight["experts"]["amax"]
        experts = ascending(amax)
        least, most = experts[0], experts[-1]
        middle = statistics.median([value for value in amax if not math.isnan(value)] or [math.nan])
        numbers = (str(most), str(least)) if weight["of_experts"] else ("", "")
        cells = f"{amax[most]:.5f}", numbers[0], f"{amax[least]:.5f}", numbers[1], f"{middle:.5f}"
        lines.append([*place(weight), *cells])
    return columns, lines


def share(values: Sequence[float | None]) -> str:
    """The mean of shares of codes, in %; "" where there are no codes."""
    known = [value for value in values if value is not None]
    return f"{100 * statistics.fmean(known):.3f}" if known else ""


def ascending(values: list[float]) -> list[int]:
    """Experts by their value; NaN is the largest."""
    return sorted(range(len(values)), key=lambda expert: (math.isnan(values[expert]), values[expert]))


def place(weight: dict[str, Any]) -> tuple[str, str, str]:
    """Name, layer and format, the first cells of a line."""
    kind, layer = kind_of(weight["name"])
    return short_kind(kind), "" if layer < 0 else str(layer), short_spec(weight["spec"])
