"""Every step of the acceptance table in docs/dlpack.md: the mistake is made; status and message are the table's."""

import numpy as np
import pytest
from conftest import ROOT, Producer

import moeq

PAGE = (ROOT / "docs" / "dlpack.md").read_text(encoding="utf-8")
LINES = PAGE.split("<!-- steps: begin -->")[1].split("<!-- steps: end -->")[0].strip().splitlines()[2:]
CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES]
STEPS = {step: (status.strip("`"), message) for step, status, message in CELLS}


def values():
    return np.ones((2, 2, 64), np.float32)


def source(**fields):
    moeq.quantize(Producer(values(), **fields), "nf4")


def destination(**fields):
    moeq.quantize(values(), "nf4").dequantize(out=Producer(values(), **fields))


def overlapping():
    array = values()
    moeq.reduce_amax(array, axis=2, out=array[:, :, 0])


class Nine(Producer):
    """Nine axes: its shape has to be there, as nobody may read it."""

    def __init__(self):
        super().__init__(np.ones((1,) * 9, np.float32))


MISTAKES = {
    "DLPack's major version": lambda: source(major=2, minor=0),
    "kind of device": lambda: source(device=(8, 0)),
    "element type": lambda: moeq.quantize(np.ones((2, 2, 64)), "nf4"),
    "lanes": lambda: source(dtype=(2, 32, 2)),
    "number of axes": lambda: moeq.quantize(Nine(), "nf4"),
    "extents": lambda: source(shape=(-1, 2, 64)),
    "size": lambda: source(shape=(1 << 62, 2, 64)),
    "data pointer": lambda: source(data=None),
    "address space": lambda: source(byte_offset=(1 << 64) - 4, data=1 << 40),
    "alignment": lambda: source(data=(1 << 40) + 2),
    "CUDA device": lambda: source(device=(2, 0)),
    "destination: writable": lambda: destination(flags=1),
    "destination: flags": lambda: destination(flags=1 << 40),
    "destination: no overlap with itself": lambda: destination(strides=(0, 64, 1)),
    "the shape that the call wants": lambda: destination(shape=(2, 2, 63)),
    "destination: no overlap with a source": overlapping,
}


def test_all_steps_are_tried():
    assert list(STEPS) == list(MISTAKES)


@pytest.mark.parametrize("step", STEPS)
def test_step(step):
    status, message = STEPS[step]
    with pytest.raises(moeq.MoeqError) as refusal:
        MISTAKES[step]()
    found = str(refusal.value).split(": ", 1)[1]
    assert (refusal.value.status_name, found) == (status, message)


def test_an_empty_tensor_passes():
    for fields in ({"data": None}, {"data": 1}, {"strides": (7, 7, 7)}):
        empty = Producer(np.ones((2, 0, 64), np.float32), **fields)
        assert moeq.quantize(empty, "nf4").shape == (2, 0, 64)
