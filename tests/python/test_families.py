"""Types of transformers, one for each kind of files, through the judge: converted, loaded by from_pretrained, compared."""

import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
for _package in ("accelerate", "compressed_tensors", "safetensors", "typer"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

JUDGE = ROOT / "tests" / "python" / "families" / "judge.py"
TYPES = {
    "qwen3_moe": "a linear per expert: gate_proj, up_proj, down_proj",
    "mixtral": "a linear per expert: w1, w3, w2, below another holder than in memory",
    "hy_v3": "linears of modules that transformers renames",
    "gemma4_text": "halves of one tensor for all experts",
    "gpt_oss": "[in, out], in turns, with biases",
    "granitemoe": "input_linear, output_linear",
}


def test_what_is_made_of_every_kind_of_files_loads_right_or_is_told_of_before():
    """The judge ends with 1 where anything loads wrong, or does not verify, without a word before it is written."""
    done = subprocess.run([sys.executable, JUDGE, *TYPES], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 8 * len(TYPES), done.stdout  # two forms of the source, four ways to convert each
    native = [line for line in lines if " native " in line]
    assert len(native) == 4 * len(TYPES) and all(line.endswith(": right") for line in native), native
