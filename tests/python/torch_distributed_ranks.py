"""The processes of test_torch_distributed.py: imports once, then forks the ranks of one group of cases after another.

torch_distributed_ranks.py FOLDER GROUP... writes FOLDER/results.json: {group: [{"case": "right" or what was raised,
"code": exit status, "seconds": until it ended}, ... of each rank]}
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import distributed_cases
import torch
import torch._dynamo  # for what optimizers import when they are made
from torch import distributed

PATIENCE = 100  # seconds for a group
GROUPS = {
    "two": (2, ["ddp", "broadcast", "structure", "sharded", "state_dicts", "files", "ranks_fail"]),
    "four": (4, ["ddp", "broadcast", "sharded", "state_dicts", "mesh"]),
    "accelerate": (2, ["accelerate"]),
    "efficient": (2, ["accelerate_efficient"]),
    "efficient formats": (2, ["accelerate_other_formats"]),
    "unprepared": (2, ["accelerate_unprepared"]),
    "transformers": (2, ["from_pretrained"]),
    "torch": (2, ["torchs_own_broadcast"]),
    "memory": (2, ["memory"]),
    "trainer": (2, ["trainer"]),
    "trainer fsdp": (2, ["trainer_fsdp"]),
    "formats": (3, ["ddp_other_formats"]),
    "killed": (4, ["rank_is_killed"]),
    "killed later": (2, ["rank_is_killed_while_sending"]),
    "late": (2, ["rank_does_not_come"]),
}
LEFT_ALONE = ("unprepared", "torch", "killed", "killed later")  # some rank waits until another ends


def rank_main(group, rank, ranks, cases, folder):
    """In the child."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with its parent
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    output = open(folder / f"{group}-{rank}.txt", "w", buffering=1)  # noqa: SIM115
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    # Torch's thread pool did not come along, and is made anew when first used: here, as two threads of autograd that do so at
    # once end the process ("Invalid thread pool").
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/{group}-store", rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    results = {}
    for case in cases:
        began = time.monotonic()
        try:
            getattr(distributed_cases, case)(rank, ranks, folder)
            results[case] = "right"
        except BaseException:
            results[case] = traceback.format_exc()
        results[f"{case} seconds"] = time.monotonic() - began
        (folder / f"{group}-{rank}.json").write_text(json.dumps(results))
        if results[case] != "right":
            os._exit(1)
    if group not in LEFT_ALONE:
        wait_for_others(folder, group, rank, ranks)
    os._exit(0)


def wait_for_others(folder, group, rank, ranks):
    """Connections that close may take the end of another rank's last collective with them."""
    (folder / f"{group}-{rank}.done").touch()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not all((folder / f"{group}-{one}.done").exists() for one in range(ranks)):
        time.sleep(0.01)


def run_group(group, folder):
    ranks, cases = GROUPS[group]
    children = {}
    began, found = time.monotonic(), [{"code": None} for _ in range(ranks)]
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            try:
                rank_main(group, rank, ranks, cases, folder)
            finally:
                os._exit(3)
        children[child] = rank
    try:
        while children and time.monotonic() < began + PATIENCE:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child in children:
                code = os.waitstatus_to_exitcode(status)
                found[children.pop(child)].update(code=code, seconds=time.monotonic() - began)
            time.sleep(0.02)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    for rank, result in enumerate(found):
        written = folder / f"{group}-{rank}.json"
        result.update(json.loads(written.read_text()) if written.exists() else {})
        output = folder / f"{group}-{rank}.txt"
        result["output"] = output.read_text()[-4000:] if output.exists() else ""
    return found


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    distributed_cases.adapted(distributed_cases.moe())  # what it imports, once for all
    results = {group: run_group(group, folder) for group in sys.argv[2:] or GROUPS}
    (folder / "results.json").write_text(json.dumps(results))


main()
