#!/usr/bin/env python3
"""The exported symbols of libmoeq, against tests/abi/symbols.golden and against moeq.h.

    check_symbols.py --check | --update [LIBRARY]

Without LIBRARY only the header is compared with the golden file. A line is a function and its version node; once a release
is out, lines are only added.
"""

import argparse
import re
import subprocess
import sys

import moeq_header
from moeq_header import ROOT

GOLDEN = ROOT / "tests" / "abi" / "symbols.golden"


def node_of(header: moeq_header.Header) -> str:
    abi = next(constant.value for constant in header.constants if constant.name == "MOEQ_ABI_VERSION")
    return f"MOEQ_{abi}"


def exported(library: str) -> tuple[list[str], list[str]]:
    """(functions with their version node, whatever else is exported) of a shared library."""
    output = subprocess.run(["readelf", "-W", "--dyn-syms", library], check=True, capture_output=True, text=True).stdout
    functions, others = [], []
    for line in output.splitlines():
        parts = line.split()
        if len(parts) < 8 or not parts[0].rstrip(":").isdigit() or parts[6] == "UND":
            continue
        kind, binding, visibility, section, name = parts[3], parts[4], parts[5], parts[6], parts[7]
        if section == "ABS" and re.fullmatch(r"MOEQ_\d+(@@\w+)?", name):
            continue  # the version node itself
        if kind == "FUNC" and binding == "GLOBAL" and visibility == "DEFAULT":
            functions.append(name)
        else:
            others.append(f"{name} ({kind} {binding} {visibility})")
    return sorted(functions), others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--update", action="store_true")
    parser.add_argument("library", nargs="?", help="libmoeq.so")
    arguments = parser.parse_args()

    header = moeq_header.read()
    declared = sorted(f"{function.name}@@{node_of(header)}" for function in header.functions)
    text = "".join(f"{line}\n" for line in declared)
    status = moeq_header.write_or_compare(GOLDEN, text, arguments.update, "python3 tools/check_symbols.py --update")
    if not arguments.library:
        return status

    functions, others = exported(arguments.library)
    problems = [f"declared in moeq.h, not exported: {name}" for name in declared if name not in functions]
    problems += [f"exported, not declared in moeq.h: {name}" for name in functions if name not in declared]
    problems += [f"exported, no function: {name}" for name in others]
    for problem in problems:
        print(f"{arguments.library}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{arguments.library}: {len(functions)} functions, as declared")
    return status or bool(problems)


if __name__ == "__main__":
    sys.exit(main())
