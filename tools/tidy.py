#!/usr/bin/env python3
"""Looks for faults in src/ with clang-tidy, as .clang-tidy says, without running anything.

    tools/tidy.py --check              quick: what a file says by itself, half a minute for all on two cores
    tools/tidy.py --check --deep       also what happens on the ways through functions, three minutes
    tools/tidy.py --check src/api      some files only

It needs build/release, whose commands say how each file is compiled. src/cpu is left out: it is made of intrinsics, and
nearly all that is said of it is about those.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import setup_env

ROOT = setup_env.REQUIREMENTS.parent.parent
COMMANDS = ROOT / "build" / "release" / "compile_commands.json"
OURS = ROOT / "build" / "tidy"
SKIP_CODE = 77
LEFT_OUT = ("src/cpu/",)
# GCC's alone. Warnings are the compilers' matter.
UNKNOWN = ("-fno-gnu-unique", "-fno-semantic-interposition")
# Without what takes results through out-pointers of functions elsewhere for values that were never set.
DEEP = (
    "clang-analyzer-cplusplus.*,clang-analyzer-deadcode.*,clang-analyzer-unix.*,-clang-analyzer-unix.StdCLibraryFunctions,"
    "clang-analyzer-core.DivideZero,clang-analyzer-core.StackAddressEscape"
)


def known(argument):
    return argument not in UNKNOWN and not argument.startswith("-W")


def sources():
    """Files of src/, and a compile database of them that clang understands, in build/tidy."""
    entries = []
    for entry in json.loads(COMMANDS.read_text()):
        name = os.path.relpath(entry["file"], ROOT)
        if not name.startswith("src/") or name.startswith(LEFT_OUT):
            continue
        command = shlex.split(entry["command"])
        if command[0].endswith("ccache"):
            command = command[1:]
        entries.append({"directory": entry["directory"], "file": entry["file"], "arguments": list(filter(known, command))})
    OURS.mkdir(parents=True, exist_ok=True)
    (OURS / "compile_commands.json").write_text(json.dumps(entries))
    return [os.path.relpath(entry["file"], ROOT) for entry in entries]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", required=True)
    parser.add_argument("--deep", action="store_true", help="also follow paths")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("prefixes", nargs="*", metavar="PATH", help="files, or what their paths begin with")
    options = parser.parse_args()
    if not COMMANDS.exists():
        print("skip: build/release is not there: run make")
        return SKIP_CODE
    try:
        tool = setup_env.make("lint") / "bin" / "clang-tidy"
    except SystemExit as reason:
        print(f"skip: {reason}")
        return SKIP_CODE
    chosen = [name for name in sources() if not options.prefixes or name.startswith(tuple(options.prefixes))]
    extra = [f"--checks={DEEP}"] if options.deep else []

    def look(name):
        done = subprocess.run([tool, "-p", OURS, "--quiet", *extra, name], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        return done.returncode, done.stdout.replace(f"{ROOT}/", "")

    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(look, chosen))
    texts = [text or "clang-tidy failed\n" for code, text in found if code != 0]
    print("".join(texts), end="", file=sys.stderr)
    print(f"{len(chosen)} files: {f'{len(texts)} with faults' if texts else 'in order'}")
    return 1 if texts or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
