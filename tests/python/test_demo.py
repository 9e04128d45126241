"""The demo's pieces on one layer of tiny-moe, against facts that are computed here in another way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import moeq

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/data/tiny-moe"
sys.path.insert(0, str(ROOT / "examples"))

from demo import DemoError, report  # noqa: E402
from demo.__main__ import FORMATS  # noqa: E402
from demo.checkpoint import Checkpoint, read_header  # noqa: E402
from demo.measure import errors, measure_in_child  # noqa: E402
from demo.model import Config, Model, StoredExperts, agreement, bits_per_byte, divergence  # noqa: E402
from demo.streaming import QuantizedExperts, dense_stack, stack_shape, stream  # noqa: E402
from demo.text import heldout_text, windows  # noqa: E402

SPECS = list(FORMATS.values())
MIB = 1024 * 1024


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    names = {np.dtype(ml_dtypes.bfloat16): "BF16", np.dtype(np.float32): "F32", np.dtype(np.float16): "F16"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape),
                        "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(v.tobytes() for v in tensors.values()))


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """tiny-moe's first layer as a model of its own, its tensors shuffled over two shards."""
    folder = tmp_path_factory.mktemp("cut")
    whole = Checkpoint(TINY)
    names = [n for n in whole.tensors if not n.startswith("model.layers.") or n.startswith("model.layers.0.")]
    names = [names[i] for i in np.random.default_rng(7).permutation(len(names))]
    half = len(names) // 2
    write_safetensors(folder / "model-00001-of-00002.safetensors", {n: whole.read(n) for n in names[:half]})
    write_safetensors(folder / "model-00002-of-00002.safetensors", {n: whole.read(n) for n in names[half:]})
    (folder / "config.json").write_text(json.dumps({**whole.config, "num_hidden_layers": 1}))
    return Checkpoint(folder)


@pytest.fixture(scope="module")
def scored(cut):
    return windows(heldout_text(cut.folder)[0], 4 * 256)


def fused(checkpoint: Checkpoint, stack: str) -> np.ndarray:
    """A stack of layer 0 put together by name."""
    def weight(expert: int, projection: str) -> np.ndarray:
        return checkpoint.read(f"model.layers.0.mlp.experts.{expert}.{projection}_proj.weight")

    experts = range(Config.of(checkpoint).experts)
    if stack == "down":
        return np.stack([weight(e, "down") for e in experts])
    return np.stack([np.concatenate([weight(e, "gate"), weight(e, "up")]) for e in experts])


def decoded(checkpoint: Checkpoint, spec: str, stack: str) -> np.ndarray:
    """The stack through moeq in one call, without builder or slices, as fp32."""
    dense = fused(checkpoint, stack)
    out = np.empty(dense.shape, np.float32)
    moeq.QTensor.quantize(dense, spec).dequantize(out=out)
    return out


# ---- the checkpoint reader


def test_reader_agrees_with_safetensors():
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed: no second reader")
    checkpoint = Checkpoint(TINY)
    for file in sorted(TINY.glob("*.safetensors")):
        for name, peer in safetensors.deserialize(file.read_bytes()):
            mine = checkpoint.tensors[name]
            assert mine.file == file and list(mine.shape) == list(peer["shape"])
            assert mine.read().tobytes() == bytes(peer["data"])


def with_header(header: dict | bytes, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, dtype: str = "F32", shape: tuple = (1,)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize("content", [
    b"", b"\x05\0\0", b"\xff" * 8 + b"{}", with_header(b"{"), with_header(b"[]"), with_header({"a": {}}),
    with_header({"a": entry(0, 4)}),  # four bytes behind it
    with_header({"a": entry(0, 4), "b": entry(0, 4)}),  # overlap
    with_header({"a": entry(4, 8)}),  # a gap
    with_header({"a": entry(0, 8)}),  # shape says 4 bytes
    with_header({"a": entry(0, 8, shape=(2.0,))}), with_header({"a": entry(0, 4, shape=(-1, -1)), "b": entry(4, 8)}),
    with_header(('{"a":%s,"a":%s}' % (json.dumps(entry(0, 4)), json.dumps(entry(4, 8)))).encode()),  # one name twice
    with_header({"a": entry(0, 4), "b": entry(4, 8)}, b"\0" * 6),  # truncated
    with_header({"a": entry(0, 8, dtype="I64")}),
])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DemoError) as refusal:
        read_header(path)
    assert "\n" not in str(refusal.value) and "model.safetensors" in str(refusal.value)


