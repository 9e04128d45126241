"""Decodes what is stored in files, with NumPy alone: no line of moeq is asked.

The formulas are those of docs/formats.md; nf4's and fp4's tables are bitsandbytes'.
"""

import json

import numpy as np
from checkpoints import BF16, NAMES, ml_dtypes

NF4 = np.array(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32
)  # fmt: skip
FP4 = np.array([0.0, 0.0052083333, 0.6666667, 1.0, 0.3333333, 0.5, 0.1666667, 0.25], np.float32)
FP4 = np.concatenate([FP4, -FP4])
DTYPES = {spelled: name for name, spelled in NAMES.items()}
FP8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))


def read_files(folder):
    """Every tensor of a checkpoint's files, by name."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]:
        raw = file.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + size]).items():
            if name != "__metadata__":
                dtype = np.dtype(getattr(ml_dtypes, DTYPES[entry["dtype"]], DTYPES[entry["dtype"]]))
                begin, end = (8 + size + at for at in entry["data_offsets"])
                found[name] = np.frombuffer(raw[begin:end], dtype).reshape(entry["shape"])
    return found


def decoded(tensors, name, shape):
    """A weight in fp32, whatever its format and dialect; shape: of the dense weight."""
    codes, rest = tensors[name], companions(tensors, name)
    if codes.dtype in (np.float32, np.float16, BF16):
        return codes.astype(np.float32).reshape(shape)
    if codes.dtype == np.uint8:
        return four_bits(codes, rest, shape)
    if codes.dtype == np.int8:
        factor = rest["factor"] if "factor" in rest else rest["absmax"] / np.float32(127)
    else:
        assert codes.dtype in FP8
        factor = rest["factor"]
    return codes.astype(np.float32).reshape(shape) * spread(factor.astype(np.float32), shape)


def companions(tensors, name):
    """Statistics by what they are; the last entry of a pair is how a dialect spells it."""
    stem = name.removesuffix("weight")
    spellings = {
        "factor": (name + ".moeq.scale", name + "_scale", name + "_scale_inv"),
        "absmax": (name + ".moeq.absmax", name + ".absmax", stem + "SCB"),
        "map": (name + ".moeq.nested_map", name + ".nested_quant_map"),
        "nested": (name + ".moeq.nested_absmax", name + ".nested_absmax"),
        "offset": (name + ".moeq.nested_offset",),
        "state": (name + ".quant_state.bitsandbytes__nf4", name + ".quant_state.bitsandbytes__fp4"),
        "table": (name + ".quant_map",),
    }
    return {what: tensors[one] for what, names in spellings.items() for one in names if one in tensors}


def spread(factor, shape):
    """Factors per row, per expert or per tile, to one for each element."""
    *lead, rows, columns = shape
    if factor.ndim == len(shape) and factor.shape[-1] > 1 or factor.shape == (*lead, -(-rows // 128), 1):
        tiles = np.repeat(np.repeat(factor, 128, -2), 128, -1)
        return tiles[..., :rows, :columns]
    if factor.size == int(np.prod(lead)):
        return factor.reshape(*lead, 1, 1)
    return factor.reshape(*lead, rows, 1)


def four_bits(codes, rest, shape, block=64):
    packed = codes.reshape(-1)
    values = np.stack([packed >> 4, packed & 15], -1).reshape(-1)[: int(np.prod(shape))]
    table = rest["table"] if "table" in rest else NF4
    absmax = rest["absmax"].reshape(-1)
    if "nested" in rest:
        state = json.loads(rest["state"].tobytes()) if "state" in rest else {}
        offset = np.float32(state["nested_offset"]) if state else rest["offset"].reshape(())
        nested = np.repeat(rest["nested"].reshape(-1), 256)[: absmax.size]
        absmax = rest["map"].reshape(-1)[absmax] * nested + offset
    return (table[values] * np.repeat(absmax, block)[: values.size]).astype(np.float32).reshape(shape)
