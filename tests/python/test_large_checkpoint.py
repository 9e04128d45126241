"""Checkpoints of gigabytes through the command line: peak memory, and rates beside a plain copy of the same bytes.

Figures are printed: `MOEQ_TEST_LONG=1 pytest -s tests/python/test_large_checkpoint.py`.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")
pytest.importorskip("typer", reason="typer is not installed: there is no command line")

from checkpoints import config, normal, projection  # noqa: E402
from conftest import ROOT  # noqa: E402

GIB, MIB = 1 << 30, 1 << 20
LAYERS, EXPERTS, HIDDEN, WIDTH = 11, 16, 4096, 2048  # 8.25 GiB of bf16
DISK = 20 * GIB
FORMATS = ("int8", "fp8_e4m3", "nf4", "nf4:64,nested")


def why_not():
    if os.environ.get("MOEQ_TEST_LONG", "0") in ("", "0"):
        return "takes minutes and 20 GiB of disk; make test-all runs it"
    import tempfile

    free = shutil.disk_usage(tempfile.gettempdir()).free
    return f"{free / GIB:.0f} GiB of disk are free, 20 are needed" if free < DISK else ""


REASON = why_not()
pytestmark = [pytest.mark.large, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file a layer; every expert has the same values, so that writing them takes no generator."""
    folder = tmp_path_factory.mktemp("large") / "model"
    folder.mkdir()
    values = {name: normal(1, (WIDTH, HIDDEN)).tobytes() for name in ("gate", "up", "down")}
    weight_map = {}
    for layer in range(LAYERS):
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        names = [(projection(layer, expert, name), name) for expert in range(EXPERTS) for name in values]
        for full, name in names:
            shape = [HIDDEN, WIDTH] if name == "down" else [WIDTH, HIDDEN]
            header[full] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + len(values[name])]}
            offset += len(values[name])
        file = f"model-{layer + 1:05}-of-{LAYERS:05}.safetensors"
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for _, name in names:
                out.write(values[name])
        weight_map |= dict.fromkeys((full for full, _ in names), file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config(LAYERS, EXPERTS, HIDDEN, WIDTH)))
    os.sync()
    yield folder
    shutil.rmtree(folder)


def copy(source, folder, bytes_in, bytes_out, thread_count):
    """Seconds to read every file and to write as much of it as the share says; each thread has files of its own."""
    folder.mkdir()
    files = sorted(source.glob("*.safetensors"))
    turn = threading.Lock()

    def work():
        buffer = memoryview(bytearray(8 * MIB))
        while True:
            with turn:
                if not files:
                    return
                path = files.pop()
            with path.open("rb", buffering=0) as reading, (folder / path.name).open("wb", buffering=0) as writing:
                while count := reading.readinto(buffer):
                    writing.write(buffer[: count * bytes_out // bytes_in])

    threads = [threading.Thread(target=work) for _ in range(thread_count)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    shutil.rmtree(folder)
    os.sync()
    return seconds


def processor_seconds(whose):
    """On a machine that does other things too, these say more than the clock."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("spec", FORMATS)
def test_quantize(model, tmp_path, spec):
    target, before = tmp_path / "out", processor_seconds(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "moeq", "quantize", str(model), str(target), "-f", spec, "--no-sync", "--json"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")})  # fmt: skip
    cpu_seconds = processor_seconds(resource.RUSAGE_CHILDREN) - before
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["layers_quantized"] == LAYERS and facts["skipped"] == []
    with moeq.open(target) as reader:
        largest = max(moeq.Spec(stack.spec).nbytes(stack.shape) for stack in reader.stacks)
    shutil.rmtree(target)
    os.sync()
    before = processor_seconds(resource.RUSAGE_SELF)
    plain = copy(model, tmp_path / "copy", facts["bytes_in"], facts["bytes_out"], 1)
    copy_cpu_seconds = processor_seconds(resource.RUSAGE_SELF) - before
    all_threads = copy(model, tmp_path / "copy", facts["bytes_in"], facts["bytes_out"], len(os.sched_getaffinity(0)))
    moved = facts["bytes_in"] + facts["bytes_out"]
    print(
        f"\n{spec}: {facts['bytes_in'] / GIB:.2f} GiB in {facts['seconds']:.1f} s, "
        f"{facts['bytes_in'] / facts['seconds'] / 1e9:.2f} GB/s read, {moved / facts['seconds'] / 1e9:.2f} GB/s moved; "
        f"a plain copy moves {moved / plain / 1e9:.2f} GB/s: {100 * plain / facts['seconds']:.0f} %, one with all "
        f"threads {moved / all_threads / 1e9:.2f} GB/s: {100 * all_threads / facts['seconds']:.0f} %; "
        f"processor time {cpu_seconds:.1f} s, the copy's {copy_cpu_seconds:.1f} s; "
        f"peak {facts['peak_memory'] / MIB:.0f} MiB, of which codes of one stack {largest / MIB:.0f} MiB"
    )
    assert facts["bytes_in"] > 8 * GIB
    assert facts["peak_memory"] <= largest + 128 * MIB


def write_native(path, stacks, shape):
    """Codes of zeros that take no memory: nobody ever writes them."""
    codes = np.zeros(shape, np.int8)
    scale = np.ones(shape[:2], np.float32)
    with moeq.QTensor.adopt("int8", shape, {"codes": codes, "scale": scale}) as q:
        moeq.save(path, {f"model.layers.{i}.mlp.experts.down_proj": q for i in range(stacks)}, durable=False)


def load_all(path):
    """Seconds to open and to have every stack."""
    begun = time.perf_counter()
    with moeq.open(path, mmap=True) as reader:
        handles = [reader.load(stack) for stack in reader.stacks]
    took = time.perf_counter() - begun
    assert len(handles) == 4
    return took


def test_a_mapped_native_file_loads_at_once_whatever_its_size(tmp_path):
    seconds = {}
    for gib, experts in ((1, 8), (8, 64)):
        path = tmp_path / f"{gib}.safetensors"
        write_native(path, 4, (experts, 8192, 4096))
        assert path.stat().st_size >= gib * GIB
        seconds[gib] = min(load_all(path) for _ in range(7))
    print(f"\n1 GiB: {1e3 * seconds[1]:.2f} ms, 8 GiB: {1e3 * seconds[8]:.2f} ms")
    assert seconds[8] <= 3 * seconds[1] + 0.005