def test_good_file_is_accepted(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header({"b": entry(4, 8), "a": entry(0, 4)}))
    assert [tensor.name for tensor in read_header(path)] == ["a", "b"]


# ---- streaming


@pytest.mark.parametrize("spec", SPECS)
def test_streaming_pieces_gives_the_bytes_of_one_call(cut, spec):
    stacks = stream(cut, spec, moeq.Context())
    assert set(stacks) == {(0, "gate_up"), (0, "down")}
    for (_, stack), handle in stacks.items():
        whole = moeq.QTensor.quantize(fused(cut, stack), spec)
        assert handle.nbytes == whole.nbytes
        assert handle.spec.layout == ("gate_up" if stack == "gate_up" else "plain")
        wanted = whole.components
        assert set(handle.components) == set(wanted)
        for name, component in handle.components.items():
            assert component.numpy().tobytes() == wanted[name].numpy().tobytes(), name


def test_dense_stack_puts_gate_before_up(cut):
    config = Config.of(cut)
    for stack in ("gate_up", "down"):
        dense = dense_stack(cut, config, 0, stack)
        assert dense.shape == stack_shape(config, stack)
        assert dense.tobytes() == fused(cut, stack).tobytes()


def test_a_missing_expert_is_an_error(cut, tmp_path):
    for file in cut.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    gone = "model.layers.0.mlp.experts.3.up_proj.weight"
    file = cut.tensors[gone].file
    kept = {t.name: t.read() for t in cut.tensors.values() if t.file == file and t.name != gone}
    write_safetensors(tmp_path / file.name, kept)
    with pytest.raises(moeq.IncompleteError):
        stream(Checkpoint(tmp_path), "int8", moeq.Context())


# ---- what is measured


def independent_errors(checkpoint: Checkpoint, spec: str) -> tuple[np.ndarray, np.ndarray]:
    noise, signal = np.zeros(8), np.zeros(8)
    for stack in ("gate_up", "down"):
        dense = fused(checkpoint, stack).astype(np.float64)
        noise += ((dense - decoded(checkpoint, spec, stack)) ** 2).sum(axis=(1, 2))
        signal += (dense**2).sum(axis=(1, 2))
    return noise, signal


@pytest.mark.parametrize("spec", SPECS)
def test_errors_are_those_of_the_decoded_weights(cut, spec):
    noise, signal = errors(cut, Config.of(cut), stream(cut, spec, moeq.Context()))
    wanted_noise, wanted_signal = independent_errors(cut, spec)
    np.testing.assert_allclose(noise[0], wanted_noise, rtol=1e-9)
    np.testing.assert_allclose(signal[0], wanted_signal, rtol=1e-9)


def test_access_by_expert_decodes_the_right_one(cut):
    experts = QuantizedExperts(stream(cut, "nf4", moeq.Context()), Config.of(cut))
    for e in (5, 0, 7):
        np.testing.assert_array_equal(experts.gate_up(0, e), decoded(cut, "nf4", "gate_up")[e])
        np.testing.assert_array_equal(experts.down(0, e), decoded(cut, "nf4", "down")[e])


def test_loss_of_known_predictions():
    text = np.array([[7, 1, 2, 3]], np.uint8)
    uniform = np.full((1, 3, 256), -np.log(256), np.float32)
    assert bits_per_byte(uniform, text) == pytest.approx(8.0, abs=1e-6)
    sure = np.full((1, 3, 256), -50.0, np.float32)
    sure[0, np.arange(3), [1, 2, 3]] = np.log(0.5)
    assert bits_per_byte(sure, text) == pytest.approx(1.0, abs=1e-6)


def test_divergence_of_known_distributions():
    p, q = np.full(256, 1e-9), np.full(256, 1e-9)
    p[:2], q[:2] = (0.75, 0.25), (0.5, 0.5)
    p, q = np.log(p).astype(np.float32)[None, None], np.log(q).astype(np.float32)[None, None]
    wanted = 0.75 * np.log2(0.75 / 0.5) + 0.25 * np.log2(0.25 / 0.5)
    assert divergence(p, q) == pytest.approx(wanted, rel=1e-5)
    assert divergence(p, p) == 0.0
    assert agreement(p, q) == 1.0 and agreement(p, p[..., ::-1]) == 0.0


