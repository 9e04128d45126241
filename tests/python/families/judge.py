#!/usr/bin/env python3
"""Converts a tiny model of a type with moeq, loads the result with transformers, and says whether both are right.

    python tests/python/families/judge.py mixtral qwen3_moe --dialect compressed-tensors
    python tests/python/families/judge.py --all --library PATH/libmoeq.so --python-path PATH/bindings/python

One line for each type, form of the source, and way:

    type form dialect format: outcome

form: `hub` (what save_pretrained writes) or `memory` (save_original_format=False). Outcomes: `right`; `refused: ...`
(moeq said no before it wrote anything); `gpu: ...` (a note says that it wants a GPU: not tried, but what transformers
would keep for one is); `cpu: ...` (for a GPU transformers stops); `told: ...` (the result does not load, and a note
said so before); `transformers: ...` (it does
not load its own dense file, so only the conversion is judged); anything else is a fault.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path

if __package__:
    from .table import FORMS, GOOD
else:
    from table import FORMS, GOOD

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

WAYS = [("native", "int8"), ("native", "nf4"), ("compressed-tensors", "fp8_e4m3"), ("hf-fp8", "fp8_e4m3:block")]


def moeq_commands(log, *commands):
    """Runs `moeq ...` for each in a child, so that a crash of the library ends that only; stops at one that fails.

    The statuses and what was said: a status is a text when a signal ended the child.
    """
    from moeq.cli.show import screen
    from moeq.cli.app import run  # before the fork, once

    screen.UNATTENDED_WIDTH = 10_000  # no note is folded
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            for command in commands:
                out = io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    status = int(run([str(part) for part in command]))
                with log.open("a") as file:
                    file.write(json.dumps([status, out.getvalue()]) + "\n")
                if status != 0:
                    break
        finally:
            os._exit(0)  # nothing may leave the child
    _, how = os.waitpid(child, 0)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if os.WIFSIGNALED(how):
        done.append([f"signal {os.WTERMSIG(how)} ({signal.Signals(os.WTERMSIG(how)).name})", ""])
    return done


def convert(family, form, dialect, spec):
    """A folder that `moeq quantize` made, its notes, and what `moeq verify` has against it; or an outcome in words."""
    from .loading import one_line

    source, target = family.source(form), family.folder / "target"
    partial = family.folder / "target.partial"
    for left in (target, partial):
        shutil.rmtree(left, ignore_errors=True)
    done = moeq_commands(
        family.folder / "log",
        ["quantize", source, target, "-f", spec, "--dialect", dialect, "--no-sync", "--no-progress"],
        ["verify", target, "--against", source, "--no-progress"],
    )
    status, said = done[0]
    said = said.replace(str(family.folder) + "/", "")
    if status != 0:
        why = next((line for line in said.splitlines()[::-1] if line.startswith("moeq: ")), "")
        if isinstance(status, int) and why and not target.exists() and not partial.exists():
            return f"refused: {one_line(why.removeprefix('moeq: '))}"
        return f"fails: status {status}, {one_line(why or said[-300:])}"
    notes = [line.removeprefix("note: ") for line in said.splitlines() if line.startswith("note: ")]
    status, said = done[1]
    said = one_line(said.replace(str(family.folder) + "/", "")[-300:])
    return target, notes, f"verify fails: status {status}, {said}" if status != 0 else ""


def match_files(family, dialect, target):
    from . import decode
    from .match import match
    from .order import order_faults

    decoded = decode.DECODERS[dialect](*decode.read_files(target))
    found = match(family.experts, decoded)
    if dialect == "native" and not found.faults:
        found.faults += order_faults(family.experts, decoded, found)
    return found


def judge_files(family, form, dialect, target, notes):
    """The outcome, in words, of files that moeq wrote."""
    from . import loading, models

    if family.type in models.EMBEDDED:
        return "wrong: converted, though its experts are rows of an embedding"
    found = match_files(family, dialect, target)
    if found.faults:
        return f"wrong conversion: {len(found.faults)} faults, such as {'; '.join(found.faults[:3])}"
    if dialect == "native":
        return loading.outcome_without_moeq(family, form, target)
    stopped = family.dense_state(form)
    if stopped:
        return f"transformers: {stopped}"
    return loading.outcome_of_loading(family, target, found.vectors, notes)


def judge(family, form, dialect, spec):
    """The outcome of one way, in words."""
    made = convert(family, form, dialect, spec)
    if isinstance(made, str):
        return made
    target, notes, unverified = made
    outcome = judge_files(family, form, dialect, target, notes)
    return unverified if unverified and outcome.partition(":")[0] in GOOD else outcome


def judge_type(model_type, forms=FORMS, ways=WAYS):
    """(form, dialect, spec, outcome) for each."""
    from .loading import Family, error_line, quiet

    with tempfile.TemporaryDirectory(prefix="families-") as folder:
        try:
            with quiet():
                family = Family(model_type, Path(folder))
        except Exception as error:  # a type whose tiny model this tree does not know how to make
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"no tiny model: {error_line(error)} ({where.filename.split('site-packages/')[-1]}:{where.lineno})"
            yield from ((form, dialect, spec, text) for form in forms for dialect, spec in ways)
            return
        for form in forms:
            for dialect, spec in ways:
                try:
                    yield form, dialect, spec, judge(family, form, dialect, spec)
                except Exception:  # the judge's own mistake is an outcome as well
                    yield form, dialect, spec, "judge failed: " + traceback.format_exc(limit=-3).replace("\n", " | ")


def silence():
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity(50)
    transformers.logging.disable_progress_bar()


def run(types, *options, jobs=1):
    """Judges types in processes of their own: {type: {form: {way: outcome}}}. Lines are printed as they come."""
    found, readers, complaints = {}, [], []

    def read(process):
        for line in process.stdout:
            name, form, way, outcome = re.fullmatch(r"(\S+) (\S+) (\S+ \S+): (.*)\n", line).groups()
            found.setdefault(name, {}).setdefault(form, {})[way] = outcome
            print(line, end="", flush=True)
        process.wait()

    for share in [types[begin::jobs] for begin in range(jobs) if types[begin::jobs]]:
        complaints.append(tempfile.TemporaryFile("w+"))
        command = [sys.executable, __file__, *share, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints[-1], text=True)
        readers.append(threading.Thread(target=read, args=(process,)))
        readers[-1].start()
    for reader in readers:
        reader.join()
    missing = [name for name in types if name not in found]
    if missing:
        texts = [(file.seek(0), file.read()[-3000:])[1] for file in complaints]
        raise RuntimeError(f"nothing was said of {missing}: {texts}")
    return found


def update(found):
    """Writes what was found into expected.json, without the types that transformers has no more."""
    from . import catalog, table

    known = {name: forms for name, forms in table.read().items() if name in catalog.families()}
    for name, forms in found.items():
        known[name] = {form: {way: table.reason(text) for way, text in ways.items()} for form, ways in forms.items()}
    table.write(known)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", help="model types")
    parser.add_argument("--all", action="store_true", help="all types with experts")
    parser.add_argument("--list", action="store_true", help="print the types only")
    parser.add_argument("--dialect", action="append", choices=sorted({way[0] for way in WAYS}))
    parser.add_argument("--form", action="append", choices=FORMS)
    parser.add_argument("--jobs", type=int, default=0, help="in so many processes")
    parser.add_argument("--update", action="store_true", help="expected.json takes over what is found")
    parser.add_argument("--library", type=Path, default=ROOT / "build" / "release" / "libmoeq.so")
    parser.add_argument("--python-path", type=Path, default=ROOT / "bindings" / "python")
    options = parser.parse_args()
    if not (options.types or options.all or options.list):
        parser.error("which types? (--all, --list)")
    if options.update and (options.dialect or options.form):
        parser.error("--update wants all ways of a type")
    return options


def main():
    options = arguments()
    os.environ["MOEQ_LIBRARY"] = str(options.library)
    sys.path[0] = str(HERE.parent)
    sys.path.insert(0, str(options.python_path))
    import moeq.cli.app  # noqa: F401  # what is missing shows at once

    import families.judge as own  # this file, as the package knows it
    from families import catalog

    types = sorted(catalog.families()) if options.all or options.list else options.types
    if options.list:
        print("\n".join(types))
        return 0
    if options.jobs or options.update:
        passed = [f"--{name}={value}" for name in ("dialect", "form") for value in getattr(options, name) or ()]
        passed += [f"--library={options.library}", f"--python-path={options.python_path}"]
        found = own.run(types, *passed, jobs=max(1, options.jobs))
        if options.update:
            own.update(found)
        outcomes = [text for forms in found.values() for ways in forms.values() for text in ways.values()]
    else:
        own.silence()
        ways = [way for way in WAYS if not options.dialect or way[0] in options.dialect]
        outcomes = []
        for model_type in types:
            for form, dialect, spec, outcome in own.judge_type(model_type, options.form or FORMS, ways):
                print(f"{model_type} {form} {dialect} {spec}: {outcome}", flush=True)
                outcomes.append(outcome)
    return 1 if any(text.partition(":")[0] not in GOOD for text in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
