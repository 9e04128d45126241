"""Memory for one decoded expert, used again by every product of a thread."""

from __future__ import annotations

import threading

import torch

_held = threading.local()


def expert_buffer(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Uninitialised memory [rows, columns] that is valid until this thread's next call.

    The library writes it behind torch's version counters, so nothing that autograd may save can point into it: it is
    for the inside of products only. On a device torch's own allocator is as quick, and knows about streams.
    """
    if device.type != "cpu":
        return torch.empty(rows, columns, dtype=dtype, device=device)
    flats = _held.__dict__.setdefault("flats", {})
    flat = flats.get(dtype)
    if flat is None or flat.numel() < rows * columns:
        with torch.inference_mode(False):  # such a tensor could not be written outside of inference mode
            flat = flats[dtype] = torch.empty(rows * columns, dtype=dtype)
    return flat[: rows * columns].view(rows, columns)
