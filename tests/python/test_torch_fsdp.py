"""FSDP2 over quantized experts, in processes of their own on gloo: shards, gradients, gathered weights."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")
PATIENCE = 240  # seconds


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: FSDP2 was not tried in several processes")
@pytest.mark.parametrize(
    "ranks, experts, spec, dtype",
    [
        (2, 8, "int8", "float32"),
        (2, 7, "nf4", "float32"),
        (2, 5, "nf4:nested", "float32"),
        (2, 7, "int8", "bfloat16"),
        (4, 5, "fp8_e4m3", "float32"),
    ],
)
def test_shards_train_as_the_whole(ranks, experts, spec, dtype, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bindings" / "python"), "OMP_NUM_THREADS": "1"}
    script = ROOT / "tests" / "python" / "torch_fsdp_rank.py"
    arguments = [str(ranks), str(experts), spec, dtype]
    children = [
        subprocess.Popen(
            [sys.executable, script, tmp_path, str(rank), *arguments],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in range(ranks)
    ]  # fmt: skip
    try:
        outputs = [child.communicate(timeout=PATIENCE)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    for rank, (child, output) in enumerate(zip(children, outputs)):
        assert child.returncode == 0 and f"rank {rank} is right" in output, output
