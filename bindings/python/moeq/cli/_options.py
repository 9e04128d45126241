"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from .._reader import Reader, TensorInfo
from .._spec import Spec
from ._exit import CommandError

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No bar (there is none without a terminal anyway).")]
Patterns = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON with patterns of names, for models that moeq does not know.")
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Accept NaN, Inf and negative scales.")]
Source = Annotated[Path, typer.Argument(help="Checkpoint: a folder, or one .safetensors file.", show_default=False)]
Target = Annotated[Path, typer.Argument(help="Folder to make; it must not exist yet.", show_default=False)]
Format = Annotated[
    str | None,
    typer.Option(
        "--spec", "-f", metavar="SPEC", help="Format of the experts, such as nf4:64,nested, int8 or fp8_e4m3."
    ),
]
Dialect = Annotated[
    str, typer.Option(metavar="NAME", help="Layout of the files: native, bitsandbytes, compressed-tensors or hf-fp8.")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Quantize only expert weights with such names. Repeatable.")
]
Skip = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave weights with such names. Repeatable.")]
Rule = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB=SPEC", help="Another format for such names; 'none' leaves them. First match wins."),
]
NotDurable = Annotated[bool, typer.Option("--no-sync", help="Do not wait for the disk; faster, not power-cut proof.")]

LEAVE = ("none", "null", "dense", "")


def read_patterns(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8")


def checked_spec(text: str | None) -> Spec | None:
    return None if text is None else Spec(text)


def open_reader(path: Path, *, lenient: bool = False, patterns: Path | None = None, mmap: bool = False) -> Reader:
    return Reader(path, lenient=lenient, patterns=read_patterns(patterns), mmap=mmap)


def tensors_of(reader: Reader) -> dict[int, list[TensorInfo]]:
    """Tensors by the stack that they belong to; -1 for none."""
    found: dict[int, list[TensorInfo]] = {}
    for tensor in reader.tensors:
        found.setdefault(-1 if tensor.stack is None else tensor.stack, []).append(tensor)
    return found


def glob_regex(glob: str) -> re.Pattern[str]:
    """As the library has globs: `*` is any run of characters without a dot, `**` any run at all."""
    parts = re.split(r"(\*\*|\*)", glob)
    return re.compile("".join({"*": "[^.]*", "**": ".*"}.get(part) or re.escape(part) for part in parts), re.DOTALL)


def matches(globs: Iterable[str], name: str) -> bool:
    return any(glob_regex(glob).fullmatch(name) for glob in globs)


def lower_rules(
    source: Path,
    patterns: Path | None,
    only: list[str] | None,
    skip: list[str] | None,
    rule: list[str] | None,
) -> list[dict[str, Any]] | None:
    """--skip, --rule and --only as the library's list of rules, of which the first match wins."""
    rules: list[dict[str, Any]] = [{"match": glob, "spec": None} for glob in skip or ()]
    for text in rule or ():
        glob, equals, spec = text.partition("=")
        if not equals or not glob:
            raise CommandError(f"--rule: got {text!r}; wanted GLOB=SPEC", "for example --rule '**.down_proj=int8'")
        rules.append({"match": glob, "spec": None if spec in LEAVE else str(Spec(spec))})
    if only:
        # Expert weights that no glob names are named one by one: a rule for "all the others" would also be one for
        # 2-D weights, which stay as they are without any rule.
        with open_reader(source, patterns=patterns) as reader:
            names = [stack.name for stack in reader.stacks]
        if not any(matches(only, name) for name in names):
            raise CommandError(f"--only: no expert weight is called {' or '.join(only)}", "moeq inspect lists them")
        rules += [{"match": name, "spec": None} for name in names if not matches(only, name)]
    return rules or None


def unit_range(text: str | None) -> tuple[int, int] | None:
    """ "2:5" -> (2, 5), "7" -> (7, 8)."""
    if text is None:
        return None
    begin, colon, end = text.partition(":")
    try:
        low = int(begin)
        high = int(end) if colon else low + 1
    except ValueError:
        raise CommandError(f"--units: got {text!r}; wanted BEGIN:END", "moeq plan tells how many there are") from None
    if not 0 <= low < high:
        raise CommandError(f"--units: got {text!r}; wanted 0 <= BEGIN < END", "moeq plan tells how many there are")
    return low, high
