"""Calibration: the largest magnitude over axes, collected over batches, and one scale for gate and up together."""

import numpy as np

import moeq

rng = np.random.default_rng(1)
gate, up = rng.standard_normal((2, 4, 32, 64), dtype=np.float32)  # each [experts, rows, columns]
up *= 3

# [quote: amax]
amax = np.zeros(4, np.float32)  # one per expert
for part in (gate, up):
    moeq.reduce_amax(part, axis=(1, 2), out=amax, accumulate=True)
q = moeq.quantize(np.concatenate([gate, up], axis=1), "fp8_e4m3:expert,layout=gate_up", amax=amax)
# [end]
assert np.array_equal(amax, np.maximum(np.abs(gate).max((1, 2)), np.abs(up).max((1, 2))))
print("scales are amax / 448:", np.array_equal(q.component("scale").numpy(), amax / np.float32(448)))

tiles = moeq.reduce_amax(gate, axis=(), blocks=(1, 16, 16))  # one number per expert and 16 x 16 tile
print("tiles:", tiles.shape)
per_tensor = moeq.reduce_many([gate, up])
print("per tensor:", per_tensor.shape, "axes to reduce for one scale per row:", moeq.reduce_axes(3, [0, 1]))
