"""What commands print: tables, numbers with units, JSON. Results go to standard output, remarks to standard error."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..streams import drop

UNATTENDED_WIDTH = 200  # characters; output that goes into a file or a pipe is not folded at 80

LEAST_NAME, LEAST_WORDS = 16, 10  # characters of folded text in a table's first column, and in others

MAX_ROWS = 200  # of a table: what has more kinds of names than that is not for people to read

UNITS = (("B", 1), ("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("TB", 10**12))


class Screen(Console):
    """A console that lets the caller see that nobody reads any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, remarks: bool = False) -> Console:
    """Standard output, or standard error for remarks; plain text where it is no terminal."""
    stream = sys.stderr if remarks else sys.stdout
    made = Screen(file=stream, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = UNATTENDED_WIDTH
    return made


def say(*lines: Any) -> None:
    """Prints to standard output."""
    screen = console()
    if screen.is_terminal:
        for line in lines:
            _print(screen, line)
        return
    with screen.capture() as captured:
        for line in lines:
            _print(screen, line)
    # Tables are padded to their width; in a file that would only be spaces at the ends of lines.
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def _print(screen: Console, line: Any) -> None:
    """A table that does not fit is as wide as it has to be: the terminal folds its lines, and nothing is lost."""
    own = screen.width
    if isinstance(line, FittedTable):
        screen.width = max(own, line.fit(screen, own))
    screen.print(line)
    screen.width = own


def remark(*lines: Any) -> None:
    """Prints to standard error: what is not a result. A full disk behind it stops no work."""
    screen = console(remarks=True)
    try:
        for line in lines:
            screen.print(line, style="dim")
    except BrokenPipeError:
        raise
    except OSError:
        drop(sys.stderr)


class Lines:
    """A list in a document of emit, which is written while it is made, an item a line."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items


def emit(value: Any) -> None:
    """One JSON document on standard output; NaN and infinities, which JSON does not have, become null."""
    for text in document(value):
        sys.stdout.write(text)
    sys.stdout.flush()


def document(value: Any) -> Iterator[str]:
    if not (isinstance(value, dict) and any(isinstance(item, Lines) for item in value.values())):
        yield json.dumps(finite(value), indent=1, allow_nan=False) + "\n"
        return
    before = "{\n "
    for key, item in value.items():
        yield f"{before}{json.dumps(str(key))}: "
        before = ",\n "
        if not isinstance(item, Lines):
            yield json.dumps(finite(item), indent=1, allow_nan=False).replace("\n", "\n ")
            continue
        opening = "["
        for one in item.items:
            yield f"{opening}\n  {line_of(one)}"
            opening = ","
        yield "[]" if opening == "[" else "\n ]"
    yield "\n}\n"


def line_of(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), allow_nan=False)


def finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


# ---- numbers


def unit_for(largest: float) -> tuple[str, int]:
    """The unit in which the largest number of bytes of a column has one to four digits before the point."""
    for name, size in reversed(UNITS):
        if largest >= size:
            return name, size
    return UNITS[0]


def digits(value: float, size: int) -> str:
    """Bytes in a unit: to a hundredth, bytes themselves whole."""
    return f"{value:,.0f}" if size == 1 else f"{value / size:,.2f}"


def nbytes(value: float) -> str:
    """Bytes with a unit of their own: "1.23 GB"."""
    name, size = unit_for(value)
    return f"{digits(value, size)} {name}"


def rate(count: float, seconds: float) -> str:
    """ "1.93 GB/s"; always in GB/s, so that figures can be compared."""
    value = count / max(seconds, 1e-9) / 1e9
    return f"{value:.2f} GB/s" if value >= 0.01 or not value else f"{value:.1g} GB/s"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def counted(number: int, what: str) -> str:
    """ "1 unit", "2 units"."""
    return f"{number} {what}{'s' * (number != 1)}"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def ranges(numbers: Iterable[int]) -> str:
    """ "0-3, 7" for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(begin) if begin == end else f"{begin}-{end}" for begin, end in parts)


