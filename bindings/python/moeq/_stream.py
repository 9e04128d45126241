"""The stream of a call: torch's current one of the tensor's device, so that it follows what torch has queued there.

Without torch, or where torch has not used CUDA yet, it is NULL: CUDA's legacy default stream, and what host memory wants.
"""

from __future__ import annotations

import sys
from typing import Any

from ._cdef import ffi

CUDA = (ffi.integer_const("MOEQ_DEVICE_CUDA"), ffi.integer_const("MOEQ_DEVICE_CUDA_MANAGED"))
NULL = ffi.NULL


def current_stream(device_type: int, device_id: int) -> Any:
    torch = sys.modules.get("torch")
    if device_type not in CUDA or torch is None or not torch.cuda.is_initialized():
        return NULL
    return ffi.cast("void *", torch.cuda.current_stream(device_id).cuda_stream)


def stream_of(tensor: Any) -> Any:
    """tensor: a struct DLManagedTensorVersioned *."""
    device = tensor.dl_tensor.device
    return current_stream(device.device_type, device.device_id)
