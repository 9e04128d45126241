#!/usr/bin/env python3
"""Writes bindings/rust/moeq-sys/src/bindings.rs from include/moeq.h with the pinned bindgen of bindings/rust/generate.

    gen_rust_bindings.py --check | --update

Needs cargo and libclang (Debian: libclang-dev; elsewhere LIBCLANG_PATH names its folder). Where one of them, or the first
download of bindgen, cannot be had, it says so and ends with 77 (skipped).
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cargo
import moeq_header
from moeq_header import HEADER, ROOT

GENERATOR = ROOT / "bindings" / "rust" / "generate"
BINDINGS = ROOT / "bindings" / "rust" / "moeq-sys" / "src" / "bindings.rs"
SKIPPED = 77
OFFLINE = ("failed to download", "failed to fetch", "Could not resolve host", "network failure", "spurious network error")


def build_folder() -> Path:
    """Compiling bindgen takes a minute, so the result is kept per lock file and shared by all clones."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256((GENERATOR / "Cargo.lock").read_bytes()).hexdigest()[:16]
    return cache / "moeq" / f"bindgen-{key}"


def build() -> tuple[Path | None, str]:
    """(the generator, "") or (None, why there is none)."""
    if problem := cargo.missing():
        return None, problem
    folder = build_folder()
    manifest = str(GENERATOR / "Cargo.toml")
    command = ["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return folder / "debug" / "moeq-generate", ""
    if any(sign in result.stderr for sign in OFFLINE):
        return None, "needs the network once, to fetch bindgen"
    raise SystemExit(f"{result.stderr}\nthe generator does not build: cargo build --locked --manifest-path {manifest}")


def generate(program: Path) -> tuple[str | None, str]:
    """(the text, "") or (None, why there is none)."""
    result = subprocess.run([str(program), str(HEADER)], capture_output=True, text=True)
    if result.returncode == 0:
        return result.stdout, ""
    if "libclang" in result.stderr and "find" in result.stderr:
        return None, "needs libclang (Debian: libclang-dev; or LIBCLANG_PATH)"
    raise SystemExit(f"{result.stderr}\nthe generator failed: {program} {HEADER}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--update", action="store_true")
    arguments = parser.parse_args()

    program, reason = build()
    text = None
    if program:
        text, reason = generate(program)
    if text is None:
        print(f"skipped: {reason}")
        return SKIPPED
    command = "python3 tools/gen_rust_bindings.py --update"
    return moeq_header.write_or_compare(BINDINGS, text, arguments.update, command)


if __name__ == "__main__":
    sys.exit(main())
