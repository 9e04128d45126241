"""Reads include/moeq.h into plain data for the generators: constants, typedefs, structs, callbacks, functions.

The header keeps to a small subset of C between its [moeq.begin] and [moeq.end] marks (no enums, bit-fields, unions,
anonymous members, function-like macros), so a few regular expressions read it without a compiler. Whatever does not fit the
subset is an error here, never skipped.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "include" / "moeq.h"


@dataclass(frozen=True)
class Constant:
    name: str
    value: str


@dataclass(frozen=True)
class Field:
    name: str
    type: str  # with the array bound, if any: "int64_t[8]"


@dataclass(frozen=True)
class Struct:
    name: str
    fields: tuple[Field, ...]

    @property
    def sized(self) -> bool:
        """Whether the caller says how large it is; the others are frozen."""
        return self.fields[0].name == "struct_size"


@dataclass(frozen=True)
class Function:
    name: str
    result: str
    parameters: tuple[str, ...]  # types only: names are no part of the ABI
    names: tuple[str, ...] = field(compare=False)

    @property
    def signature(self) -> str:
        return f"{self.result} {self.name}({', '.join(self.parameters) or 'void'})"


@dataclass(frozen=True)
class Header:
    constants: tuple[Constant, ...]
    handles: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]  # typedef name, type
    structs: tuple[Struct, ...]
    callbacks: tuple[Function, ...]
    functions: tuple[Function, ...]


class HeaderError(Exception):
    """The header left the subset."""


def strip_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


MARKS = re.compile(r"/\* \[moeq\.begin\].*?\*/|/\* \[moeq\.end\] \*/")


def split_at_marks(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the marks."""
    parts = MARKS.split(text)
    if len(parts) != 3:
        raise HeaderError("the marks [moeq.begin] and [moeq.end] have to be there once each")
    return parts[0], parts[1], parts[2]


def _type(text: str) -> str:
    """One spelling for a type: single spaces, stars together and after a space."""
    text = re.sub(r"\s+", " ", text.replace("*", " * ")).strip()
    return re.sub(r"\* (?=\*)", "*", text)


def _parameter(declarator: str) -> tuple[str, str]:
    """Its type and its name."""
    found = re.fullmatch(r"(.*[\s*])(\w+)", declarator.strip(), flags=re.DOTALL)
    if not found:
        raise HeaderError(f"parameter without a name: {declarator!r}")
    return _type(found.group(1)), found.group(2)


def _function(name: str, result: str, parameters: str) -> Function:
    made = [] if parameters.strip() == "void" else [_parameter(part) for part in parameters.split(",")]
    return Function(name, _type(result), tuple(kind for kind, _ in made), tuple(name for _, name in made))


def _fields(body: str) -> tuple[Field, ...]:
    fields = []
    for line in filter(None, (part.strip() for part in body.split(";"))):
        found = re.fullmatch(r"(.*?)((?:\*\s*)*\w+(?:\[\w+\])?(?:\s*,\s*\w+)*)", line, flags=re.DOTALL)
        if not found or not found.group(1).strip():
            raise HeaderError(f"field: {line!r}")
        base = found.group(1)
        for declarator in found.group(2).split(","):
            parts = re.fullmatch(r"\s*([*\s]*)(\w+)(\[\w+\])?\s*", declarator)
            if not parts:
                raise HeaderError(f"field: {line!r}")
            fields.append(Field(parts.group(2), _type(base + parts.group(1)) + (parts.group(3) or "")))
    return tuple(fields)


def parse(text: str) -> Header:
    span = strip_comments(split_at_marks(text)[1])
    constants = []
    code = []
    for line in span.splitlines():
        if not line.lstrip().startswith("#"):
            code.append(line)
            continue
        found = re.fullmatch(r"#define (MOEQ_\w+) (-?\w+)\s*", line)
        if not found:
            raise HeaderError(f"only #define NAME LITERAL is allowed here: {line!r}")
        constants.append(Constant(found.group(1), found.group(2)))

    handles, aliases, structs, callbacks, functions = [], [], [], [], []
    # A statement ends at the first semicolon that is not inside braces.
    for statement in re.findall(r"[^;{]+(?:\{[^}]*\}[^;{]*)?;", "\n".join(code)):
        statement = statement.strip()[:-1].strip()
        if found := re.fullmatch(r"struct (\w+)", statement):
            continue
        if found := re.fullmatch(r"typedef struct (\w+)\s*\{(.*)\}\s*(\w+)", statement, flags=re.DOTALL):
            if found.group(1) != found.group(3):
                raise HeaderError(f"struct {found.group(1)} and typedef {found.group(3)} differ")
            structs.append(Struct(found.group(1), _fields(found.group(2))))
        elif found := re.fullmatch(r"typedef struct (\w+) (\w+)", statement):
            handles.append(found.group(2))
        elif found := re.fullmatch(r"typedef (.+)\(\*(\w+)\)\((.*)\)", statement, flags=re.DOTALL):
            callbacks.append(_function(found.group(2), found.group(1), found.group(3)))
        elif found := re.fullmatch(r"typedef (\w+) (\w+)", statement):
            aliases.append((found.group(2), found.group(1)))
        elif found := re.fullmatch(r"MOEQ_API\s+(.+?)(\w+)\((.*)\)", statement, flags=re.DOTALL):
            functions.append(_function(found.group(2), found.group(1), found.group(3)))
        else:
            raise HeaderError(f"not in the subset of bindings: {statement!r}")
    return Header(tuple(constants), tuple(handles), tuple(aliases), tuple(structs), tuple(callbacks), tuple(functions))


def read(path: Path = HEADER) -> Header:
    return parse(path.read_text(encoding="utf-8"))


def write_or_compare(path: Path, text: str, update: bool, command: str) -> int:
    """The common end of every generator: 0 when the file holds `text` (afterwards), 1 when it does not."""
    name = path.relative_to(ROOT)
    have = path.read_text(encoding="utf-8") if path.exists() else None
    if have == text:
        print(f"{name}: up to date")
        return 0
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{name}: written")
        return 0
    print_difference(str(name), have, text)
    print(f"{name} is {'missing' if have is None else 'out of date'}: run {command}", file=sys.stderr)
    return 1


def print_difference(name: str, have: str | None, want: str) -> None:
    import difflib

    lines = difflib.unified_diff((have or "").splitlines(), want.splitlines(), f"{name} (committed)", f"{name} (now)",
                                 lineterm="", n=1)
    for line in list(lines)[:60]:
        print(line, file=sys.stderr)