def kind_of(name: str) -> tuple[str, int]:
    """A name without its numbers, and the first of these: the layer; -1 where there is none."""
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    return re.sub(r"(?<=\.)\d+(?=\.)|(?<=\.)\d+$|^\d+(?=\.)", "*", name), numbers[0] if numbers else -1


def short_kind(kind: str) -> str:
    """A name without what nearly all of them begin with; tables tell the layers in a column of their own."""
    return kind.removeprefix("model.layers.*.")


def short_spec(text: str) -> str:
    """A spec as people write it: without layout, axis and element type, which come from the checkpoint."""
    return re.sub(r"(?<=[:,])(layout|axis|dtype)=[^,]*,?", "", text).rstrip(":,")


def shape_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) if shape else "scalar"


# ---- tables


class FittedTable(Table):
    """A table of which only text is folded when a terminal is narrow; rich would cut numbers, and drop columns."""

    def fit(self, screen: Console, width: int) -> int:
        """Sets the widths of the columns; returns that of the table, which is more than `width` if it cannot fit."""
        widths = [
            max(cell_len(line) for cell in (column.header, *column.cells) for line in str(cell).split("\n"))
            for column in self.columns
        ]
        unbounded = screen.options.update(width=100_000)
        needed = Measurement.get(screen, unbounded, self).maximum
        least = [
            min(natural, LEAST_WORDS if at else LEAST_NAME) if column.justify == "left" else natural
            for at, (column, natural) in enumerate(zip(self.columns, widths))
        ]
        if needed - sum(widths) + sum(least) > width:
            return needed
        fitted = list(widths)
        while needed - sum(widths) + sum(fitted) > width:
            fitted[max((n for n in range(len(fitted)) if fitted[n] > least[n]), key=lambda n: fitted[n])] -= 1
        for column, one in zip(self.columns, fitted):
            column.width = one
        return width


def table(
    title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]], *, total: bool = False
) -> FittedTable:
    """A table whose columns are (header, "left" or "right"). Names may be folded, numbers never.

    A header's unit stands on a line of its own below it. total: the last row is one.
    """
    made = FittedTable(
        title=title or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    for index, (header, side) in enumerate(columns):
        made.add_column(
            header,
            justify="right" if side == "right" else "left",
            header_style="bold",
            vertical="bottom" if index else "top",
            overflow="fold",
            no_wrap=bool(index) and side == "right",
        )
    cells = [[text_of(cell) for cell in row] for row in rows]
    for index, row in enumerate(cells):
        last = total and index == len(cells) - 1
        made.add_row(*row, style="bold" if last else None, end_section=total and index == len(cells) - 2)
    return made


def beyond(rows: Sequence[Any], note: str = "") -> list[str]:
    """A line below a table that shows MAX_ROWS of them; nothing where those are all."""
    if len(rows) <= MAX_ROWS:
        return []
    return [f"... and {len(rows) - MAX_ROWS:,} more kinds of names{note}; --json has all", ""]


def say_all(title: str, columns: Sequence[tuple[str, str]], rows: Callable[[], Iterable[Sequence[Any]]]) -> None:
    """A table of any length, a line at a time and nothing folded. rows: makes them, twice as the widths come first."""
    widths = [cell_len(header) for header, _ in columns]
    for row in rows():
        widths = [max(width, cell_len(printable(str(cell)))) for width, cell in zip(widths, row)]

    def line(cells: Sequence[Any]) -> str:
        texts = [printable(str(cell)) for cell in cells]
        blanks = [" " * (width - cell_len(text)) for width, text in zip(widths, texts)]
        sides = [side for _, side in columns]
        return "  ".join(b + t if s == "right" else t + b for s, t, b in zip(sides, texts, blanks)).rstrip()

    screen = console()
    for text in (title, line([header for header, _ in columns])):
        screen.print(text, style="bold", soft_wrap=True)
    for row in rows():
        sys.stdout.write(line(row) + "\n")


def text_of(cell: Any) -> Any:
    """Names come from files: whatever is in them is shown as text, without control characters."""
    if isinstance(cell, Text):
        return cell
    return Text(printable(str(cell)))


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
