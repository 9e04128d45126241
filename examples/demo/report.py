"""The table on the terminal, and the picture."""

from pathlib import Path

import numpy as np

MIB = 1024 * 1024
INK, FAINT, GRID = "#22272e", "#6b7280", "#e5e7eb"
STORED_COLOUR = "#9aa3af"
FORMAT_COLOURS = ["#2f6690", "#3a9188", "#d08c2e", "#a4483b", "#6d5a99", "#557a2b"]
# More experts than this and the terminal shows each layer's range only; the picture always has all.
MAX_PRINTED_EXPERTS = 16


def mib(count: float) -> str:
    return f"{count / MIB:.2f}"


def table(facts: dict) -> str:
    """Everything that was measured, a format a line."""
    stored = facts["stored"]
    head = ["format", "files", "experts", "of stored", "whole", "peak in", "peak of", "rate", "relative", "worst",
            "loss", "change", "KL", "same"]
    unit = ["", "", "MiB", "%", "MiB", "moeq MiB", "proc. MiB", "GB/s", "rms error", "expert", "bits/byte", "bits/byte",
            "bits/byte", "guess %"]
    rows = [head, unit, [stored["name"], "", mib(stored["expert_bytes"]), "100.0", mib(stored["model_bytes"]), "", "",
                         "", "", "", f"{stored['bits_per_byte']:.4f}", "", "", ""]]
    for f in facts["formats"]:
        rows.append([
            f["name"], f["layout"], mib(f["expert_bytes"]), f"{100 * f['expert_bytes'] / stored['expert_bytes']:.1f}",
            mib(f["model_bytes"]), mib(f["context_peak_bytes"]), mib(f["process_peak_bytes"]),
            f"{f['read_bytes'] / f['seconds'] / 1e9:.2f}",
            f"{f['relative_rms']:.5f}", f"{np.max(f['relative_rms_map']):.5f}", f"{f['bits_per_byte']:.4f}",
            f"{f['bits_per_byte'] - stored['bits_per_byte']:+.5f}", f"{f['divergence_bits']:.6f}",
            f"{100 * f['agreement']:.2f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
             for row in rows]
    return "\n".join(line.rstrip() for line in [*lines[:2], "-" * len(lines[0]), *lines[2:]])


def error_maps(facts: dict) -> str:
    """Relative rms error of each expert in each layer, one block of lines per format."""
    blocks = []
    for f in facts["formats"]:
        values = np.array(f["relative_rms_map"])
        lines = [f"{f['name']}: relative rms error, layers down, experts across"]
        for layer, row in enumerate(values):
            if len(row) <= MAX_PRINTED_EXPERTS:
                lines.append(f"  {layer:3d}  " + " ".join(f"{value:.5f}" for value in row))
            else:
                lines.append(f"  {layer:3d}  {row.min():.5f} to {row.max():.5f} over {len(row)} experts")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def headline(facts: dict) -> str:
    stored = facts["stored"]
    return (f"{facts['model']}: {stored['parameters'] / 1e6:.2f} M parameters, {stored['layers']} layers x "
            f"{stored['experts']} experts, {100 * stored['expert_bytes'] / stored['model_bytes']:.0f} % of the bytes "
            f"are expert weights")


def draw(facts: dict, path: Path) -> None:
    """Bars for size, memory, error and divergence; below them each format's layer x expert error map."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": FAINT,
                         "ytick.color": INK, "axes.edgecolor": GRID, "axes.titlesize": 10, "axes.titleweight": "bold",
                         "axes.titlelocation": "left"})
    formats = facts["formats"]
    experts, layers = facts["stored"]["experts"], facts["stored"]["layers"]
    across = 2 if experts > 8 else 4  # wide maps, two a line
    map_lines = -(-len(formats) // across)
    figure = plt.figure(figsize=(14, 4.4 + map_lines * max(2.0, 0.36 * layers + 0.9)), layout="constrained")
    (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False,
                                          height_ratios=[3.6, map_lines * max(2.0, 0.36 * layers + 0.9)])
    figure.suptitle(headline(facts), x=0.01, ha="left", fontsize=14, fontweight="bold")
    _draw_bars(top, facts)
    _draw_maps(bottom, facts, map_lines, across)
    figure.text(0.01, -0.012, f"Loss, divergence: {facts['scored_bytes']} bytes of {facts['text']}.", color=FAINT,
                ha="left", va="top", fontsize=8, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.2, facecolor="white")
    plt.close(figure)


def _draw_bars(figure, facts: dict) -> None:
    stored, formats = facts["stored"], facts["formats"]
    names = [f["name"] for f in formats]
    colours = [FORMAT_COLOURS[i % len(FORMAT_COLOURS)] for i in range(len(formats))]
    size, memory, error, loss = figure.subplots(1, 4)

    values = [stored["expert_bytes"], *(f["expert_bytes"] for f in formats)]
    _bars(size, "Expert weights, MiB", [stored["name"], *names], [v / MIB for v in values], [STORED_COLOUR, *colours],
          [f"{mib(v)}   {100 * v / values[0]:.0f} %" for v in values])

    peaks = [f["context_peak_bytes"] for f in formats]
    _bars(memory, "Peak in moeq while quantizing, MiB", names, [p / MIB for p in peaks], colours,
          [mib(p) for p in peaks])
    process = max(f["process_peak_bytes"] for f in formats)
    memory.set_xlabel(f"whole process, with Python: {mib(process)} MiB", color=FAINT, fontsize=8)
    _bars(error, "Relative rms error of the weights", names, [f["relative_rms"] for f in formats], colours,
          [f"{f['relative_rms']:.4f}" for f in formats])
    _bars(loss, "KL from the stored model, bits/byte", names, [f["divergence_bits"] for f in formats], colours,
          [f"{f['divergence_bits']:.5f}   loss {f['bits_per_byte'] - stored['bits_per_byte']:+.4f}" for f in formats])
    loss.set_xlabel(f"loss of the stored model {stored['bits_per_byte']:.4f} bits/byte", color=FAINT, fontsize=8)


def _bars(axes, title: str, names: list, values: list, colours: list, labels: list) -> None:
    axes.set_title(title)
    axes.barh(np.arange(len(names)), values, color=colours, height=0.62)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    # Labels stand behind the bars, so leave them room.
    axes.set_xlim(0, max(values) * 1.75)
    for y, (value, label) in enumerate(zip(values, labels)):
        axes.annotate(label, (value, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])


def _draw_maps(figure, facts: dict, lines: int, across: int) -> None:
    formats = facts["formats"]
    figure.suptitle("Relative rms error of each expert, in per cent of its weights' rms; every map has its own scale",
                    x=0.01, ha="left", fontsize=10, color=FAINT)
    grid = figure.subplots(lines, across, squeeze=False)
    for axes in grid.flat[len(formats):]:
        axes.set_visible(False)
    for axes, f in zip(grid.flat, formats):
        _draw_map(figure, axes, f["name"], 100 * np.array(f["relative_rms_map"]))


def _draw_map(figure, axes, name: str, percent: np.ndarray) -> None:
    layers, experts = percent.shape
    # Enough digits to tell the cells apart.
    digits = int(np.clip(1 - np.floor(np.log10(max(np.ptp(percent), 1e-9))), 1, 4))
    image = axes.imshow(percent, cmap="YlGnBu", aspect="auto")
    axes.set_title(name)
    axes.set_xlabel("expert")
    axes.set_ylabel("layer")
    axes.set_xticks(range(0, experts, 1 if experts <= 16 else 8))
    axes.set_yticks(range(0, layers, 1 if layers <= 12 else 4))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, format=f"%.{digits}f").outline.set_visible(False)
    if experts > 16 or layers > 12:
        return
    middle = (percent.min() + percent.max()) / 2
    for (layer, expert), value in np.ndenumerate(percent):
        axes.text(expert, layer, f"{value:.{digits}f}", ha="center", va="center", fontsize=7 if experts > 8 else 6.5,
                  color="white" if value > middle else INK)
