"""moeq.distributed, DistributedDataParallel, FSDP2 and accelerate's preparation, in processes on gloo.

The cases are in distributed_cases.py, the processes in torch_distributed_ranks.py: one start for all of them.
"""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

PATIENCE = 300  # seconds, for all
CASES = [
    ("two", "ddp"), ("two", "broadcast"), ("two", "structure"), ("two", "sharded"), ("two", "state_dicts"),
    ("two", "files"), ("two", "ranks_fail"), ("four", "ddp"), ("four", "broadcast"), ("four", "sharded"),
    ("four", "state_dicts"), ("four", "mesh"), ("accelerate", "accelerate"), ("efficient", "accelerate_efficient"),
    ("efficient formats", "accelerate_other_formats"), ("unprepared", "accelerate_unprepared"),
    ("transformers", "from_pretrained"), ("memory", "memory"), ("trainer", "trainer"), ("trainer fsdp", "trainer_fsdp"),
    ("torch", "torchs_own_broadcast"),
    ("formats", "ddp_other_formats"), ("late", "rank_does_not_come"),
]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    for name in ("torch", "transformers", "peft", "accelerate"):
        pytest.importorskip(name, reason=f"{name} is not installed: moeq.distributed was not tried in processes")
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bindings" / "python"), "OMP_NUM_THREADS": "1"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    script = ROOT / "tests" / "python" / "torch_distributed_ranks.py"
    done = subprocess.run(
        [sys.executable, script, folder], env=environment, text=True, timeout=PATIENCE, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("group, case", CASES, ids=["-".join(one) for one in CASES])
def test_ranks(results, group, case):
    for rank, result in enumerate(results[group]):
        assert result.get(case) == "right", f"rank {rank}: {result.get(case)}\n{result['output']}"
        assert result["code"] == 0


@pytest.mark.parametrize(
    "group, case", [("killed", "rank_is_killed"), ("killed later", "rank_is_killed_while_sending")]
)
def test_others_end_when_a_rank_is_killed(results, group, case):
    *others, killed = results[group]
    assert killed["code"] == -9 and others
    for rank, result in enumerate(others):
        assert result.get(case) == "right", f"rank {rank}: {result}"
        assert result[f"{case} seconds"] < 20  # the group's timeout is 60


@pytest.mark.parametrize("group, case", [("unprepared", "accelerate_unprepared"), ("torch", "torchs_own_broadcast")])
def test_others_end_when_a_rank_ends(results, group, case):
    """The rank that refuses says why, and ends; who waits for it ends with it, long before the group's timeout of 60."""
    seconds = [result[f"{case} seconds"] for result in results[group]]
    assert len(seconds) == 2 and max(seconds) - min(seconds) < 20, seconds


def test_every_case_was_run(results):
    run = [(group, case) for group, ranks in results.items() for case in ranks[0] if is_case(case)]
    killed = [("killed", "rank_is_killed"), ("killed later", "rank_is_killed_while_sending")]
    assert sorted(run) == sorted([*CASES, *killed])


def is_case(name):
    return name not in ("code", "seconds", "output") and not name.endswith(" seconds")
