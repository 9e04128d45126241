"""tests/data/tiny-moe: transformers loads it, it has learned, and the demo's numpy forward pass computes it rightly."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/data/tiny-moe"
sys.path.insert(0, str(ROOT / "examples"))

pytest.importorskip("ml_dtypes")

from demo.checkpoint import Checkpoint  # noqa: E402
from demo.experts import StoredExperts  # noqa: E402
from demo.model import Config, Model, bits_per_byte  # noqa: E402
from demo.text import heldout_text, windows  # noqa: E402


def piece_of(name: str) -> tuple[int, int, str]:
    """Layer, expert and projection of an expert's weight."""
    match = re.fullmatch(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight", name)
    return int(match[1]), int(match[2]), match[3]


@pytest.fixture(scope="module")
def checkpoint():
    return Checkpoint(TINY)


@pytest.fixture(scope="module")
def text():
    return windows(heldout_text(TINY)[0], 16 * 256)


def test_it_is_small_sharded_and_named_as_on_the_hub(checkpoint):
    assert checkpoint.reader.file_count >= 2
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 6_000_000
    config = Config.of(checkpoint)
    wanted = {
        (layer, expert, projection)
        for layer in range(config.layers)
        for expert in range(config.experts)
        for projection in ("gate", "up", "down")
    }
    pieces = {piece_of(tensor.name): tensor.shape for tensor in checkpoint.reader.tensors if tensor.stack is not None}
    assert set(pieces) == wanted
    for (_, _, projection), (rows, columns) in pieces.items():
        narrow, wide = (columns, rows) if projection == "down" else (rows, columns)
        assert (narrow, wide) == (config.expert_width, config.hidden)


def test_it_has_learned(checkpoint, text):
    """Far better than knowing only byte or byte-pair frequencies; both figures are of the committed training run."""
    figures = json.loads((TINY / "heldout.json").read_text())["bits_per_byte"]
    measured = bits_per_byte(Model(checkpoint, StoredExperts(checkpoint)).log_probabilities(text), text)
    assert measured < 0.6 * figures["unigram"]
    assert measured < 0.75 * figures["bigram"]


def tails(matrices: list[np.ndarray]) -> tuple[float, float, float]:
    """Median and largest kurtosis, and the largest weight in standard deviations of its matrix."""
    kurtosis = [np.mean(w**4) / np.mean(w**2) ** 2 for w in matrices]
    return float(np.median(kurtosis)), max(kurtosis), max(float(np.abs(w).max() / w.std()) for w in matrices)


def test_its_weights_have_outliers(checkpoint):
    """Heavier tails than chance gives: the same judgement says no to Gaussian weights of the same shapes."""

    def heavy(median: float, largest: float, reach: float) -> bool:
        return median > 3.1 and largest > 3.4 and reach > 7.0

    weights = [
        checkpoint.read(tensor.name).astype(np.float64)
        for tensor in checkpoint.reader.tensors
        if tensor.stack is not None
    ]
    random = np.random.default_rng(1)
    assert heavy(*tails(weights))
    assert not heavy(*tails([random.standard_normal(w.shape) for w in weights]))


def test_numpy_forward_equals_transformers(checkpoint, text):
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing to compare the forward pass with")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: nothing to compare with")
    if not hasattr(transformers, "Qwen3MoeForCausalLM"):
        pytest.skip(f"transformers {transformers.__version__} has no Qwen3-MoE")
    peer, loading = transformers.Qwen3MoeForCausalLM.from_pretrained(
        TINY, dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and not loading["mismatched_keys"]
    with torch.no_grad():
        wanted = peer(input_ids=torch.from_numpy(text.astype(np.int64)), output_router_logits=False).logits.numpy()
    got = Model(checkpoint, StoredExperts(checkpoint)).logits(text)
    # Sums in another order differ in the last bits of fp32; a wrong formula differs in the first digit.
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())


def test_numpy_forward_is_causal(checkpoint, text):
    changed = text.copy()
    changed[:, 150:] = 0
    model = Model(checkpoint, StoredExperts(checkpoint))
    before, after = model.logits(text), model.logits(changed)
    np.testing.assert_allclose(after[:, :150], before[:, :150], rtol=0, atol=1e-3)
    assert np.abs(after[:, 150:] - before[:, 150:]).max() > 0.1
