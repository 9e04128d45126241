"""Heat maps, a histogram, and a page that holds both."""

from __future__ import annotations

import base64
import html
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .figures import lines_of, title_of
from .screen import kind_of, printable, short_kind, short_spec

INK, FAINT, GRID, ACCENT = "#22272e", "#6b7280", "#e5e7eb", "#2f6690"
COLOURS = "cividis"  # the same order of light for every kind of eye, and in print
MAX_TICKS = 16
MAX_PLACES = 13  # numbers below a histogram
ALIKE = 4  # range of all maps to the widest range of one, up to which one scale of colours serves all
FAR_APART = 0.02  # least to largest value of a map, below which its numbers get two digits each
LEAST_RANGE = 4  # of a histogram: largest to least number on its axis
FINE_DIGITS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
MAX_BINS = 80
MAX_SPECS = 3  # named in a heading
MAX_CELLS_WITH_NUMBERS = 16  # layers and experts, up to which every cell says its number


def pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 9,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "axes.edgecolor": GRID,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
        }
    )
    return plt


class Map(NamedTuple):
    """[layers, columns] of what a map shows: relative rms error in %, or amax. A column is an expert, or is named."""

    layers: list[int]
    names: list[str]
    grid: np.ndarray


OTHERS = "weights that are not of experts"


def maps(facts: dict[str, Any]) -> dict[str, Map]:
    """By kind of expert weight; all linears by themselves share one, in which each kind is a column."""
    column, factor = ("relative_rms", 100.0) if facts["against"] else ("amax", 1.0)
    kinds: dict[str, list[tuple[int, list[float]]]] = {}
    others: dict[int, dict[str, float]] = {}
    for weight in facts["weights"]:
        kind, layer = kind_of(weight["name"])
        if weight["of_experts"]:
            kinds.setdefault(kind, []).append((layer, weight["experts"][column]))
        else:
            line, name = others.setdefault(layer, {}), short_kind(kind).removesuffix(".weight")
            line[name] = max(weight["experts"][column][0], line.get(name, 0.0))  # there may be a second number
    made = {}
    for kind, lines in kinds.items():
        lines.sort()
        grid = np.full((len(lines), max(len(values) for _, values in lines)), np.nan)
        for at, (_, values) in enumerate(lines):
            grid[at, : len(values)] = values
        made[kind] = Map([layer for layer, _ in lines], [], grid * factor)
    if others:
        names = list(dict.fromkeys(name for line in others.values() for name in line))
        table = [[others[layer].get(name, np.nan) for name in names] for layer in sorted(others)]
        made[OTHERS] = Map(sorted(others), names, np.array(table) * factor)
    return made


