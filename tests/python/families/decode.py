"""Weights as the files of a converted checkpoint say, by the rules of each dialect and format: without moeq.

A quantized weight comes back as `Decoded`: its values in fp32 as they lie, and the step that each value was rounded by.
"""

import json
from dataclasses import dataclass

import torch
from safetensors import safe_open

FP8_MAX = 448.0


@dataclass
class Decoded:
    values: torch.Tensor
    scale: torch.Tensor  # of each element: what a code of 1 is worth
    kind: str  # int8, nf4 or fp8
    layout: str = ""  # native: what moeq says of the output axis


def read_files(folder):
    """All tensors, and the metadata of all headers."""
    tensors, metadata = {}, {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata |= file.metadata() or {}
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # no mapping
    return tensors, metadata


def spread(scale, shape, tile):
    """A scale per tile as one per element."""
    for axis, (extent, step) in enumerate(zip(shape[-2:], tile, strict=True), -2):
        scale = scale.repeat_interleave(step, axis).narrow(axis, 0, extent)
    return scale


def fp8(codes, scale):
    return Decoded(codes.float() * scale, scale.expand(codes.shape), "fp8")


def native_int8(codes, absmax, axis):
    statistic = absmax.unsqueeze(-1 if axis == -1 else -2).expand(codes.shape)
    one = torch.tensor(1 / 127, dtype=torch.float32)
    return Decoded(codes.float() * statistic * one, statistic * one, "int8")


def native_nf4(codes, absmax, shape, block):
    from bitsandbytes.functional import get_4bit_type

    table = get_4bit_type("nf4", device="cpu").float()
    pairs = torch.stack([codes >> 4, codes & 15], -1).reshape(shape[0], -1).long()
    statistic = absmax.repeat_interleave(block, -1)[:, : shape[1] * shape[2]]
    return Decoded((table[pairs] * statistic).reshape(shape), statistic.reshape(shape), "nf4")


def decode_native(tensors, metadata):
    found = {}
    for key, text in metadata.items():
        if not key.startswith("moeq.weight."):
            continue
        name = key.removeprefix("moeq.weight.")
        said = json.loads(text)
        spec, shape = said["spec"], [int(extent) for extent in said["shape"]]
        kind, _, options = spec.partition(":")
        options = dict(part.partition("=")[::2] for part in options.split(",") if part)
        axis = int(options.get("axis", -1))
        if kind == "int8":
            one = native_int8(tensors[name].reshape(shape), tensors[name + ".moeq.absmax"], axis)
        elif kind == "nf4":
            one = native_nf4(tensors[name], tensors[name + ".moeq.absmax"], shape, 64)
        else:
            raise LookupError(f"no decoder for {spec}")
        one.layout = options.get("layout", "plain")
        found[name] = one
    return found


def decode_compressed_tensors(tensors, _):
    found = {}
    for name, scale in tensors.items():
        if name.endswith(".weight_scale"):
            weight = name.removesuffix("_scale")
            if weight in tensors:
                found[weight] = fp8(tensors[weight], scale.float())
    return found


def decode_hf_fp8(tensors, _):
    found = {}
    for name, scale in tensors.items():
        if name.endswith("_scale_inv"):
            weight = tensors[name.removesuffix("_scale_inv")]
            found[name.removesuffix("_scale_inv")] = fp8(weight, spread(scale.float(), weight.shape, (128, 128)))
    return found


DECODERS = {"native": decode_native, "compressed-tensors": decode_compressed_tensors, "hf-fp8": decode_hf_fp8}


def bound(exact, one):
    """How far a value may be from its original, by docs/formats.md; a little more for roundings."""
    step = one.scale.abs()
    if one.kind == "int8":
        return step * 0.501 + 1e-30
    if one.kind == "nf4":
        return step * 0.15192 + 1e-30
    return torch.maximum(exact.abs() / 17, step * 2.0**-10) * 1.0001 + 1e-30
