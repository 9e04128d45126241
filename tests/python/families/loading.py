"""A type's model in files and out of them: what from_pretrained makes of what moeq wrote, beside what it should be."""

import contextlib
import copy
import io
import json
import re
import shutil
import warnings

import torch

from . import models
from .decode import spread


def one_line(text, limit=800):
    return " ".join(str(text).split())[:limit]


def error_line(error):
    return one_line(f"{type(error).__name__}: {error}")


class Family:
    """A type's model, its files in both forms, and what transformers makes of those while they are dense."""

    def __init__(self, model_type, folder):
        self.type, self.folder = model_type, folder
        self.model = models.build(model_type)
        self.experts = models.experts_of(self.model)
        self.computed = models.compute(model_type, self.model)
        self.dense = {}

    def source(self, form):
        path = self.folder / form
        if not path.exists():
            with quiet():
                # Small files, so that the experts of a layer lie in several.
                self.model.save_pretrained(path, save_original_format=form == "hub", max_shard_size="300KB")
        return path

    def load(self, path):
        """The model that from_pretrained makes, and whatever it reported of keys."""
        with quiet():
            model, info = models.class_of(self.type).from_pretrained(
                path, dtype=torch.bfloat16, output_loading_info=True
            )
        return model.eval(), {key: sorted(map(str, value))[:3] for key, value in info.items() if value}

    def dense_state(self, form):
        """Parameters as they are after a dense file was loaded; a text that says why there are none."""
        if form not in self.dense:
            try:
                model, _ = self.load(self.source(form))
                self.dense[form] = different(self.model, model) or None
            except Exception as error:  # whatever stops transformers
                self.dense[form] = error_line(error)
        return self.dense[form]

    def with_vectors(self, vectors):
        model = copy.deepcopy(self.model)
        for expert in models.experts_of(model):
            expert.put(vectors[expert.name].bfloat16())
        return model


@contextlib.contextmanager
def quiet():
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_moeq():
    """transformers as it is where nobody imported moeq.transformers."""
    from transformers.quantizers import auto

    registries = [auto.AUTO_QUANTIZATION_CONFIG_MAPPING, auto.AUTO_QUANTIZER_MAPPING]
    entries = [registry.pop("moeq", None) for registry in registries]
    try:
        yield
    finally:
        for registry, entry in zip(registries, entries, strict=True):
            if entry is not None:
                registry["moeq"] = entry


def outcome_without_moeq(family, form, path):
    """Of native files: a transformers that does not know moeq has to refuse them, or codes would be its weights."""
    try:
        with without_moeq():
            _, info = family.load(path)
    except (RuntimeError, ValueError):  # shapes that do not fit; no quant_method
        return "right"
    if (family.type, form) in models.UNGUARDED and info.get("missing_keys"):
        return "right"
    return f"wrong: transformers without moeq loads codes as weights; {info}"


def different(wanted, found, slack=0.0):
    """Parameters and buffers of a model that have other values than another one's, in words; "" if none has.

    slack: how far weights of experts may be off, as a part of themselves.
    """
    state = dict(found.named_parameters()) | dict(found.named_buffers())
    experts = {expert.name: expert for expert in models.experts_of(wanted)}
    faults = []
    for name, value in (dict(wanted.named_parameters()) | dict(wanted.named_buffers())).items():
        allowed = 0.0
        if name in experts:
            value, got, allowed = experts[name].vectors(), models.vectors_in(found, experts[name]), slack
        else:
            got = state.get(name)
        if got is None or got.shape != value.shape:
            faults.append(f"{name} is {'missing' if got is None else tuple(got.shape)}")
            continue
        got, value = got.float(), value.float()
        if not ((got == value) | ((got - value).abs() <= value.abs() * allowed)).all():
            faults.append(name)
    return f"{len(faults)} parameters differ, such as {faults[0]}" if faults else ""


def judge_loading(family, path, vectors):
    """ "" if from_pretrained makes the model with the decoded weights of it."""
    wanted = family.with_vectors(vectors)
    expected = models.compute(family.type, wanted)
    try:
        model, info = family.load(path)
        got = models.compute(family.type, model)
    except Exception as error:  # whatever stops transformers
        return "raises " + error_line(error)
    reported = f", reports {json.dumps(info)}" if info else ""
    if not torch.isfinite(got).all():
        return f"wrong: logits are not finite{reported}"
    # compressed-tensors keeps the scales of its linears in bf16, and decodes with those: within a step of bf16 of what
    # the files say. What is computed of that has to be what a dense model computes of the same values.
    in_bf16 = any(hasattr(module, "quantization_scheme") for module in model.modules())
    scale = (expected - family.computed).abs().max()
    faults = different(wanted, model, 2**-7 if in_bf16 else 0.0)
    if in_bf16 and not faults:
        kept = {expert.name: models.vectors_in(model, expert) for expert in family.experts}
        expected = models.compute(family.type, family.with_vectors(kept))
    off = (got - expected).abs().max()
    if faults or off > 0:
        return (
            f"wrong: logits off by {off:.2g} (quantization alone {scale:.2g}); {faults or 'parameters agree'}{reported}"
        )
    return f"wrong: {reported[2:]}" if info else ""


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


def is_fp8(target):
    return json.loads((target / "config.json").read_text())["quantization_config"]["quant_method"] == "fp8"


def judge_kept(family, path, vectors):
    """ "" if the codes and scales that from_pretrained keeps for a GPU are those of the decoded weights."""
    try:
        with as_with_a_gpu():
            model, info = family.load(path)
    except Exception as error:  # whatever stops transformers
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


def loads_nothing_quantized(family, target):
    """Whether transformers stops at this quantization_config even where no weight is quantized: in files under the
    hub's names, as moeq makes them of those in memory's form too."""
    control = family.folder / "control"
    shutil.rmtree(control, ignore_errors=True)
    shutil.copytree(family.source("hub"), control)
    own = json.loads((control / "config.json").read_text())
    said = json.loads((target / "config.json").read_text())["quantization_config"]
    for group in said.get("config_groups", {}).values():
        group["targets"] = ["re:no module has this name"]
    (control / "config.json").write_text(json.dumps(own | {"quantization_config": said}))
    try:
        family.load(control)
    except Exception:  # whatever stops transformers
        return True
    return False


def outcome_of_loading(family, target, vectors, notes):
    fault = judge_loading(family, target, vectors)
    about = [note for note in notes if re.search(r"\bload|transformers", note)]
    of_gpu = any("GPU" in note for note in about)
    if not fault:
        kept = judge_kept(family, target, vectors) if is_fp8(target) else ""
        if kept and not of_gpu:
            return f"cpu: for a GPU it {kept}" if kept.startswith("raises") else f"wrong on a GPU: {kept}"
        return f"told: {one_line('; '.join(about))} (found: {kept})" if kept else "right"
    if fault.startswith("raises") and loads_nothing_quantized(family, target):
        return f"transformers: it loads nothing of this type that has such a quantization_config: {fault}"
    if not about:
        return fault
    if of_gpu:
        kept = judge_kept(family, target, vectors)
        return f"on a GPU too: {kept} (found: {fault})" if kept else f"gpu: {one_line('; '.join(about))}"
    return f"told: {one_line('; '.join(about))} (found: {fault})"
