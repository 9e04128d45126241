#!/usr/bin/env python3
"""Converts a tiny model of a type with moeq, loads the result with transformers, and says whether both are right.

    python tests/python/families/judge.py mixtral qwen3_moe --dialect compressed-tensors
    python tests/python/families/judge.py --all --library PATH/libmoeq.so --python-path PATH/bindings/python

One line for each type, form of the source, and way:

    type form dialect format: outcome

form: `hub` (what save_pretrained writes) or `memory` (save_original_format=False). Outcomes: `right`; `refused: ...`
(moeq said no before it wrote anything); `gpu: ...` (a note says that it wants a GPU: not tried, but what transformers
would keep for one is); `told: ...` (the result does not load, and a note said so before); `transformers: ...` (it does
not load its own dense file, so only the conversion is judged); anything else is a fault.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

WAYS = [("native", "int8"), ("native", "nf4"), ("compressed-tensors", "fp8_e4m3"), ("hf-fp8", "fp8_e4m3:block")]
FORMS = ("hub", "memory")
GOOD = ("right", "refused", "gpu", "told", "transformers")


def moeq_commands(log, *commands):
    """Runs `moeq ...` for each in a child, so that a crash of the library ends that only; stops at one that fails.

    The statuses and what was said: a status is a text when a signal ended the child.
    """
    from moeq.cli._app import run  # before the fork, once

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


def one_line(text, limit=300):
    return " ".join(str(text).split())[:limit]


def error_line(error):
    return one_line(f"{type(error).__name__}: {error}")


class Family:
    """A type's model, its files in both forms, and what transformers makes of those while they are dense."""

    def __init__(self, model_type, folder):
        from . import models

        self.type, self.folder = model_type, folder
        self.model = models.build(model_type)
        self.experts = models.experts_of(self.model)
        self.computed = models.compute(model_type, self.model)
        self.dense = {}

    def source(self, form):
        path = self.folder / form
        if not path.exists():
            with quiet():
                self.model.save_pretrained(path, save_original_format=form == "hub")
        return path

    def load(self, path):
        """The model that from_pretrained makes, and whatever it reported of keys."""
        import torch

        from . import models

        with quiet():
            model, info = models.class_of(self.type).from_pretrained(path, dtype=torch.bfloat16, output_loading_info=True)
        return model.eval(), {key: sorted(map(str, value))[:3] for key, value in info.items() if value}

    def dense_state(self, form):
        """Parameters as they are after a dense file was loaded; a text that says why there are none."""
        if form not in self.dense:
            try:
                model, _ = self.load(self.source(form))
                self.dense[form] = different(self.model, model) or None
            except Exception as error:  # noqa: BLE001: whatever stops transformers
                self.dense[form] = error_line(error)
        return self.dense[form]

    def with_vectors(self, vectors):
        from . import models

        model = copy.deepcopy(self.model)
        for expert in models.experts_of(model):
            expert.put(vectors[expert.name].bfloat16())
        return model


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def different(wanted, found):
    """Parameters and buffers of a model that have other values than another one's, in words; "" if none has."""
    import torch

    theirs = dict(found.named_parameters()) | dict(found.named_buffers())
    faults = []
    for name, value in (dict(wanted.named_parameters()) | dict(wanted.named_buffers())).items():
        got = theirs.get(name)
        if got is None or got.shape != value.shape:
            faults.append(f"{name} is {'missing' if got is None else tuple(got.shape)}")
        elif not torch.equal(got.float(), value.float()):
            faults.append(name)
    return f"{len(faults)} parameters differ, such as {faults[0]}" if faults else ""


def judge_loading(family, path, vectors):
    """"" if from_pretrained makes the model with the decoded weights of it."""
    import torch

    from . import models

    wanted = family.with_vectors(vectors)
    expected = models.compute(family.type, wanted)
    try:
        model, info = family.load(path)
        got = models.compute(family.type, model)
    except Exception as error:  # noqa: BLE001: whatever stops transformers
        return "raises " + error_line(error)
    reported = f", reports {json.dumps(info)}" if info else ""
    if not torch.isfinite(got).all():
        return f"wrong: logits are not finite{reported}"
    scale = (expected - family.computed).abs().max()
    off = (got - expected).abs().max()
    faults = different(wanted, model)
    if faults or off > 0:
        return f"wrong: logits off by {off:.2g} (quantization alone {scale:.2g}); {faults or 'parameters agree'}{reported}"
    return ""


@contextlib.contextmanager
def as_with_a_gpu():
    """transformers keeps FP8 as it would for a GPU, instead of decoding it for the CPU."""
    from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer as Quantizer

    own = Quantizer.validate_environment
    Quantizer.validate_environment = lambda *_, **__: None
    try:
        yield
    finally:
        Quantizer.validate_environment = own


