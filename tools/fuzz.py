#!/usr/bin/env python3
"""Looks for bytes that break what reads files: builds the fuzz targets of tests/fuzz in build/fuzz and runs them.

    tools/fuzz.py [--seconds 60] [--only header]

Inputs that were found to be of interest stay in build/fuzz/corpus/TARGET, where the next run goes on; what breaks a
target is kept in build/fuzz/found. Exit status: 0 if nothing broke, 77 (skipped) without Clang or its fuzzer.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

import build

TARGETS = ("header", "json", "patterns", "checkpoint")
HERE = build.ROOT / "build" / "fuzz"
CORPUS = build.ROOT / "tests" / "fuzz" / "corpus"
SKIP_CODE = 77
# A refusal may take 1 s, and 256 MiB, with the sanitizers' own.
LIMITS = ["-timeout=1", "-rss_limit_mb=1024", "-max_len=8192"]


def has_fuzzer():
    probe = ["clang++", "-fsanitize=fuzzer", "-x", "c++", "-", "-o", os.devnull]
    source = '#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(const unsigned char*, size_t) { return 0; }\n'
    if not shutil.which("clang++"):
        return False
    return subprocess.run(probe, input=source, text=True, capture_output=True).returncode == 0


def run(target, seconds):
    """The number of executions, or None when something broke."""
    kept = HERE / "corpus" / target
    found = HERE / "found"
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    program = next(HERE.rglob(f"moeq_{target}_fuzz"))
    dictionary = CORPUS.parent / f"{target}.dict"
    command = [program, kept, CORPUS / target, f"-max_total_time={seconds}", f"-dict={dictionary}",
               f"-artifact_prefix={found}/{target}-", "-print_final_stats=1", "-verbosity=1", *LIMITS]  # fmt: skip
    log = HERE / f"{target}.log"
    with log.open("w") as file:
        status = subprocess.run([str(part) for part in command], stdout=file, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors="replace")
    if status != 0:
        print("\n".join(text.splitlines()[-60:]))
        return None
    return int(re.search(r"number_of_executed_units: *(\d+)", text).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target; may be given more than once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not has_fuzzer():
        print("skip: Clang with libFuzzer is not installed")
        sys.exit(SKIP_CODE)
    builder = [sys.executable, build.ROOT / "tools" / "build.py", "fuzz", "--target", "moeq_fuzzers"]
    if subprocess.run([*builder, "--jobs", str(options.jobs)]).returncode != 0:
        sys.exit(1)
    broken = False
    for target in options.only or TARGETS:
        executions = run(target, options.seconds)
        broken = broken or executions is None
        rate = "" if executions is None else f"{executions:,} executions in {options.seconds} s, nothing broke"
        print(f"{target}: {rate or f'broke; the input is in {HERE}/found'}", flush=True)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
