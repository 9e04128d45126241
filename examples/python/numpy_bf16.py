"""bfloat16 in and out with NumPy alone: ml_dtypes has the element type, no framework is needed."""

import ml_dtypes
import numpy as np

import moeq

bf16 = ml_dtypes.bfloat16

# [quote: bf16]
weight = np.random.default_rng(1).standard_normal((2, 32, 128)).astype(bf16)
q = moeq.quantize(weight.transpose(0, 2, 1), "fp8_e5m2")  # any strides: no copy is made of a transposed source
dense = q.dequantize().numpy()  # the weight's own type is the default
# [end]
print(q.shape, dense.dtype)
error = np.abs(dense.astype(np.float32) - weight.transpose(0, 2, 1).astype(np.float32))
print("within an eighth of each row's largest magnitude:", bool((error <= np.abs(weight).max(1)[..., None] / 8).all()))

values = np.array([[1, -2.5, float("nan")]], bf16)
# [quote: bad value]
try:
    moeq.quantize(values, "int8")
except moeq.BadValueError as problem:  # a ValueError as well
    print(f"row {problem.row}, column {problem.column}: {problem.status_name}")
# [end]
saturated = moeq.quantize(values, "int8:nonfinite=saturate")
print(saturated.dequantize(dtype="fp32").numpy().tolist())
