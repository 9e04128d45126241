#!/usr/bin/env python3
"""The header of the first release, without its comments, as a program of that time was compiled with.

    freeze_header.py --check | --update | --release

Until the release it follows include/moeq.h (--update copies, --check compares). --release writes its digest into
tests/abi/old/frozen.txt; from then on the copy may never change again, and --check compares it with the digest. In both
times --check also says what in include/moeq.h would break a program that was compiled with the copy.
"""

import argparse
import hashlib
import sys

import moeq_header
from moeq_header import HEADER, ROOT

OLD = ROOT / "tests" / "abi" / "old"
SNAPSHOT = OLD / "moeq-0.1.h"
DIGESTS = OLD / "frozen.txt"

HEAD = """\
/* The declarations of moeq.h 0.1, which every later library has to serve. Made by tools/freeze_header.py. */
/* clang-format off */
"""


def make_snapshot(text: str) -> str:
    before, span, after = (_bare(part) for part in moeq_header.split_at_marks(text))
    return f"{HEAD}{before}/* [moeq.begin] */\n{span}/* [moeq.end] */\n{after}"


def _bare(text: str) -> str:
    lines = (line.rstrip() for line in moeq_header.strip_comments(text).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def find_breaks(old: moeq_header.Header, new: moeq_header.Header) -> list[str]:
    """What a program compiled with the old header relies on and the new one no longer says."""
    breaks = []
    constants = {constant.name: constant.value for constant in new.constants}
    for constant in old.constants:
        if not constant.name.startswith("MOEQ_VERSION_") and constants.get(constant.name) != constant.value:
            breaks.append(f"{constant.name} was {constant.value}, is {constants.get(constant.name, 'gone')}")
    signatures = {function.signature for function in new.functions + new.callbacks}
    breaks += [f"changed or gone: {f.signature}" for f in old.functions + old.callbacks if f.signature not in signatures]
    breaks += [f"gone: handle {name}" for name in old.handles if name not in new.handles]
    breaks += [f"changed: typedef {alias[0]}" for alias in old.aliases if alias not in new.aliases]
    structs = {struct.name: struct for struct in new.structs}
    for struct in old.structs:
        now = structs[struct.name].fields if struct.name in structs else ()
        kept = now[: len(struct.fields)] if struct.sized else now
        if kept != struct.fields:
            breaks.append(f"struct {struct.name}: its {'first fields' if struct.sized else 'frozen fields'} changed")
    return breaks


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def frozen_digest() -> str | None:
    if not DIGESTS.exists():
        return None
    for line in DIGESTS.read_text(encoding="utf-8").splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1] == SNAPSHOT.name:
            return parts[0]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("--check", "--update", "--release"):
        mode.add_argument(name, action="store_true")
    arguments = parser.parse_args()

    if SNAPSHOT.exists() and not arguments.update:
        breaks = find_breaks(moeq_header.read(SNAPSHOT), moeq_header.read())
        for line in breaks:
            print(f"moeq.h breaks programs made for {SNAPSHOT.name}: {line}", file=sys.stderr)
        if breaks:
            return 1
    frozen = frozen_digest()
    if frozen is not None:
        if arguments.check:
            if digest(SNAPSHOT.read_text(encoding="utf-8")) == frozen:
                print(f"{SNAPSHOT.relative_to(ROOT)}: as released")
                return 0
            print(f"{SNAPSHOT.relative_to(ROOT)} was changed after its release: restore it", file=sys.stderr)
            return 1
        print(f"{SNAPSHOT.relative_to(ROOT)} is released and may not change any more", file=sys.stderr)
        return 1

    snapshot = make_snapshot(HEADER.read_text(encoding="utf-8"))
    status = moeq_header.write_or_compare(SNAPSHOT, snapshot, arguments.update, "python3 tools/freeze_header.py --update")
    if arguments.release and status == 0:
        DIGESTS.write_text(f"{digest(snapshot)}  {SNAPSHOT.name}\n", encoding="utf-8")
        print(f"{DIGESTS.relative_to(ROOT)}: written")
    return status


if __name__ == "__main__":
    sys.exit(main())
