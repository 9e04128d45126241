#!/usr/bin/env python3
"""Layout of everything in moeq.h that a compiled caller depends on.

    gen_layout.py --check | --update              tests/abi/layout.c, the program that prints it
    gen_layout.py --check | --update --program P  tests/abi/layout.golden, what the compiled program P prints

The golden file says what the ABI is: sizes, offsets, constants, signatures. Once a release is out, its lines may be added
to, and a struct may grow at its end; nothing else in it may change without a new MOEQ_ABI_VERSION.
"""

import argparse
import re
import subprocess
import sys

import moeq_header
from moeq_header import ROOT, Header

SOURCE = ROOT / "tests" / "abi" / "layout.c"
GOLDEN = ROOT / "tests" / "abi" / "layout.golden"

# They change with every release and are no part of the ABI.
VERSION_CONSTANTS = {"MOEQ_VERSION_MAJOR", "MOEQ_VERSION_MINOR", "MOEQ_VERSION_PATCH"}

PROLOGUE = """\
/* Prints the layout of moeq.h as this compiler sees it. Generated: python3 tools/gen_layout.py --update */
/* clang-format off */
#include <moeq.h>

#include <stddef.h>
#include <stdio.h>

#define CONSTANT(name) printf("constant %s %lld\\n", #name, (long long)(name))
#define TYPE(name) printf("type %s size %zu %s\\n", #name, sizeof(name), (name)-1 < 0 ? "signed" : "unsigned")
#define STRUCT(name) printf("struct %s size %zu\\n", #name, sizeof(name))
#define FIELD(owner, name, type)                                                                                      \\
    printf("field %s.%s offset %zu size %zu %s\\n", #owner, #name, offsetof(owner, name), sizeof(((owner *)0)->name), type)

int main(void)
{
    printf("pointer size %zu\\n", sizeof(void *));
"""


def make_source(header: Header) -> str:
    lines = []
    for constant in header.constants:
        if constant.name not in VERSION_CONSTANTS:
            lines.append(f"CONSTANT({constant.name});")
    lines += [f"TYPE({name});" for name, _ in header.aliases]
    for struct in header.structs:
        lines.append(f"STRUCT({struct.name});")
        lines += [f'FIELD({struct.name}, {field.name}, "{field.type}");' for field in struct.fields]
    lines += [f'puts("handle {name}");' for name in header.handles]
    lines += [f'puts("callback {callback.signature}");' for callback in header.callbacks]
    lines += [f'puts("function {function.signature}");' for function in header.functions]
    return PROLOGUE + "".join(f"    {line}\n" for line in lines) + "    return 0;\n}\n"


def find_holes(layout: str) -> list[str]:
    """Bytes between or after fields: bindings and memcmp would see whatever lies there."""
    sizes: dict[str, int] = {}
    ends: dict[str, int] = {}
    holes = []
    for line in layout.splitlines():
        if found := re.match(r"struct (\w+) size (\d+)", line):
            sizes[found.group(1)] = int(found.group(2))
        elif found := re.match(r"field (\w+)\.(\w+) offset (\d+) size (\d+)", line):
            owner, name, offset, size = found.group(1), found.group(2), int(found.group(3)), int(found.group(4))
            if offset != ends.get(owner, 0):
                holes.append(f"{owner}: {offset - ends.get(owner, 0)} bytes of padding before {name}")
            ends[owner] = offset + size
    holes += [f"{owner}: {size - ends[owner]} bytes of padding at the end"
              for owner, size in sizes.items() if ends[owner] != size]
    return holes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--update", action="store_true")
    parser.add_argument("--program", help="the compiled tests/abi/layout.c")
    arguments = parser.parse_args()

    if not arguments.program:
        source = make_source(moeq_header.read())
        return moeq_header.write_or_compare(SOURCE, source, arguments.update, "python3 tools/gen_layout.py --update")

    layout = subprocess.run([arguments.program], check=True, capture_output=True, text=True).stdout
    holes = find_holes(layout)
    for hole in holes:
        print(hole, file=sys.stderr)
    command = f"python3 tools/gen_layout.py --update --program {arguments.program}"
    return moeq_header.write_or_compare(GOLDEN, layout, arguments.update, command) or bool(holes)


if __name__ == "__main__":
    sys.exit(main())
