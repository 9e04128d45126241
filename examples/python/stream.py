"""A weight that arrives in pieces: peak memory is the quantized weight and one piece."""

import numpy as np

import moeq

SHAPE = EXPERTS, ROWS, COLUMNS = 8, 64, 256


def pieces():
    """Stands for a checkpoint: each expert in two halves, the last expert first."""
    for expert in reversed(range(EXPERTS)):
        values = np.random.default_rng(expert).standard_normal((ROWS, COLUMNS), dtype=np.float32)
        yield expert, 0, values[: ROWS // 2]
        yield expert, ROWS // 2, values[ROWS // 2 :]


context = moeq.Context(threads=1)
# [quote: stream]
with moeq.Builder("int8", SHAPE, context=context) as builder:
    for expert, row, piece in pieces():
        builder.write(piece, expert=expert, row=row)
    q = builder.finish()
# [end]

dense_bytes = 4 * EXPERTS * ROWS * COLUMNS
overhead = context.memory().host_peak - q.nbytes
print(f"{dense_bytes} bytes of fp32 became {q.nbytes} of {q.spec}")
print("the library's peak is within 64 KiB of the result:", overhead < 64 << 10)

# [quote: gaps]
with moeq.Builder("int8", SHAPE) as builder:  # leaving it without finish() abandons it, and nothing leaks
    builder.write(np.zeros((7, ROWS, COLUMNS), np.float32))  # experts 0 to 6 at once
    print(builder.missing())
    try:
        builder.write(np.zeros((1, COLUMNS), np.float32), expert=3, row=5)
    except moeq.DuplicateError as error:
        print(f"twice: expert {error.expert}, row {error.row}")
# [end]
