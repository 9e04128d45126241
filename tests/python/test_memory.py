"""Streaming a weight through a builder takes the result, one piece and at most 64 MiB: by the context's own count, and
by the operating system's for a process of its own that never holds the dense weight."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

MIB = 1 << 20
SHAPE = (8, 4096, 4096)  # 256 MiB of bf16
ALLOWED = 64 * MIB

# Prints JSON. argv: spec, rows per piece, whether amax is given. Pieces are made in one buffer, from a small pattern.
STREAM = """
import json, sys
import ml_dtypes, numpy as np, moeq

def now(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

text, rows, given = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "given"
shape = tuple(json.loads(sys.argv[4]))
experts, height, width = shape
rng = np.random.default_rng(1)
pattern = rng.standard_normal((64, width), np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)

def fill(piece, expert, row):
    bits = piece.view(np.uint16)
    for top in range(0, len(piece), 64):
        part = bits[top : top + 64]
        np.bitwise_xor(pattern[: len(part)], np.uint16((37 * expert + 11 * ((row + top) // 64)) % 64), out=part)

context = moeq.Context()
spec = moeq.Spec(text, logical_dtype="bf16")
amax = np.full(experts, 4.0, np.float32) if given else None
moeq.quantize(np.ones((2, 256, 512), np.float32), moeq.Spec(text), context=context).close()  # threads are started
before, own_before = now("VmRSS"), context.memory().host_live
piece = np.empty((rows, width), ml_dtypes.bfloat16)
builder = moeq.Builder(spec, shape, amax=amax, context=context)
staged = 0
for expert in range(experts):
    for row in range(0, height, rows):
        part = piece[: min(rows, height - row)]
        fill(part, expert, row)
        builder.write(part, expert=expert, row=row)
        staged = max(staged, builder.state.staged_bytes)
q = builder.finish()
peak, own_peak = now("VmHWM"), context.memory().host_peak
expert = experts - 2
whole = np.empty((1, height, width), ml_dtypes.bfloat16)
for row in range(0, height, rows):
    fill(whole[0, row : row + rows], expert, row)
alone = moeq.quantize(whole, spec, amax=None if amax is None else amax[:1])
same = spec.nested or np.array_equal(  # nested: the offset is the whole weight's
    q.dequantize(experts=[expert], dtype="fp32").numpy(), alone.dequantize(dtype="fp32").numpy()
)
print(json.dumps({
    "result": q.nbytes, "piece": piece.nbytes, "staged": staged, "documented": spec.staging(shape), "same": bool(same),
    "system": peak - before, "own": own_peak - own_before,
    "live": context.memory().host_live - own_before,
}))
"""


def stream(spec, rows, given):
    """What the child measured."""
    variables = {**os.environ, "PYTHONPATH": str(pathlib.Path(moeq.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    arguments = [spec, str(rows), given, json.dumps(SHAPE)]
    done = subprocess.run(
        [sys.executable, "-c", STREAM, *arguments], capture_output=True, text=True, env=variables, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TILE_ROW = 128 * SHAPE[2] * 2  # bytes of one row of 128 x 128 tiles
EXPERT = SHAPE[1] * SHAPE[2] * 2
CASES = [  # spec, rows of a piece, amax, the most that may be staged
    ("int8", 1, "", 0),
    ("int8", 4096, "", 0),
    ("int8:scale=factor", 100, "", 0),
    ("nf4", 64, "", 0),
    ("nf4:blocking=row", 4096, "", 0),
    ("fp4:blocking=flat", 100, "", 0),
    ("nf4:64,nested", 64, "", None),
    ("fp8_e4m3:row", 64, "", 0),
    ("fp8_e5m2:row", 1000, "", 0),
    ("fp8_e4m3:block128x128", 128, "", 0),
    ("fp8_e4m3:block128x128", 4096, "", 0),
    ("fp8_e4m3:block128x128", 48, "", TILE_ROW),
    ("fp8_e4m3:expert", 4096, "", 0),
    ("fp8_e4m3:expert", 64, "given", 0),
    ("fp8_e4m3:expert", 64, "", EXPERT),
    ("int8:axis=-2", 4096, "", 0),
]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc/self/status here to read the peak from")
@pytest.mark.parametrize(
    ("spec", "rows", "given", "staged"), CASES, ids=[f"{case[0]}-rows{case[1]}{case[2]}" for case in CASES]
)
def test_peak_of_a_builder(spec, rows, given, staged, record_property):
    measured = stream(spec, rows, given)
    assert measured["same"], "the streamed weight has other values than one that is quantized at once"
    extra = measured["result"] + ALLOWED
    assert measured["own"] <= extra, measured  # the piece is not the context's
    assert measured["system"] <= extra + measured["piece"], measured
    assert measured["system"] >= measured["result"], "the peak that was read cannot be this process's"
    if staged is not None:
        assert measured["staged"] <= staged, measured
    assert measured["staged"] <= measured["documented"], measured
    assert measured["live"] <= measured["result"] + MIB, "what was staged is given back"
    record_property("measured", json.dumps(measured))


def test_staged_bytes_are_of_the_sources_type(rng):
    """Halves of rows wait for their other half, in bf16; each row is let go of as soon as it is whole."""
    weight = rng.standard_normal((2, 10, 256), np.float32).astype(ml_dtypes.bfloat16)
    context = moeq.Context(threads=1)
    builder = moeq.Builder("int8", weight.shape, context=context)
    idle = context.memory().host_live
    row = 256 * 2
    for count in range(1, 11):
        builder.write(weight[0, count - 1 : count, :128], row=count - 1)
        staged = builder.state.staged_bytes
        assert count * row // 2 <= staged <= count * row
        assert context.memory().host_live - idle >= staged
    for count in range(1, 11):
        builder.write(weight[0, count - 1 : count, 128:], row=count - 1, column=128)
        assert builder.state.staged_bytes <= (10 - count) * row
    assert builder.state.staged_bytes == 0
    builder.write(weight[1:], expert=1)
    assert builder.state.staged_bytes == 0


@pytest.mark.parametrize("source", [np.float32, np.float16])
def test_a_block_in_flight_is_staged_whole_at_most(source, rng):
    weight = rng.standard_normal((1, 4, 96), np.float32).astype(source)  # blocks of 64 straddle rows
    builder = moeq.Builder("nf4", weight.shape)
    size = np.dtype(source).itemsize
    builder.write(weight[:, :1])  # block 0, and the first half of block 1
    assert 32 * size <= builder.state.staged_bytes <= 64 * size
    builder.write(weight[:, 2:3], row=2)  # block 3, and the first half of block 4
    assert 2 * 32 * size <= builder.state.staged_bytes <= 2 * 64 * size
    builder.write(weight[:, 1:2], row=1)  # the rest of block 1, and block 2
    assert 32 * size <= builder.state.staged_bytes <= 64 * size
    builder.write(weight[:, 3:], row=3)
    assert builder.state.staged_bytes == 0 and builder.state.missing_elements == 0


def test_nested_statistics_wait_for_the_last_block(rng):
    """4 bytes for each block until finish."""
    weight = rng.standard_normal((4, 64, 1024), np.float32)
    blocks = weight.size // 64
    plain, nested = moeq.Spec("nf4"), moeq.Spec("nf4:64,nested")
    assert nested.staging(weight.shape) - plain.staging(weight.shape) == 4 * blocks
    context = moeq.Context(threads=1)
    builder = moeq.Builder(nested, weight.shape, context=context)
    for expert in range(4):
        builder.write(weight[expert], expert=expert)
    assert builder.state.staged_bytes == 4 * blocks
    before = context.memory().host_live
    q = builder.finish()
    assert context.memory().host_live <= before - 4 * blocks + 65536
    assert q.nbytes < plain.nbytes(weight.shape)


def test_a_staging_limit_is_kept(rng):
    weight = rng.standard_normal((1, 8, 256), np.float32)
    limit = 3 * 256 * 4
    builder = moeq.Builder("int8", weight.shape, staging_limit=limit)
    for row in range(3):
        builder.write(weight[:, row : row + 1, :100], row=row)
    with pytest.raises(moeq.LimitError):
        builder.write(weight[:, 3:4, :100], row=3)
    assert builder.state.staged_bytes <= limit
    builder.write(weight[:, :3, 100:], column=100)
    assert builder.state.staged_bytes == 0
    builder.write(weight[:, 3:4, :100], row=3)  # refused before: counts as not written
