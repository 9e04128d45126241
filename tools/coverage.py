#!/usr/bin/env python3
"""Counts which lines and branches of src/ the C++ suites reach: builds with GCC's counters, runs the suites, asks gcov.

    tools/coverage.py [--jobs N]              everything; the last lines are shares, by folder
    tools/coverage.py --report                of the last run; nothing is built or run
    tools/coverage.py --report --lines PATH   also the lines of some files that no suite reaches

A line of a template counts once, as reached when any instance of it is; so does each of its branches. Branches that only
exist for exceptions do not: the library has none.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import build
import run_tests

ROOT = build.ROOT
FOLDER = ROOT / "build" / "coverage"
OBJECTS = FOLDER / "CMakeFiles" / "moeq_objects.dir"
# Code without optimisation has no chance against their clocks.
TIMED = [*run_tests.TIMED_CASES, "HostileNames.GlobsWithManyStars", "HostileNames.ManyGroupsThatDoNotFit",
         "Specs/StackUse.*"]
SUITES = ("unit", "conformance", "errors", "golden", "hostile", "faults", "threads", "device")


def make_and_run(jobs):
    """False if it does not build. A suite that fails is said by CTest; what it reached counts all the same."""
    for counts in FOLDER.rglob("*.gcda"):
        counts.unlink()
    targets = ["moeq", *(f"moeq_{suite}_tests" for suite in SUITES)]
    commands = [build.configure_command("coverage")]
    commands.append([*build.build_command("coverage", jobs)[:-1], *targets])
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, env=build.environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode != 0:
            print(done.stdout, file=sys.stderr)
            return False
    names = f"^({'|'.join(SUITES)})(_[0-9]+)?$"
    command = ["ctest", "--test-dir", FOLDER, "-R", names, "-LE", "^slow$", "--parallel", jobs, "--timeout", 3000]
    variables = build.environment() | {"GTEST_FILTER": "-" + ":".join(TIMED)}
    subprocess.run([str(part) for part in command], cwd=ROOT, env=variables)
    return True


def gcov(counts):
    """What gcov says of one object."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", counts], cwd=OBJECTS,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


class Source:
    """Counts of one file, over all objects that it is compiled into."""

    def __init__(self):
        self.lines = defaultdict(int)
        self.branches = defaultdict(int)

    def add(self, facts):
        seen = defaultdict(int)
        for line in facts["lines"]:
            number = line["line_number"]
            self.lines[number] += line["count"]
            for branch in line["branches"]:
                if not branch["throw"]:
                    self.branches[number, seen[number, line.get("function_name")]] += branch["count"]
                    seen[number, line.get("function_name")] += 1


def collect(jobs):
    """Sources by name, of the library's objects."""
    sources = defaultdict(Source)
    with ThreadPoolExecutor(jobs) as pool:
        for answer in pool.map(gcov, sorted(OBJECTS.rglob("*.gcda"))):
            for facts in answer["files"]:
                name = os.path.relpath(os.path.join(answer["current_working_directory"], facts["file"]), ROOT)
                if name.startswith("src/"):
                    sources[name].add(facts)
    return sources


def share(reached, total):
    return f"{reached:7} of {total:7} {100 * reached / total:6.1f} %" if total else f"{0:7} of {0:7}        -"


def report(sources, shown):
    folders = defaultdict(lambda: [0, 0, 0, 0])
    for name, source in sources.items():
        figures = (sum(map(bool, source.lines.values())), len(source.lines),
                   sum(map(bool, source.branches.values())), len(source.branches))
        for place in ("src", "/".join(name.split("/")[:2])):
            folders[place] = [a + b for a, b in zip(folders[place], figures)]
    print(f"{'':14}{'lines':>27}{'branches':>28}")
    for place in sorted(folders):
        lines, all_lines, branches, all_branches = folders[place]
        print(f"{place:14}{share(lines, all_lines)} {share(branches, all_branches)}")
    for name in sorted(sources):
        missed = sorted(number for number, count in sources[name].lines.items() if not count)
        if missed and any(name.startswith(prefix) for prefix in shown):
            print(f"{name}: {', '.join(map(str, missed))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="of what the last run has counted")
    parser.add_argument("--lines", nargs="*", default=[], metavar="PATH", help="name lines of these that are not reached")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not shutil.which("gcov"):
        sys.exit("coverage: gcov is not installed: it comes with GCC")
    build.enter_environment()
    if not options.report and not make_and_run(options.jobs):
        return 1
    sources = collect(options.jobs)
    if not sources:
        sys.exit("coverage: nothing was counted: run it without --report")
    report(sources, options.lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
