"""The tables of docs/formats.md, asked of the library line by line."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from conftest import ROOT

import moeq

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
SHAPES = [
    (3, 70, 129),
    (70, 129),
    (2, 3, 6, 100),
    (1, 1, 1),
    (4, 256, 384),
    (2, 2, 64),
    (0, 4, 64),
    (2, 0, 64),
    (2, 4, 0),
]
SLICED = (4, 256, 256)
SLICES = {"experts": (0, 1, 3), "rows": (1, 128, 256), "columns": (2, 128, 256)}


def table(name):
    """The cells of the table between two marks, row by row, without the head."""
    text = PAGE.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    return rows[0], rows[2:]


def text_of(cell):
    return cell.strip("`")


def expected(cell, lead, values):
    """("fp32", shape) of "fp32 [E, ceil(R/2)]". A leading E (or b-a) stands for the weight's leading axes."""
    dtype, shape = re.fullmatch(r"(\w+) \[(.*)\]", cell).groups()
    names = {name: Fraction(value) for name, value in values.items()}
    extents = []
    for position, part in enumerate(re.split(r", ", shape) if shape else []):
        if position == 0 and part == "E":
            extents += lead
        else:
            value = eval(part, {"__builtins__": {}, "ceil": math.ceil}, names)  # noqa: S307
            assert value == int(value), part
            extents.append(int(value))
    return dtype, tuple(extents)


HEAD, COMPONENTS = table("components")
SLICE_HEAD, SLICE_ROWS = table("slices")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: text_of(row[0]))
def test_components(row, shape):
    text, cells = text_of(row[0]), dict(zip(HEAD[1:], row[1:]))
    if "layout" in text and shape[-1 if "axis=-2" in text else -2] % 2:
        with pytest.raises(moeq.ShapeError, match="even"):
            moeq.Spec(text).resolve(shape)
        return
    lead, (rows, columns) = list(shape[:-2]), shape[-2:]
    values = {"E": math.prod(lead), "R": rows, "C": columns}
    wanted = {name: expected(cell, lead, values) for name, cell in cells.items() if cell}
    if "nested" in text:
        wanted |= {"nested_map": ("fp32", (256,)), "nested_offset": ("fp32", ())}
    stored = set(wanted)
    if text.startswith(("nf4", "fp4")):
        wanted["code_map"] = ("fp32", (16,))

    spec = moeq.Spec(text)
    weight = moeq.quantize(np.ones(shape, np.float32), spec)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in weight.components.items()} == wanted
    infos = {name: spec.component(name, shape) for name in wanted}
    assert {name: (info.dtype, info.shape) for name, info in infos.items()} == wanted
    assert weight.nbytes == spec.nbytes(shape) == sum(infos[name].nbytes for name in stored)


def test_every_format_is_in_the_table():
    formats = {text_of(row[0]).split(":")[0] for row in COMPONENTS}
    with pytest.raises(moeq.ArgumentError) as refusal:
        moeq.Spec("no such format")
    known = re.search(r"want a format first: (.*?);", str(refusal.value)).group(1).split(", ")
    assert formats == set(known)


@pytest.mark.parametrize("row", SLICE_ROWS, ids=lambda row: f"{text_of(row[0])} {row[1]}")
def test_slices(row):
    text, of, becomes = text_of(row[0]), row[1].split(",")[0], text_of(row[2])
    axis, begin, end = SLICES[of]
    weight = moeq.quantize(np.ones(SLICED, np.float32), text)
    part = weight.slice(axis, begin, end)
    values = {"a": begin, "b": end, "E": SLICED[0], "R": SLICED[1], "C": SLICED[2]}
    wanted = {name: expected(cell, [SLICED[0]], values) for name, cell in zip(SLICE_HEAD[3:], row[3:]) if cell}
    assert part.spec.with_(logical_dtype=None) == moeq.Spec(becomes)
    found = {name: (part.component(name).dtype, part.component(name).shape) for name in wanted}
    assert found == wanted
    assert part.copy().component("codes").shape == wanted["codes"][1]


def quantized(text, shape=SLICED):
    return moeq.quantize(np.ones(shape, np.float32), text)


@pytest.mark.parametrize(
    ("text", "shape", "axis", "begin", "end", "error"),
    [
        ("nf4", (2, 4, 96), 1, 0, 1, moeq.ArgumentError),  # 96 is not a multiple of 64
        ("nf4", SLICED, 2, 0, 32, moeq.ArgumentError),
        ("nf4", (2, 4, 96), 2, 0, 64, moeq.ArgumentError),
        ("nf4:blocking=row", (2, 4, 96), 2, 0, 32, moeq.ArgumentError),
        ("fp8_e4m3:block", SLICED, 1, 0, 64, moeq.ArgumentError),
        ("nf4:blocking=flat", SLICED, 0, 0, 1, moeq.UnsupportedError),
        ("nf4:axis=-2", SLICED, 2, 0, 64, moeq.UnsupportedError),
        ("nf4:nested", SLICED, 2, 0, 64, moeq.UnsupportedError),
        ("nf4:nested", SLICED, 1, 0, 64, moeq.UnsupportedError),
        ("nf4:nested", (2, 4, 64), 0, 1, 2, moeq.ArgumentError),  # 4 statistics an expert
    ],
)
def test_refused_slices(text, shape, axis, begin, end, error):
    with pytest.raises(error):
        quantized(text, shape).slice(axis, begin, end)


def test_the_end_of_an_axis_will_do():
    assert quantized("nf4:blocking=row", (2, 4, 96)).slice(2, 64, 96).shape == (2, 4, 32)
    assert quantized("fp8_e4m3:block", (2, 200, 96)).slice(1, 128, 200).shape == (2, 72, 96)
    assert quantized("nf4:nested", (1, 512, 96)).slice(1, 0, 512).shape == (1, 512, 96)


def test_rows_of_one_nested_expert_can_be_cut():
    part = quantized("nf4:nested", (2, 512, 64))[1].slice(1, 256, 512)
    assert part.component("nested_scale").shape == (1,)
    with pytest.raises(moeq.UnsupportedError):
        part.requantize(np.ones((1, 256, 64), np.float32))


def test_texts_of_the_page():
    """Whatever the page calls a spec is one, and every option of its table is accepted by a format that has it."""
    section = PAGE.split("## The text of a spec")[1].split("## Components")[0]
    for text in re.findall(r"`((?:nf4|fp4|int8|fp8_e4m3|fp8_e5m2)(?::[^`]*)?)`", PAGE):
        moeq.Spec(text)
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    options = [option for cell in first_cells for option in re.findall(r"`([^`]+)`", cell)]
    assert len(options) > 20
    for option in options:
        accepted = []
        for name in ("int8", "nf4", "fp4", "fp8_e4m3", "fp8_e5m2"):
            try:
                accepted.append(moeq.Spec(f"{name}:{option}"))
            except moeq.MoeqError:
                continue
        assert accepted, option


def test_the_longest_text_fits():
    longest = (
        "int8:block2147483647x2147483647,axis=-2,layout=gate_up_interleaved,nonfinite=saturate,"
        "profile=bnb_cpu_fp16,dtype=fp32"
    )
    assert str(moeq.Spec(longest)) == longest
