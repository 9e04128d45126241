"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from .. import MoeqError, Reader, Spec, StackInfo, TensorInfo
from ..names import DIALECTS, FLOATS, FORMATS
from .ending import CommandError, Status, one_line

LAYOUTS = tuple(name for name in DIALECTS if name != "none")  # that can be written
TARGETS = (*FORMATS, *FLOATS)
LIKENESS = 0.4  # of a word to the one that was meant, from 0 to 1

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No bar (there is none without a terminal anyway).")]
Patterns = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON with patterns of names, for models that moeq does not know.")
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Accept NaN, Inf and negative scales.")]


def path_of(text: str) -> Path:
    """A path of the command line; Path itself takes an empty text for the current folder."""
    if not text:
        raise typer.BadParameter("got an empty text; wanted a path")
    return Path(text)


Source = Annotated[
    Path,
    typer.Argument(
        help="Checkpoint: a folder, or one .safetensors file.", show_default=False, parser=path_of, metavar="SOURCE"
    ),
]
Target = Annotated[
    Path,
    typer.Argument(help="Folder to make; it must not exist yet.", show_default=False, parser=path_of, metavar="TARGET"),
]
Against = Annotated[
    Path | None,
    typer.Option(metavar="SOURCE", help="Compare every expert with this checkpoint too.", parser=path_of),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--spec",
        "--format",
        "-f",
        metavar="SPEC",
        help="Format of the experts, such as nf4:64,nested, int8 or fp8_e4m3; bf16, fp16 or fp32 makes all that is "
        "quantized dense.",
        autocompletion=lambda: list(TARGETS),
    ),
]
Dialect = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Layout of the files: native, bitsandbytes, compressed-tensors or hf-fp8.",
        autocompletion=lambda: list(LAYOUTS),
    ),
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Quantize only expert weights with such names. Repeatable.")
]
Skip = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave weights with such names. Repeatable.")]
Rule = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB=SPEC", help="Another format for such names; 'none' leaves them. First wins."),
]
Units = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Do only these units of the plan; others may run anywhere at the same time."),
]
Finish = Annotated[
    bool | None,
    typer.Option("--finish/--no-finish", help="Put the target in its place; default: yes, unless --units is given."),
]
KeepForeign = Annotated[
    bool,
    typer.Option(
        "--keep-foreign",
        help="Copy codes of schemes that moeq does not read; the new config.json does not say what they are.",
    ),
]
AllFiles = Annotated[
    bool, typer.Option("--all-files", help="Also .safetensors files of the folder that its index does not name.")
]
WeightsOnly = Annotated[
    bool, typer.Option("--weights-only", help="With compressed-tensors: ask for no quantized activations.")
]
NotDurable = Annotated[bool, typer.Option("--no-sync", help="Do not wait for the disk; faster, not power-cut proof.")]


def read_patterns(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"--patterns: {path} is no UTF-8 text", "docs/store.md tells what it has to have") from None


def nearest(word: str, words: Sequence[str]) -> str:
    """A hint that names the word that was perhaps meant; "" where none is like it."""
    like = [one for one in words if word and one.startswith(word.lower())]
    like = like or get_close_matches(word.lower(), words, 1, LIKENESS)
    return f"did you mean {like[0]}?" if like else ""


def checked_spec(text: str | None, option: str = "--spec", words: Sequence[str] = FORMATS) -> Spec | None:
    """The spec that an option spells; a mistake in it is told under the option's name."""
    try:
        return None if text is None else Spec(text)
    except MoeqError as error:
        word = str(text).partition(":")[0]
        hint = "" if word in FORMATS else nearest(word, words)
        raise CommandError(f"{option}: {one_line(error)}", hint) from error


def checked_target(text: str | None, option: str = "--spec") -> Spec | str | None:
    """As checked_spec; or a type, of which all that is quantized is to become dense."""
    if text is None or text in FLOATS:
        return text
    return checked_spec(text, option, TARGETS)


def checked_dialect(name: str) -> str:
    if name not in LAYOUTS:
        wanted = f"{', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}"
        raise CommandError(f"--dialect: got {name!r}; wanted {wanted}", nearest(name, LAYOUTS))
    return name


def open_reader(
    path: Path, *, lenient: bool = False, all_files: bool = False, patterns: Path | None = None, mmap: bool = False
) -> Reader:
    if path.suffix == ".json" and path.is_file():
        raise CommandError(f"{path} is no checkpoint", f"give its folder: {path.parent}", Status.INPUT)
    return Reader(path, lenient=lenient, all_files=all_files, patterns=read_patterns(patterns), mmap=mmap)


def tensors_of(reader: Reader) -> dict[int, list[TensorInfo]]:
    """Tensors by the stack that they belong to; -1 for none."""
    found: dict[int, list[TensorInfo]] = {}
    for tensor in reader.tensors:
        found.setdefault(-1 if tensor.stack is None else tensor.stack, []).append(tensor)
    return found


def is_lone(stack: StackInfo, parts: Sequence[TensorInfo]) -> bool:
    """Whether it is a quantized linear by itself and no weight of experts. parts: its tensors."""
    codes = [part.name for part in parts if part.component in (None, "codes")]
    return not stack.fused and len(codes) == 1 and codes[0].startswith(stack.name)


def expert_stacks(reader: Reader) -> list[StackInfo]:
    """Stacks without quantized linears by themselves."""
    members = tensors_of(reader)
    return [stack for stack in reader.stacks if not is_lone(stack, members.get(stack.index, []))]


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
