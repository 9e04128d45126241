#!/usr/bin/env python3
"""Runs everything that this machine can run, one line a stage, and ends with the line "N passed, N failed, N skipped".

    tools/run_tests.py                      all stages, without the long suites
    tools/run_tests.py --all                the long suites, the thread sanitizer and an emulated ARM processor too
    tools/run_tests.py --only cpp,python    some stages
    tools/run_tests.py --list               what stages there are

A stage whose folder or tool is absent is skipped and says why. Output is shown of what fails only; all of it is in
build/logs. The exit status is 0 if nothing failed.
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import build
import cargo
from clean_environment import clean_environment

ROOT = build.ROOT
LOGS = ROOT / "build" / "logs"
LIMIT_S = 80 * 60  # for everything; a stage that is still running then has failed
LONG_LIMIT_S = 6 * 60 * 60
SKIP_CODE = 77  # what a check exits with when it cannot run here; its last line of output says why
SHOWN_LINES = 120
LONGEST = 8  # cases named at the end
IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES = 2 << 30
# Names of suites and of their shards, in the language of CMake: it has no \w and no \d.
SANITIZED_SUITES = r"^(unit|golden|errors|faults|hostile|fuzz|random)(_[a-z0-9]+)?$"
LONG_SANITIZED_SUITES = r"^(unit|conformance|golden|errors|faults|hostile|fuzz|random)(_[a-z0-9]+)?$"
THREAD_SUITES = r"^(unit|threads)(_[0-9]+)?$"
EMULATED_SUITES = r"^(unit|conformance|golden|errors|faults|threads)(_[0-9]+)?$"
# These look at a clock, which an emulator, or a sanitizer on a slow machine, has no chance against.
TIMED_CASES = ["Json.a_million_members_take_less_than_two_seconds",
               "Safetensors.time_and_memory_are_bounded_by_the_header", "Stacks.AMillionTensorsTakeSeconds",
               "HostileNames.ThousandsOfDotsInEachOfManyNames"]


@dataclass
class Outcome:
    """What a stage found. `skips` has one reason for every skipped test, `times` the seconds and the name of a case."""

    passed: int = 0
    failed: int = 0
    skips: list = field(default_factory=list)
    times: list = field(default_factory=list)
    output: str = ""  # shown if something failed
    note: str = ""

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skips += other.skips
        self.times += other.times
        self.output += other.output


def failure(output):
    return Outcome(failed=1, output=output)


def skip(reason):
    return Outcome(skips=[reason])


class Runner:
    """Runs commands for a stage: no stdin, one deadline, everything in one log file."""

    def __init__(self, stage, deadline, jobs, long):
        self.deadline = deadline
        self.log = LOGS / f"{stage}.log"
        self.jobs = jobs
        self.long = long
        self.log.write_text("")

    def run(self, command, cwd=ROOT, **variables):
        """The exit status and the output of a test, in a clean environment; 124 if the time is over."""
        return self._run(command, cwd, clean_environment(**variables))

    def set_up(self, command):
        """The same of what builds or installs, which heeds compilers, caches and whatever else is set."""
        return self._run(command, ROOT, build.environment())

    def _run(self, command, cwd, environment):
        process = subprocess.Popen([str(part) for part in command], cwd=cwd, env=environment, text=True, errors="replace",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            output, _ = process.communicate(timeout=max(1, self.deadline - time.monotonic()))
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            output += "\nout of time\n"
            code = 124
        except BaseException:  # Ctrl-C or SIGTERM
            os.killpg(process.pid, signal.SIGKILL)
            raise
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n{output}\n")
        return code, output


# ---- building -----------------------------------------------------------------------------------------------------


def build_preset(runner, preset):
    """None if it builds, else the outcome that says why not."""
    for command in (build.configure_command(preset), build.build_command(preset, runner.jobs)):
        code, output = runner.set_up(command)
        if code != 0:
            # Without what Ninja says of the files that did compile.
            return failure("\n".join(line for line in output.splitlines() if not re.match(r"\[\d+/\d+\] ", line)))
    return None


def stage_build(runner):
    broken = build_preset(runner, "release")
    return broken or Outcome(note="build/release/libmoeq.so")


# ---- C++: CTest, with the reports of GoogleTest inside it -------------------------------------------------------------


def count_gtest(report):
    """The cases of one program of GoogleTest; None if it did not live to write its report."""
    try:
        cases = ElementTree.parse(report).getroot().iter("testcase")
    except (OSError, ElementTree.ParseError):
        return None
    outcome = Outcome()
    for case in cases:
        outcome.times.append((float(case.get("time", 0)), f"{case.get('classname')}.{case.get('name')}"))
        skipped = case.find("skipped")
        if case.find("failure") is not None:
            outcome.failed += 1
        elif skipped is not None or case.get("status") == "notrun":
            text = skipped.get("message", "") if skipped is not None else "disabled"
            # GoogleTest puts the place in the source before the message.
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            outcome.skips.append(lines[-1] if lines else "no reason given")
        else:
            outcome.passed += 1
    return outcome


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("skip:").strip() if lines else "no reason given"


def without_passes(text):
    """The output of GoogleTest without the tests that passed; one that crashed keeps its line."""
    return re.sub(r"^\[ RUN      \] (\S+)\n(\[       OK \] \1[ ,].*\n)|^\[-{10}\].*\n|^\n", "", text, flags=re.M)


def count_ctest(junit, results):
    """Counts cases where a test of CTest is a program of GoogleTest, else the test itself."""
    total = Outcome()
    for test in ElementTree.parse(junit).getroot().iter("testcase"):
        name = test.get("name")
        text = (test.findtext("system-out") or "").strip()
        failed = test.find("failure") is not None
        cases = count_gtest(results / f"{name}.xml")
        if cases is None or (failed and cases.failed == 0):
            # A check without cases, or a program that crashed, ran out of time or was stopped by a sanitizer.
            skipped = test.find("skipped") is not None
            cases = Outcome(passed=int(not failed and not skipped), failed=int(failed),
                            skips=[last_line(text)] if skipped else [], times=[(float(test.get("time", 0)), name)])
        if failed:
            reason = test.find("failure").get("message") or "failed"
            cases.output = f"-- {name}: {reason}\n{without_passes(text)}\n"
        total.add(cases)
    return total


def fast_folder(long):
    """Where C++ suites keep their files: in memory, as they publish thousands of durable ones and a disk takes its time
    for each. The long run keeps the usual place, and so does who has set TMPDIR or has little memory."""
    if long or "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK):
        return contextlib.nullcontext()
    if shutil.disk_usage(IN_MEMORY).free < IN_MEMORY_BYTES:
        return contextlib.nullcontext()
    return tempfile.TemporaryDirectory(prefix="moeq-", dir=IN_MEMORY)


def run_ctest(runner, preset, suites=None, **variables):
    with fast_folder(runner.long) as folder:
        place = {"TMPDIR": folder} if folder else {}
        return run_suites(runner, preset, suites, **place, **variables)


def run_suites(runner, preset, suites, **variables):
    folder = ROOT / "build" / preset
    results = folder / "tests" / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    junit = folder / "ctest.xml"
    junit.unlink(missing_ok=True)
    command = ["ctest", "--test-dir", folder, "--output-junit", junit, "--output-on-failure", "--parallel", runner.jobs,
               "--test-output-size-failed", 200000, "--test-output-size-passed", 20000]
    if suites:
        command += ["--tests-regex", suites]
    if not runner.long:
        command += ["--label-exclude", "^slow$"]
    code, output = runner.run(command, **variables)
    if not junit.exists():
        return failure(output)
    outcome = count_ctest(junit, results)
    if code != 0 and outcome.failed == 0:
        outcome.add(failure(output))
    if outcome.passed + outcome.failed + len(outcome.skips) == 0:
        return skip("no C++ tests were built: GoogleTest is missing (Debian: libgtest-dev)")
    return outcome


def stage_cpp(runner):
    return build_preset(runner, "release") or run_ctest(runner, "release")


def sanitized(preset, suites, long_suites):
    def stage(runner):
        broken = build_preset(runner, preset)
        return broken or run_ctest(runner, preset, long_suites if runner.long else suites, UBSAN_OPTIONS="print_stacktrace=1",
                                   ASAN_OPTIONS="allocator_may_return_null=1",
                                   GTEST_FILTER="-" + ":".join(TIMED_CASES))

    return stage


def stage_arm64(runner):
    """The tests of another processor: what its compiler makes of the sources, and the tier NEON."""
    if platform.machine() in ("aarch64", "arm64"):
        return skip("this is such a processor: the other stages have tested it")
    if not shutil.which("aarch64-linux-gnu-g++"):
        return skip("there is no compiler for 64-bit ARM (Debian: g++-aarch64-linux-gnu)")
    if not (shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")):
        return skip("there is no emulator of 64-bit ARM (Debian: qemu-user-static)")
    return build_preset(runner, "arm64") or run_ctest(runner, "arm64", EMULATED_SUITES,
                                                      GTEST_FILTER="-" + ":".join(TIMED_CASES))


# ---- Python -----------------------------------------------------------------------------------------------------------


def library_variables():
    """How the bindings find the library that was just built."""
    folder = ROOT / "build" / "release"
    return {"MOEQ_LIBRARY": folder / "libmoeq.so", "MOEQ_LIB_DIR": folder, "MOEQ_INCLUDE_DIR": ROOT / "include",
            "PYTHONPATH": ROOT / "bindings" / "python"}


def count_pytest(junit):
    outcome = Outcome()
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("classname", "").removeprefix("tests.python.")
        outcome.times.append((float(case.get("time", 0)), f"{name}.{case.get('name')}"))
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        elif skipped is not None:
            outcome.skips.append(skipped.get("message") or "no reason given")
        else:
            outcome.passed += 1
    return outcome


def stage_python(runner):
    if not (ROOT / "tests" / "python").is_dir():
        return skip("there is no tests/python")
    # The packages that moeq is compared with are large; without them the tests that need them skip themselves.
    outcome = Outcome()
    code, output = runner.set_up([sys.executable, "tools/setup_env.py", "test"])
    python = Path(output.strip().splitlines()[-1]) / "bin" / "python" if code == 0 else Path(sys.executable)
    if code != 0:
        outcome.skips.append("the environment with torch, bitsandbytes and the like could not be made, see "
                             f"{runner.log.relative_to(ROOT)}")
    junit = ROOT / "build" / "pytest.xml"
    junit.unlink(missing_ok=True)
    code, output = runner.run([python, "-m", "pytest", "tests/python", "-q", "--no-header", "--tb=short", "-rfE",
                               "-p", "no:cacheprovider", f"--junitxml={junit}"],
                              HYPOTHESIS_STORAGE_DIRECTORY=ROOT / "build" / "hypothesis",
                              MOEQ_TEST_LONG=int(runner.long), **library_variables())
    if not junit.exists():
        return failure(output)
    outcome.add(count_pytest(junit))
    outcome.output = output
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
    return outcome


# ---- Rust -------------------------------------------------------------------------------------------------------------


def stage_rust(runner):
    folder = ROOT / "bindings" / "rust"
    if not (folder / "Cargo.toml").exists():
        return skip("there is no bindings/rust")
    if problem := cargo.missing():
        return skip(f"{problem}: the Rust tests did not run")
    release = ROOT / "build" / "release"
    locked = ["--locked"] if (folder / "Cargo.lock").exists() else []
    code, output = runner.run(["cargo", "test", "--workspace", "--no-fail-fast", "--jobs", runner.jobs, *locked],
                              cwd=folder, CARGO_TARGET_DIR=ROOT / "build" / "rust", LD_LIBRARY_PATH=release,
                              CARGO_TERM_COLOR="never", **library_variables())
    outcome = Outcome(output=output)
    for passed, failed, ignored in re.findall(r"^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored", output, re.M):
        outcome.passed += int(passed)
        outcome.failed += int(failed)
        outcome.skips += ["ignored in the source"] * int(ignored)
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
    return outcome


# ---- generated files and other checks -----------------------------------------------------------------------------------


def check_commands(formatting, long):
    """Every tool in tools/ that knows --check, so that a new generator is checked without being entered anywhere."""
    for tool in sorted((ROOT / "tools").glob("*.py")):
        if tool != Path(__file__).resolve() and '"--check"' in tool.read_text():
            deep = ["--deep"] if long and tool.name == "tidy.py" else []
            yield [sys.executable, tool.relative_to(ROOT), "--check", *deep]
    if formatting:
        yield ["tools/format.sh", "--check"]


def checks(formatting):
    def stage(runner):
        outcome = Outcome()
        for command in check_commands(formatting, runner.long):
            code, output = runner.run(command, **library_variables())
            if code == SKIP_CODE:
                outcome.skips.append(last_line(output))
            elif code == 0:
                outcome.passed += 1
            else:
                outcome.add(failure(f"-- {' '.join(map(str, command[-2:]))}\n{output}\n"))
        return outcome

    return stage


# ---- the whole ----------------------------------------------------------------------------------------------------------

# name, what it is, stage, whether plain `make test` runs it
STAGES = [
    ("build", "the library and its C++ tests", stage_build, True),
    ("checks", "generated files and versions", checks(False), True),
    ("cpp", "C++ and C, headers, consumers of an install", stage_cpp, True),
    ("python", "bindings, against independent packages", stage_python, True),
    ("rust", "bindings", stage_rust, True),
    ("asan", "C++ under address and undefined behaviour sanitizers",
     sanitized("asan", SANITIZED_SUITES, LONG_SANITIZED_SUITES), True),
    ("tsan", "C++ under the thread sanitizer", sanitized("tsan", THREAD_SUITES, THREAD_SUITES), False),
    ("arm64", "C++ for 64-bit ARM, in an emulator", stage_arm64, False),
]


def counts(outcome):
    parts = [f"{outcome.passed} passed"] if outcome.passed else []
    parts += [f"{outcome.failed} failed"] if outcome.failed else []
    parts += [f"{len(outcome.skips)} skipped"] if outcome.skips else []
    return ", ".join(parts) or outcome.note or "nothing to run"


def duration(seconds):
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


class Screen:
    """One line a stage; colours and a line for the running stage on a terminal only."""

    def __init__(self):
        self.live = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.live else text

    def begin(self, name, what):
        if self.live:
            print(f"  ....  {name:8} {what}", end="", flush=True)

    def end(self, name, outcome, seconds):
        if self.live:
            print("\r\033[K", end="")
        mark = self.paint("FAIL", "31;1") if outcome.failed else self.paint("ok  ", "32")
        if not outcome.failed and not outcome.passed and outcome.skips:
            mark = self.paint("skip", "33")
        print(f"  {mark}  {name:8} {counts(outcome):42} {duration(seconds):>12}", flush=True)
        if outcome.failed:
            lines = outcome.output.rstrip().splitlines()
            if len(lines) > SHOWN_LINES:
                lines = [f"[{len(lines) - SHOWN_LINES} lines before these are in build/logs/{name}.log]",
                         *lines[-SHOWN_LINES:]]
            print("\n" + "\n".join("        " + line for line in lines) + "\n", flush=True)


def print_longest(times):
    """times: seconds, stage and case."""
    if times:
        print("\n  What took longest:")
    for seconds, stage, case in sorted(times, reverse=True)[:LONGEST]:
        print(f"  {seconds:6.1f}  {stage:8} {case}")


def chosen_stages(options, parser):
    if not options.only:
        return [stage for stage in STAGES if stage[3] or options.all]
    names = options.only.split(",")
    unknown = set(names) - {stage[0] for stage in STAGES}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))} (see --list)")
    return [stage for stage in STAGES if stage[0] in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="STAGES", help="run these stages, separated by commas")
    parser.add_argument("--all", action="store_true", help="run the long suites too")
    parser.add_argument("--format", action="store_true", help="the checks look at the formatting too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how much runs at once")
    parser.add_argument("--list", action="store_true", help="list the stages")
    options = parser.parse_args()
    if options.list:
        for name, what, _, usual in STAGES:
            print(f"{name:8} {what}{'' if usual else ' (only with --all)'}")
        return 0

    build.enter_environment()
    LOGS.mkdir(parents=True, exist_ok=True)
    screen = Screen()
    total = Outcome()
    skipped = Counter()
    times = []
    start = time.monotonic()
    print()
    for name, what, stage, _ in chosen_stages(options, parser):
        stage = checks(True) if name == "checks" and options.format else stage
        screen.begin(name, what)
        began = time.monotonic()
        runner = Runner(name, start + (LONG_LIMIT_S if options.all else LIMIT_S), options.jobs, options.all)
        try:
            outcome = stage(runner)
        except Exception:  # a stage that breaks is a failed test, and the others still run
            outcome = failure(traceback.format_exc())
        screen.end(name, outcome, time.monotonic() - began)
        total.add(outcome)
        skipped.update((name, reason) for reason in outcome.skips)
        times += [(seconds, name, case) for seconds, case in outcome.times]
        if name == "build" and outcome.failed:
            break  # nothing below can say anything new

    if skipped:
        print("\n  Skipped, and why:")
        for (name, reason), count in sorted(skipped.items()):
            print(f"  {count:6}  {name:8} {reason}")
    print_longest(times)
    print(f"\n  {duration(time.monotonic() - start)}; logs are in build/logs\n")
    print(f"{total.passed} passed, {total.failed} failed, {len(total.skips)} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # an exception, so that nothing is left running
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped")
