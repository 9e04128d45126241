"""The demo on one layer of tiny-moe, against facts that are computed here in another way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import moeq

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/data/tiny-moe"
sys.path.insert(0, str(ROOT / "examples"))

pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")
pytest.importorskip("typer", reason="typer is not installed: there is no command line")

from checkpoints import stacked, write_safetensors  # noqa: E402
from demo import report  # noqa: E402
from demo.__main__ import FORMATS  # noqa: E402
from demo.checkpoint import Checkpoint  # noqa: E402
from demo.experts import QuantizedExperts, StoredExperts  # noqa: E402
from demo.model import Config, Model, agreement, bits_per_byte, divergence  # noqa: E402
from demo.text import heldout_text, windows  # noqa: E402

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """tiny-moe's first layer as a model of its own, its tensors shuffled over two files."""
    folder = tmp_path_factory.mktemp("cut")
    with moeq.open(TINY) as whole:
        names = [tensor.name for tensor in whole.tensors]
        names = [name for name in names if not name.startswith("model.layers.") or name.startswith("model.layers.0.")]
        names = [names[i] for i in np.random.default_rng(7).permutation(len(names))]
        half = len(names) // 2
        files = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
        for file, chosen in files.items():
            write_safetensors(folder / file, {name: whole.read(name).numpy() for name in chosen})
    weight_map = {name: file for file, chosen in files.items() for name in chosen}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = json.loads((TINY / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    return Checkpoint(folder)


@pytest.fixture(scope="module")
def scored(cut):
    return windows(heldout_text(cut.folder)[0], 4 * 256)


class Tensors(dict):
    """Tensors of a checkpoint by name, in its own element type."""

    def __init__(self, checkpoint):
        super().__init__((t.name, checkpoint.reader.read(t).numpy()) for t in checkpoint.reader.tensors)


def fused(checkpoint: Checkpoint, stack: str) -> np.ndarray:
    """A stack of layer 0 put together by name."""
    return stacked(Tensors(checkpoint), 0, Config.of(checkpoint).experts, f"{stack}_proj")


def decoded(checkpoint: Checkpoint, spec: str, stack: str) -> np.ndarray:
    """The stack through moeq in one call, without files, as fp32."""
    dense = fused(checkpoint, stack)
    out = np.empty(dense.shape, np.float32)
    moeq.QTensor.quantize(dense, spec).dequantize(out=out)
    return out


def independent_errors(checkpoint: Checkpoint, spec: str) -> tuple[np.ndarray, np.ndarray]:
    noise, signal = np.zeros(8), np.zeros(8)
    for stack in ("gate_up", "down"):
        dense = fused(checkpoint, stack).astype(np.float64)
        noise += ((dense - decoded(checkpoint, spec, stack)) ** 2).sum(axis=(1, 2))
        signal += (dense**2).sum(axis=(1, 2))
    return noise, signal


@pytest.mark.parametrize("spec, dialect", FORMATS.values())
def test_access_by_expert_decodes_the_right_one(cut, tmp_path, spec, dialect):
    moeq.convert(cut.folder, tmp_path / "out", spec=spec, dialect=dialect, durable=False)
    experts = QuantizedExperts(Checkpoint(tmp_path / "out"))
    for e in (5, 0, 7):
        # A scale that is stored as a factor instead of amax rounds once more.
        np.testing.assert_allclose(experts.gate_up(0, e), decoded(cut, spec, "gate_up")[e], rtol=2e-7)
        np.testing.assert_allclose(experts.down(0, e), decoded(cut, spec, "down")[e], rtol=2e-7)


# ---- what is measured


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


# ---- what is measured, printed and drawn


def run_demo(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/demo"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


@pytest.fixture(scope="module")
def ran(cut, tmp_path_factory):
    """The demo's output and its facts."""
    out = tmp_path_factory.mktemp("out")
    done = run_demo("--model", str(cut.folder), "--out", str(out), "--formats", "int8 nf4:64,nested", "--bytes", "1024")
    assert done.returncode == 0, done.stderr
    return done, json.loads((out / "demo.json").read_text()), out


def test_measured_facts(cut, scored, ran):
    reference = Model(cut, StoredExperts(cut)).log_probabilities(scored)
    config = Config.of(cut)
    rows = config.experts * (2 * config.expert_width + config.hidden)
    elements = config.experts * 3 * config.expert_width * config.hidden
    blocks = elements // 64
    expert_bytes = {
        "int8": elements + 4 * rows,
        # two codes a byte, a byte per block, fp32 per 256 blocks; in each of two handles the fp32 map and the mean
        "nf4:64,nested": elements // 2 + blocks + 4 * (blocks // 256) + 2 * 4 * (256 + 1),
    }
    for facts in ran[1]["formats"]:
        spec = facts["spec"]
        assert facts["expert_bytes"] == expert_bytes[spec]
        noise, signal = independent_errors(cut, spec)
        assert facts["relative_rms"] == pytest.approx(np.sqrt(noise.sum() / signal.sum()), rel=1e-9)
        np.testing.assert_allclose(facts["relative_rms_map"], [np.sqrt(noise / signal)], rtol=1e-9)
        other = Model(cut, Substituted(cut, spec)).log_probabilities(scored)
        assert facts["bits_per_byte"] == pytest.approx(bits_per_byte(other, scored), abs=1e-6)
        assert facts["divergence_bits"] == pytest.approx(divergence(reference, other), rel=1e-3, abs=1e-8)
        assert facts["divergence_bits"] > 0
        assert 0 < facts["context_peak_bytes"] <= facts["expert_bytes"] + 64 * MIB
        assert facts["context_peak_bytes"] < facts["process_peak_bytes"] <= facts["expert_bytes"] + 256 * MIB
        assert facts["seconds"] > 0 and facts["read_bytes"] == ran[1]["stored"]["model_bytes"]


def test_the_demo_prints_and_draws_what_it_measured(cut, ran):
    done, facts, out = ran
    assert [f["name"] for f in facts["formats"]] == ["int8", "nf4:64,nested"]
    assert report.table(facts) in done.stdout and report.error_maps(facts) in done.stdout
    assert "1/1 layers, 8/8 experts, 0 skipped" in done.stdout  # of the plan
    for word in ("plan", "inspect", "quantize", "verify", "report"):
        assert f"$ moeq {word} " in done.stderr
    for f in facts["formats"]:
        noise, signal = independent_errors(cut, f["spec"])
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{f['name']} "))
        assert f"{np.sqrt(noise.sum() / signal.sum()):.5f}" in line
        assert f"{f['expert_bytes'] / MIB:.2f}" in line
        first = " ".join(f"{value:.5f}" for value in np.sqrt(noise / signal))
        assert f"    0  {first}" in done.stdout
    picture = (out / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and len(picture) > 20_000


def edited(cut: Checkpoint, folder: Path, **changes) -> Path:
    for file in cut.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps({**cut.config, **changes}))
    return folder


@pytest.mark.parametrize(
    "case, words",
    [
        ("absent", "is not a directory"),
        ("empty", "config.json is missing"),
        ("weightless", "no .safetensors file"),
        ("other family", "model_type"),
        ("other vocabulary", "vocab_size"),
        ("spec", "unknown_format"),
    ],
)
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
