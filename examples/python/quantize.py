"""A dense weight becomes a quantized one, and comes back whole or in parts."""

import numpy as np

import moeq

weight = np.random.default_rng(1).standard_normal((4, 64, 256), dtype=np.float32)  # [experts, rows, columns]

# [quote: quantize]
q = moeq.quantize(weight, "nf4")
print(q)
dense = q.dequantize(dtype="fp32")  # a moeq.Tensor; torch.from_dlpack(dense) works as well
buffer = np.empty((2, 64, 256), np.float16)
q.dequantize(experts=[3, 0], out=buffer)  # straight into memory that you have
# [end]
assert np.array_equal(buffer, dense.numpy()[[3, 0]].astype(np.float16))

for name, component in q.components.items():
    print(f"{name}: {component.dtype} {component.shape}")

figures = q.compare(weight)  # per expert, against the dense source
print("worst SQNR of an expert:", round(min(figures["sqnr_db"])), "dB")

try:
    q.dequantize(experts=[1, 7])
except moeq.RangeError as error:  # an IndexError as well
    print(f"{error.status_name}: expert {error.expert}")
