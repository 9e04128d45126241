#!/usr/bin/env python3
"""Counts the tests of each folder for the table of docs/testing.md: its last column.

    gen_testing.py --check | --update

What is counted is what is written: a test that runs with twenty values is one.
"""

import argparse
import re
import sys

from moeq_header import ROOT, write_or_compare

PAGE = ROOT / "docs" / "testing.md"
CPP = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\(", re.MULTILINE)
PYTHON = re.compile(r"^\s*def test_\w+\(", re.MULTILINE)
ROW = re.compile(r"^\| `(tests/[\w/]+)/` \|.*\| *(\d*) *\|$", re.MULTILINE)


def count(folder: str) -> int:
    """Tests in the files of a folder, and in those of the folders below it that have no row of their own."""
    rows = {match.group(1) for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    total = 0
    for path in sorted((ROOT / folder).rglob("*")):
        inside = path.relative_to(ROOT).as_posix()
        if any(inside.startswith(f"{row}/") for row in rows if row != folder and row.startswith(f"{folder}/")):
            continue
        pattern = {".cpp": CPP, ".py": PYTHON}.get(path.suffix)
        if pattern and path.is_file():
            total += len(pattern.findall(path.read_text(encoding="utf-8")))
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--check", action="store_true")
    group.add_argument("--update", action="store_true")
    update = parser.parse_args().update
    text = ROW.sub(lambda row: re.sub(r"\d* *\|$", f"{count(row.group(1))} |", row.group(0)), PAGE.read_text(encoding="utf-8"))
    return write_or_compare(PAGE, text, update, "tools/gen_testing.py --update")


if __name__ == "__main__":
    sys.exit(main())