class Substituted:
    """Dense weights that were decoded in one call each."""

    def __init__(self, checkpoint: Checkpoint, spec: str):
        self.weights = {stack: decoded(checkpoint, spec, stack) for stack in ("gate_up", "down")}

    def gate_up(self, layer: int, expert: int) -> np.ndarray:
        return self.weights["gate_up"][expert]

    def down(self, layer: int, expert: int) -> np.ndarray:
        return self.weights["down"][expert]


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested"])
def test_measured_facts(cut, scored, tmp_path, spec):
    reference = Model(cut, StoredExperts(cut)).log_probabilities(scored)
    np.save(tmp_path / "windows.npy", scored)
    np.save(tmp_path / "reference.npy", reference)
    facts = measure_in_child(model=str(cut.folder), spec=spec, windows=str(tmp_path / "windows.npy"),
                             reference=str(tmp_path / "reference.npy"))

    config = Config.of(cut)
    rows = config.experts * (2 * config.expert_width + config.hidden)
    elements = config.experts * 3 * config.expert_width * config.hidden
    if spec == "int8":
        assert facts["expert_bytes"] == elements + 4 * rows
    else:  # two codes a byte, a byte per block, fp32 per 256 blocks; in each of two handles the fp32 map and the mean
        blocks = elements // 64
        assert facts["expert_bytes"] == elements // 2 + blocks + 4 * (blocks // 256) + 2 * 4 * (256 + 1)

    noise, signal = independent_errors(cut, spec)
    assert facts["relative_rms"] == pytest.approx(np.sqrt(noise.sum() / signal.sum()), rel=1e-9)
    np.testing.assert_allclose(facts["relative_rms_map"], [np.sqrt(noise / signal)], rtol=1e-9)

    other = Model(cut, Substituted(cut, spec)).log_probabilities(scored)
    assert facts["bits_per_byte"] == pytest.approx(bits_per_byte(other, scored), abs=1e-6)
    assert facts["divergence_bits"] == pytest.approx(divergence(reference, other), rel=1e-3, abs=1e-8)
    assert facts["divergence_bits"] > 0

    piece = config.expert_width * config.hidden * 2
    bound = facts["expert_bytes"] + piece + 64 * MIB
    assert facts["expert_bytes"] <= facts["context_live_bytes"] <= facts["context_peak_bytes"] <= bound
    assert facts["process_growth_bytes"] <= bound


# ---- what is printed and drawn


def run_demo(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "examples/demo"), *arguments], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})


def test_the_demo_prints_and_draws_what_it_measured(cut, tmp_path):
    done = run_demo("--model", str(cut.folder), "--out", str(tmp_path), "--formats", "int8 nf4:64", "--bytes", "1024")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "demo.json").read_text())
    assert [f["name"] for f in facts["formats"]] == ["int8", "nf4:64"]
    assert report.table(facts) in done.stdout and report.error_maps(facts) in done.stdout
    for f in facts["formats"]:
        noise, signal = independent_errors(cut, f["spec"])
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{f['name']} "))
        assert f"{np.sqrt(noise.sum() / signal.sum()):.5f}" in line
        assert f"{f['expert_bytes'] / MIB:.2f}" in line
        first = " ".join(f"{value:.5f}" for value in np.sqrt(noise / signal))
        assert f"    0  {first}" in done.stdout
    picture = (tmp_path / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) > 20_000


def edited(cut: Checkpoint, folder: Path, **changes) -> Path:
    for file in cut.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps({**cut.config, **changes}))
    return folder


@pytest.mark.parametrize("case, words", [
    ("absent", "is not a directory"), ("empty", "config.json is missing"), ("weightless", "no .safetensors file"),
    ("other family", "model_type"), ("other vocabulary", "vocab_size"), ("spec", "unknown_format")])
def test_mistakes_get_one_line_with_a_hint(cut, tmp_path, case, words):
    model, more = tmp_path, []
    if case == "absent":
        model = tmp_path / "nothing"
    elif case == "weightless":
        (tmp_path / "config.json").write_text("{}")
    elif case == "other family":
        edited(cut, tmp_path, model_type="mixtral")
    elif case == "other vocabulary":
        edited(cut, tmp_path, vocab_size=151936)
    elif case == "spec":
        model, more = cut.folder, ["--formats", "unknown_format"]
    done = run_demo("--model", str(model), "--out", str(tmp_path / "out"), "--bytes", "256", *more)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("demo: ") and words in lines[0] and lines[0].endswith(")")
    assert not (tmp_path / "out").exists()