def draw_maps(facts: dict[str, Any]) -> bytes:
    plt = pyplot()
    drawn = maps(facts)
    what = "Relative rms error, % of the weights' rms" if facts["against"] else "Largest absolute value"
    across = min(2, len(drawn))
    lines = -(-len(drawn) // across)
    tallest = max(len(one.layers) for one in drawn.values())
    height = lines * float(np.clip(0.32 * tallest + 1.3, 2.6, 11)) + 0.7
    figure, axes = plt.subplots(lines, across, figsize=(6.6 * across, height), layout="constrained", squeeze=False)
    figure.suptitle(f"{heading(facts)}\n{what}", x=0.01, ha="left", fontsize=12, fontweight="bold")
    for spare in axes.flat[len(drawn) :]:
        spare.set_visible(False)
    common = common_range([one.grid for one in drawn.values()])
    for place, (kind, one) in zip(axes.flat, drawn.items()):
        own = " (colours on a scale of its own)" if common is None else ""
        _draw_map(figure, place, short_kind(kind) + own, one, common or bounds(one.grid))
    return _png(plt, figure)


def heading(facts: dict[str, Any]) -> str:
    """The checkpoint, its formats, and its source."""
    specs = list(dict.fromkeys(short_spec(weight["spec"]) for weight in facts["weights"]))
    words = ", ".join(specs[:MAX_SPECS]) + (f" and {len(specs) - MAX_SPECS} more" if len(specs) > MAX_SPECS else "")
    source = f", against {last_part(facts['against'])}" if facts["against"] else ""
    return f"{last_part(facts['path'])}: {words}{source}"


def last_part(path: str) -> str:
    return printable(Path(path).resolve().name or path)


def bounds(grid: np.ndarray) -> tuple[float, float]:
    finite = grid[np.isfinite(grid)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def common_range(grids: list[np.ndarray]) -> tuple[float, float] | None:
    """One scale of colours for all maps; None where it would hide what is in them."""
    each = [bounds(grid) for grid in grids if np.isfinite(grid).any()] or [(0.0, 1.0)]
    low, high = min(one[0] for one in each), max(one[1] for one in each)
    return (low, high) if high - low <= ALIKE * max(one[1] - one[0] for one in each) else None


def _ticks(count: int) -> range:
    """At most MAX_TICKS of them, a round number apart."""
    for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 512, 1024):
        if count <= step * MAX_TICKS:
            return range(0, count, step)
    return range(0, count, -(-count // MAX_TICKS))


def _draw_map(figure: Any, axes: Any, title: str, one: Map, scale: tuple[float, float]) -> None:
    (low, high), grid = scale, one.grid
    image = axes.imshow(grid, cmap=COLOURS, aspect="auto", interpolation="nearest", vmin=low, vmax=high)
    axes.set_facecolor(GRID)  # of cells without a value
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("layer")
    if one.names:
        columns = _ticks(len(one.names))
        words = [printable(one.names[column]) for column in columns]
        axes.set_xticks(columns, words, rotation=30, ha="right", fontsize=7)
    else:
        axes.set_xlabel("expert")
        axes.set_xticks(_ticks(grid.shape[1]))
    rows = _ticks(len(one.layers))
    axes.set_yticks(rows, ["" if one.layers[row] < 0 else str(one.layers[row]) for row in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.015, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    if max(grid.shape) > MAX_CELLS_WITH_NUMBERS:
        return
    least, most = bounds(grid)
    decimals = int(np.clip(1 - np.floor(np.log10(max(most - least, abs(most) / 10, 1e-9))), 1, 4))
    style = ".2g" if 0 < least < most * FAR_APART else f".{decimals}f"
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            shade = "white" if value < (low + high) / 2 else "black"
            size = 7 if grid.shape[1] <= 8 else 5.5
            axes.text(column, row, f"{value:{style}}", ha="center", va="center", fontsize=size, color=shade)


def draw_histogram(facts: dict[str, Any]) -> bytes:
    plt = pyplot()
    edges, counts = coarser(np.array(facts["row_amax"]["edges"]), np.array(facts["row_amax"]["counts"]))
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    origin = "of the source" if facts["against"] else "as stored"
    axes.set_title(f"{heading(facts)}\nLargest absolute value of each output row, {origin}")
    if len(counts):
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, edgecolor="white", linewidth=0.4)
        axes.set_xscale("log", base=2)
        low, high = widened(float(edges[0]), float(edges[-1]))
        ticks = places(low, high)
        axes.set_xlim(low, high)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel("amax of a row, on a logarithmic scale")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel("rows")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    zeros = facts["row_amax"]["zeros"]
    note = f"{int(counts.sum()):,} rows" + (f", and {zeros:,} of zeros only" if zeros else "")
    axes.text(1, 1.02, note, transform=axes.transAxes, ha="right", va="bottom", fontsize=8, color=FAINT)
    return _png(plt, figure)


def coarser(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of bins made one, until there are few enough."""
    while len(counts) > MAX_BINS:
        if len(counts) % 2:
            counts = np.append(counts, 0)
            edges = np.append(edges, edges[-1] ** 2 / edges[-2])
        counts, edges = counts.reshape(-1, 2).sum(axis=1), edges[::2]
    return edges, counts


def widened(low: float, high: float) -> tuple[float, float]:
    """A range with the same middle, on a logarithmic scale, that reaches from one number to LEAST_RANGE times it."""
    more = max(1.05, math.sqrt(LEAST_RANGE * low / high))
    return low / more, high * more


def places(low: float, high: float) -> list[float]:
    """Round numbers from low to high: of each power of ten some, or of some powers of ten one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for step, digits in ((1, FINE_DIGITS), (1, (1, 2, 3, 5)), (1, (1, 3)), (1, (1,)), (2, (1,)), (5, (1,)), (10, (1,))):
        found = [float(f"{digit}e{power}") for power in range(first, last + 1, step) for digit in digits]
        found = [number for number in found if low <= number <= high]
        if len(found) <= MAX_PLACES:
            break
    return found


def _png(plt: Any, figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, facecolor="white", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def draw_all(facts: dict[str, Any], folder: Path, *, html: bool) -> list[Path]:
    """Writes the pictures, and the page, and returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"errors.png" if facts["against"] else "amax_by_expert.png": draw_maps(facts)}
    pictures["amax.png"] = draw_histogram(facts)
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    written = [folder / name for name in pictures]
    if html:
        (folder / "report.html").write_text(page(facts, pictures), encoding="utf-8")
        written.append(folder / "report.html")
    return written


ALTERNATIVES = {
    "errors.png": "Relative rms error by layer and expert",
    "amax_by_expert.png": "Largest absolute value by layer and expert",
    "amax.png": "Histogram of the largest absolute values of rows",
}
STYLE = """body{font:15px/1.45 system-ui,sans-serif;color:#22272e;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem}img{max-width:100%;height:auto}p{color:#6b7280}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.85rem}
th,td{padding:.25rem .8rem;border-bottom:1px solid #e5e7eb;text-align:right}
.left{text-align:left}caption{text-align:left;font-weight:bold;padding:.5rem 0}"""


def page(facts: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """One file that needs nothing else."""
    against = (
        f"compared with {html.escape(facts['against'])}" if facts["against"] else "without a source to compare with"
    )
    columns, lines = lines_of(facts)
    sides = [f' class="{side}"' if side == "left" else "" for _, side in columns]
    head = "".join(f"<th{side}>{whole(title)}</th>" for (title, _), side in zip(columns, sides))
    body = []
    for weight, line in zip(facts["weights"], lines):
        cells = "".join(f"<td{side}>{html.escape(cell)}</td>" for cell, side in zip(line, sides))
        body.append(f'<tr title="{html.escape(weight["name"])}">{cells}</tr>')
    images = "".join(
        f'<p><img alt="{ALTERNATIVES[name]}" src="data:image/png;base64,{base64.b64encode(picture).decode()}"></p>'
        for name, picture in pictures.items()
    )
    name = html.escape(facts["path"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{STYLE}</style><h1>{name}</h1><p>{against}</p>{images}"
        f"<table><caption>{html.escape(title_of(facts))}</caption><tr>{head}</tr>{''.join(body)}</table></html>\n"
    )


def whole(title: str) -> str:
    """A header on one line."""
    return html.escape(title.replace("-\n", "").replace("\n", " "))
