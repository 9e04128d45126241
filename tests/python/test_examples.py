"""The examples in Python run and print what tests/examples/expected holds. (Those in C and C++ are tests of CTest.)"""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))
EXPECTED = ROOT / "tests" / "examples" / "expected"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    pytest.importorskip("ml_dtypes")
    if path.stem.startswith("transformers_"):
        pytest.importorskip("transformers", reason="transformers is not installed: its example cannot run")
    if path.stem in ("transformers_finetune", "transformers_fsdp"):
        pytest.importorskip("peft", reason="peft is not installed: its example cannot run")
    if path.stem == "transformers_linears":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: its example cannot run")
    if path.stem.startswith(("torch_", "transformers_")):
        pytest.importorskip("torch", reason="torch is not installed: its example cannot run")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bindings" / "python")}
    run = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, env=environment, timeout=180, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == (EXPECTED / f"{path.stem}.txt").read_text(encoding="utf-8")
    if not path.stem.startswith("transformers_"):  # it imports packages that torch has warnings about
        assert run.stderr == ""


def test_every_expectation_has_its_example():
    names = {path.stem for folder in ("c", "cpp", "python") for path in (ROOT / "examples" / folder).glob("*.*")}
    assert len(EXAMPLES) >= 4
    assert {path.stem for path in EXPECTED.glob("*.txt")} == names - {"common"}