def judge_kept(family, path, vectors):
    """"" if the codes and scales that from_pretrained keeps for a GPU are those of the decoded weights."""
    import torch

    from . import models
    from .decode import spread

    try:
        with as_with_a_gpu():
            model, info = family.load(path)
    except Exception as error:  # noqa: BLE001: whatever stops transformers
        return "raises " + error_line(error)
    if info:
        return f"reports {json.dumps(info)}"
    parameters = dict(model.named_parameters())
    for expert in models.experts_of(family.model):
        codes, scale = parameters[expert.name], parameters.get(expert.name + "_scale_inv")
        if scale is None or codes.shape != expert.value.shape:
            return f"{expert.name} is {codes.dtype} {tuple(codes.shape)}{' without scales' if scale is None else ''}"
        kept = models.Expert(expert.name, codes.float() * spread(scale, codes.shape, (128, 128)), expert.transposed)
        if not torch.equal(kept.vectors(), vectors[expert.name]):
            return f"{expert.name} has other values"
    return ""


def outcome_of_loading(family, target, vectors, notes):
    fault = judge_loading(family, target, vectors)
    if not fault:
        return "right"
    about = [note for note in notes if re.search(r"\bload|transformers", note)]
    if not about:
        return fault
    if any("GPU" in note for note in about):
        kept = judge_kept(family, target, vectors)
        return f"on a GPU too: {kept} [{fault}]" if kept else f"gpu: {one_line('; '.join(about))}"
    return f"told: {one_line('; '.join(about))} [{fault}]"


def judge(family, form, dialect, spec):
    """The outcome of one way, in words."""
    from . import decode, models
    from .match import match

    source = family.source(form)
    target = family.folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(family.folder / "target.partial", ignore_errors=True)
    done = moeq_commands(
        family.folder / "log",
        ["quantize", source, target, "-f", spec, "--dialect", dialect, "--no-sync", "--no-progress"],
        ["verify", target, "--against", source, "--no-progress"],
    )
    status, said = done[0]
    notes = [line.removeprefix("note: ") for line in said.splitlines() if line.startswith("note: ")]
    if status != 0:
        untouched = not target.exists() and not (family.folder / "target.partial").exists()
        why = next((line for line in said.splitlines()[::-1] if line.startswith("moeq:")), said[-300:])
        if isinstance(status, int) and untouched and why.startswith("moeq:"):
            why = why.removeprefix("moeq: ").replace(str(family.folder) + "/", "")
            return f"refused: {one_line(why)}"
        return f"fails: status {status}, {one_line(why)}"
    if family.type in models.EMBEDDED:
        return "wrong: converted, though its experts are rows of an embedding"
    found = match(family.experts, decode.DECODERS[dialect](*decode.read_files(target)))
    if found.faults:
        return f"wrong conversion: {len(found.faults)} faults, such as {'; '.join(found.faults[:3])}"
    status, said = done[1]
    if status != 0:
        return f"verify fails: status {status}, {one_line(said.replace(str(family.folder) + '/', '')[-300:])}"
    if dialect == "native":
        return "right"
    stopped = family.dense_state(form)
    if stopped:
        return f"transformers: {stopped}"
    return outcome_of_loading(family, target, found.vectors, notes)


def judge_type(model_type, forms=FORMS, ways=WAYS):
    """(form, dialect, spec, outcome) for each."""
    with tempfile.TemporaryDirectory(prefix="families-") as folder:
        try:
            with quiet():
                family = Family(model_type, Path(folder))
        except Exception as error:  # noqa: BLE001: a type whose tiny model this tree does not know how to make
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"no tiny model: {error_line(error)} ({where.filename.split('site-packages/')[-1]}:{where.lineno})"
            yield from ((form, dialect, spec, text) for form in forms for dialect, spec in ways)
            return
        for form in forms:
            for dialect, spec in ways:
                try:
                    yield form, dialect, spec, judge(family, form, dialect, spec)
                except Exception as error:  # noqa: BLE001: the judge's own mistake is an outcome as well
                    yield form, dialect, spec, "judge failed: " + traceback.format_exc(limit=-3).replace("\n", " | ")


def silence():
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity(50)
    transformers.logging.disable_progress_bar()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", help="model types")
    parser.add_argument("--all", action="store_true", help="all types with experts")
    parser.add_argument("--list", action="store_true", help="print the types only")
    parser.add_argument("--dialect", action="append", choices=sorted({way[0] for way in WAYS}))
    parser.add_argument("--form", action="append", choices=FORMS)
    parser.add_argument("--library", type=Path, default=ROOT / "build" / "release" / "libmoeq.so")
    parser.add_argument("--python-path", type=Path, default=ROOT / "bindings" / "python")
    options = parser.parse_args()
    os.environ["MOEQ_LIBRARY"] = str(options.library)
    sys.path[0] = str(HERE.parent)
    sys.path.insert(0, str(options.python_path))
    globals()["__package__"] = "families"
    import families.judge as own  # this file, as the package knows it

    own.silence()
    from families import catalog

    types = sorted(catalog.families()) if options.all or options.list else options.types
    if options.list:
        print("\n".join(types))
        return 0
    if not types:
        parser.error("which types? (--all, --list)")
    ways = [way for way in WAYS if not options.dialect or way[0] in options.dialect]
    bad = 0
    for model_type in types:
        for form, dialect, spec, outcome in own.judge_type(model_type, options.form or FORMS, ways):
            print(f"{model_type} {form} {dialect} {spec}: {outcome}", flush=True)
            bad += outcome.partition(":")[0] not in GOOD
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
