#!/usr/bin/env python3
"""Looks for faults in all Python and shell of the tree without running it: ruff, its formatter, mypy and shellcheck.

    tools/lint.py --check     say what is wrong; exit status 1 if anything is
    tools/lint.py --fix       mend what ruff can mend, and lay out what it lays out

ruff.toml and mypy.ini say what is looked for and where.
"""

import argparse
import subprocess
import sys

import setup_env

ROOT = setup_env.REQUIREMENTS.parent.parent
TYPED = ["bindings/python/moeq", "tools", "bench", "examples"]
SKIP_CODE = 77


def shell_scripts():
    """Tracked and new files whose first line names a shell."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, check=True).stdout.split("\0")
    for name in sorted(set(filter(None, listed))):
        path = ROOT / name
        if path.is_file():
            with path.open("rb") as file:
                first = file.readline(80)
            if first.startswith(b"#!") and first.rstrip().endswith(b"sh"):
                yield name


def environments():
    """The folders with the tools and with the packages whose types mypy reads; None where they cannot be made."""
    try:
        return setup_env.make("lint") / "bin", setup_env.make("build") / "bin" / "python"
    except SystemExit as reason:
        print(f"skip: {reason}")
        return None


def commands(tools, python, fix):
    ruff = tools / "ruff"
    yield [ruff, "check", "--quiet", "--output-format", "concise", *(["--fix"] if fix else [])]
    yield [ruff, "format", "--quiet", *([] if fix else ["--check", "--output-format", "concise"])]
    yield [tools / "mypy", "--no-error-summary", "--python-executable", python, *TYPED]
    yield [tools / "shellcheck", "--format", "gcc", *shell_scripts()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--fix", action="store_true")
    options = parser.parse_args()
    made = environments()
    if made is None:
        return SKIP_CODE
    bad = [command for command in commands(*made, options.fix) if subprocess.run(command, cwd=ROOT).returncode != 0]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
