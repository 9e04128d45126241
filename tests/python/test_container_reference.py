"""The container against its reference implementation, the package safetensors: what moeq takes, the reference takes too
and reads the same; where moeq alone refuses, it is for one of the rules that it has on purpose."""

import json
import pathlib
import random
import struct

import numpy as np
import pytest

import moeq

safetensors = pytest.importorskip("safetensors")

CORPUS = pathlib.Path(__file__).resolve().parents[1] / "fuzz" / "corpus" / "header"
WORDS = {
    "F4": "fp4_e2m1", "F6_E2M3": "fp6_e2m3", "F6_E3M2": "fp6_e3m2", "BOOL": "bool", "U8": "uint8", "I8": "int8",
    "F8_E5M2": "fp8_e5m2", "F8_E4M3": "fp8_e4m3fn", "F8_E8M0": "fp8_e8m0", "F8_E4M3FNUZ": "fp8_e4m3fnuz",
    "F8_E5M2FNUZ": "fp8_e5m2fnuz", "I16": "int16", "U16": "uint16", "F16": "fp16", "BF16": "bf16", "I32": "int32",
    "U32": "uint32", "F32": "fp32", "C64": "complex64", "F64": "fp64", "I64": "int64", "U64": "uint64",
}  # fmt: skip
# Why moeq refuses what the reference takes: zero extents that hide an overflow (F04), names twice (F11), JSON that only
# this reference's parser takes, unknown fields, metadata of null, names with NUL, numbers as 2^63 (F12), long names
# (F13), more than 8 dimensions (F14), quantized weights whose parts do not fit each other (F15) or are missing (F28),
# metadata of a moeq to come (version).
STRICTER = {"F04", "F11", "F12", "F13", "F14", "F15", "F28", "version"}


def container(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def distinct(count):
    """Bytes of which no two places look alike."""
    return bytes(random.Random(5).randbytes(count))


def by_reference(data):
    """{name: (dtype, shape, bytes)}, or None where it refuses."""
    try:
        found = safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return None
    return {name: (WORDS[entry["dtype"]], tuple(entry["shape"]), bytes(entry["data"])) for name, entry in found}


def by_moeq(path):
    """The same, and the class of the refusal."""
    try:
        with moeq.open(path) as file:
            found = {}
            for tensor in file.tensors:
                data = np.empty(tensor.bytes, np.uint8)
                file.read(tensor, out=data)
                found[tensor.name] = (tensor.dtype, tensor.shape, data.tobytes())
            assert len(found) == len(file.tensors)
            return found, ""
    except (moeq.FormatError, moeq.TruncatedError, moeq.UnsupportedError, moeq.LimitError) as error:
        return None, error.class_id
    except moeq.VersionError:
        return None, "version"


class Judge:
    """Compares, and counts what became of the files."""

    def __init__(self, folder):
        self.path = folder / "m.safetensors"
        self.both = self.neither = 0
        self.stricter = {}

    def compare(self, data, what):
        self.path.write_bytes(data)
        theirs = by_reference(data)
        ours, class_id = by_moeq(self.path)
        if ours is not None:
            assert theirs is not None, f"{what}: moeq takes what the reference refuses"
            assert ours == theirs, what
            self.both += 1
        elif theirs is None:
            self.neither += 1
        else:
            assert class_id in STRICTER, f"{what}: refused with {class_id}"
            self.stricter[class_id] = self.stricter.get(class_id, 0) + 1


@pytest.fixture
def judge(tmp_path):
    return Judge(tmp_path)


def seeds():
    """Headers with data of their own, by name."""
    found = {}
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
        if 0 < length <= len(data) - 8:
            found[path.name] = (data[8 : 8 + length], distinct(len(data) - 8 - length))
    return found


def test_the_corpus(judge):
    for path in sorted(CORPUS.iterdir()):
        judge.compare(path.read_bytes(), path.name)
    assert judge.both >= 10 and judge.neither >= 15
    assert set(judge.stricter) >= {"F04", "F11", "F12", "F13", "F14"}


def test_every_type(judge):
    header, at = {}, 0
    for name in WORDS:
        bits = 64 if "64" in name else 32 if "32" in name else 16 if "16" in name else 6 if "F6" in name else 8
        size = 4 if name == "F4" else bits
        header[name] = {"dtype": name, "shape": [2, 4], "data_offsets": [at, at + size]}
        at += size
    judge.compare(container(header, distinct(at)), "types")
    assert judge.both == 1


def test_what_the_reference_writes(judge):
    arrays = {
        "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "b": np.float64(3),
        'ü.\n"€𝄞': np.zeros((0, 3), np.int8),
        "c": np.arange(5, dtype=np.uint16),
    }
    from safetensors.numpy import save

    judge.compare(save({name: np.asarray(array) for name, array in arrays.items()}, {"é": "\t"}), "saved")
    assert judge.both == 1


PIECES = [
    *(bytes([byte]) for byte in b'{}[]":,\\\0\n -014'),
    b"\\u0061", b"\\u0000",
    b"\\ud800", b"\\ud83d\\ude00", b"\xc3\xa9", b"\xed\xa0\x80", b"null", b"true", b"16", b"1.0", b"1e1",
    b"4294967296", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b'"x":null,', b'"x":1,', b'"dtype":"U8",', b'"shape":[4],', b'"F4"', b'"U8"', b'"I8"', b'"t"', b'"\\u0074"',
    b'"__metadata__":{},', b'"__metadata__":null,', b'"e":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},',
]  # fmt: skip


def mutated(header, data, draw):
    """Some bytes changed, put in or taken away; the length in front is mostly right, and so is the size of the data."""
    text = bytearray(header)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(text) + 1)
        kind = draw.randrange(5)
        if kind == 0 and at < len(text):
            text[at] = draw.randrange(256)
        elif kind == 1:
            text[at:at] = draw.choice(PIECES)
        elif kind == 2:
            del text[at : at + draw.choice((1, 1, 2, 5, 20))]
        elif kind == 3:
            digits = [i for i, byte in enumerate(text) if 48 <= byte <= 57]
            if digits:
                text[draw.choice(digits)] = draw.randrange(48, 58)
        else:
            source = draw.randrange(len(text) + 1)
            text[at:at] = text[source : source + draw.randrange(1, 40)]
    data = draw.choice((data, data, data, data[:-1], data + b"x", b""))
    length = len(text) + draw.choice((0,) * 20 + (1, -1, 256))
    return struct.pack("<Q", max(length, 0)) + bytes(text) + data


def test_mutations(judge):
    """Whatever becomes of a header, both say the same of it."""
    draw = random.Random(11)
    good = [seed for name, seed in seeds().items() if not name.startswith("F")]
    bad = [seed for name, seed in seeds().items() if name.startswith("F")]
    for number in range(5000):
        header, data = draw.choice(bad if number % 4 == 0 else good)
        judge.compare(mutated(header, data, draw), f"mutation {number}")
    assert judge.both > 150 and judge.neither > 1000 and sum(judge.stricter.values()) > 20


def test_numbers_in_all_places(judge):
    """Every number of a header as other numbers, which is where sizes are decided."""
    numbers = [0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 32, 33]
    numbers += [1 << 31, 1 << 32, (1 << 32) + 4, 1 << 61, 1 << 62, (1 << 63) - 1]
    for first in numbers:
        for second in numbers:
            for end in (0, 4, 8, 16):
                entry = {"dtype": "F32", "shape": [first, second], "data_offsets": [0, end]}
                judge.compare(container({"t": entry}, distinct(end)), f"[{first}, {second}] to {end}")
    assert judge.both > 20
