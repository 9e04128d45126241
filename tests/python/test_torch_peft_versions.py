"""What is tested with PEFT, with the versions of tools/requirements/overlays, each in a process of its own."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

OVERLAYS = sorted(path.stem for path in (ROOT / "tools" / "requirements" / "overlays").glob("peft-*.txt"))
FILES = ["test_torch_peft.py", "test_peft_adapters.py"]
LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")


def test_there_are_versions():
    assert OVERLAYS == ["peft-0.19.1", "peft-0.20.0"]


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: adapters were tried with the newest PEFT only")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_adapters_train_with(overlay):
    pytest.importorskip("peft", reason="peft is not installed: there are no adapters to train")
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "setup_env.py", overlay], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"{overlay} could not be installed: {made.stderr.strip().splitlines()[-1]}")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([made.stdout.strip(), str(ROOT / "bindings" / "python")]),
        "MOEQ_TEST_PEFT": overlay.removeprefix("peft-"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *FILES]
    run = subprocess.run(
        command, cwd=ROOT / "tests" / "python", capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout.splitlines()[-1]
