"""The figures of one format, taken in a process of its own so that one format's memory does not hide another's.

The request comes as JSON on standard input, the answer goes as JSON to standard output.
"""

import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from . import DemoError
from .checkpoint import Checkpoint
from .model import Config, Model, agreement, bits_per_byte, divergence


def measure(model: str, spec: str, windows: str, reference: str) -> dict:
    """Streams the model in `model` into `spec` and compares it with the log-probabilities kept in `reference`.

    windows, reference: .npy files with uint8 [W, T] and fp32 [W, T - 1, 256].
    """
    import moeq  # here, so that the parent can say in one line that it is missing

    from .streaming import QuantizedExperts, stream

    checkpoint = Checkpoint(model)
    config = Config.of(checkpoint)
    _warm_up(moeq, spec)

    context = moeq.Context()
    watch = PeakWatch()
    begun = time.perf_counter()
    stacks = stream(checkpoint, spec, context)
    seconds = time.perf_counter() - begun
    process_growth = watch.growth()
    memory = context.memory()

    noise, signal = errors(checkpoint, config, stacks)
    bytes_to_score = np.load(windows)
    wanted = np.load(reference)
    got = Model(checkpoint, QuantizedExperts(stacks, config)).log_probabilities(bytes_to_score)
    return {
        "spec": spec,
        "expert_bytes": sum(handle.nbytes for handle in stacks.values()),
        "largest_piece_bytes": max(piece.tensor.nbytes for piece in checkpoint.expert_pieces()),
        "context_peak_bytes": memory.host_peak,
        "context_live_bytes": memory.host_live,
        "process_growth_bytes": process_growth,
        "process_growth_from": watch.source,
        "stream_seconds": seconds,
        "relative_rms": float(np.sqrt(noise.sum() / signal.sum())),
        "relative_rms_map": np.sqrt(noise / signal).tolist(),  # [layer][expert]
        "bits_per_byte": bits_per_byte(got, bytes_to_score),
        "divergence_bits": divergence(wanted, got),
        "agreement": agreement(wanted, got),
    }


def errors(checkpoint: Checkpoint, config: Config, stacks: dict) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares of error and of weight, fp64 [layers, experts], over all three projections of an expert."""
    from .streaming import dense_stack

    noise = np.zeros((config.layers, config.experts))
    signal = np.zeros_like(noise)
    for (layer, stack), handle in stacks.items():
        dense = dense_stack(checkpoint, config, layer, stack)
        elements = dense[0].size
        noise[layer] += np.square(handle.compare(dense)["rmse"]) * elements
        signal[layer] += np.square(dense.astype(np.float64)).sum(axis=(1, 2))
    return noise, signal


def _warm_up(moeq, spec: str) -> None:
    """Everything that is loaded or started once, so that it does not count as memory of the load."""
    builder = moeq.Builder(moeq.Spec(spec), (1, 256, 256), context=moeq.Context())
    builder.write(np.ones((256, 256), np.float32), expert=0)
    builder.finish()


class PeakWatch:
    """How far the process grows from now on, as the operating system counts it."""

    def __init__(self):
        gc.collect()
        # What was freed before must not hide what is asked for from now on: glibc keeps freed pages unless told.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM begins anew at the present size
            self._begin = _status_bytes("VmRSS")
            self.source = "VmHWM"
        except OSError:
            self._begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
            self.source = "ru_maxrss"

    def growth(self) -> int:
        if self.source == "VmHWM":
            return _status_bytes("VmHWM") - self._begin
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT - self._begin


_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def measure_in_child(**request: str) -> dict:
    """measure(**request) in a fresh interpreter."""
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here.parent), *filter(None, sys.path)])
    child = subprocess.run([sys.executable, "-m", f"{here.name}.measure"], input=json.dumps(request), text=True,
                           stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    if child.returncode != 0:
        raise DemoError(f"measuring {request['spec']} ended with status {child.returncode}", "the reason is above")
    answer = json.loads(child.stdout)
    if "refused" in answer:
        raise DemoError(*answer["refused"])
    return answer


def _answer(request: dict) -> dict:
    import moeq

    try:
        return measure(**request)
    except DemoError as error:
        return {"refused": [error.problem, error.hint]}
    except moeq.MoeqError as error:
        return {"refused": [" ".join(str(error).split()), f"while streaming into {request['spec']}"]}


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
