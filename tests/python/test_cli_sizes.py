"""The command line: checkpoints of very many tensors, in bounded time and memory, from headers alone.

`pytest -s` prints the figures. A limit by the clock is for `make test-all`: elsewhere the machine may do other things,
and processor time has to do.
"""

import json
import os
import random
import subprocess
import sys

import pytest
from checkpoints import write_safetensors
from command_line import command, document, environment
from sparse import deepseek_v3, write_sparse

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")
TRIES = 3 if LONG else 1
TENSORS, SHARDS = 91989, 160
UNLIKE = 200_000
PEAK_MB = 300

# A small process starts the other one: a child's peak memory begins with that of its parent, which here may be large.
STARTER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
with open(sys.argv[1], "wb") as out:
    status = subprocess.run(sys.argv[2:], stdout=out, check=False).returncode
took, usage = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
"""


def measured(out, *arguments):
    """Runs a command into a file: seconds by the clock and of processors, peak in MB, the least of some tries."""
    tries = []
    for _ in range(TRIES):
        line = [sys.executable, "-c", STARTER, out, sys.executable, "-m", "moeq", *arguments]
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True, env=environment(), check=True)
        status, *figures = json.loads(done.stdout)
        assert status == 0, done.stderr
        tries.append(figures)
    clock, processor, peak = map(min, zip(*tries))
    print(f"\n{' '.join(map(str, arguments))}: {clock:.2f} s, of processors {processor:.2f} s, peak {peak:.0f} MB")
    return clock, processor, peak


@pytest.fixture(scope="module")
def unlike(tmp_path_factory):
    """Names that have nothing in common."""
    path, letters = tmp_path_factory.mktemp("unlike") / "unlike.safetensors", random.Random(1)
    names = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=20)) for _ in range(UNLIKE)]
    write_safetensors(path, dict.fromkeys(names, ("F32", (1,), b"0000")))
    return path, names


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large") / "DeepSeek-V3"
    assert write_sparse(folder, *deepseek_v3()) == (TENSORS, SHARDS)
    return folder


def test_a_table_has_a_bounded_number_of_lines(unlike, tmp_path):
    out = tmp_path / "out"
    _, seconds, peak = measured(out, "inspect", unlike[0])
    assert seconds < 15 and peak < PEAK_MB
    lines = out.read_text().splitlines()
    assert len(lines) < 220 and f"{UNLIKE} tensors" in lines[1]
    assert lines[-2] == "... and 199,800 more kinds of names, 799.20 kB; --json has all"
    shown = [line.split()[0] for line in lines if line.endswith(" fp32  4")]
    assert shown == unlike[1][:200]


def test_a_plan_of_unlike_names(unlike, tmp_path):
    out = tmp_path / "out"
    _, seconds, peak = measured(out, "plan", unlike[0])
    assert seconds < 15 and peak < 2 * PEAK_MB
    lines = out.read_text().splitlines()
    assert len(lines) < 240 and "... and 199,800 more kinds of names; --json has all" in lines


@pytest.mark.parametrize("option", ["--json", "--all"])
def test_what_has_all_is_written_while_it_is_made(unlike, tmp_path, option):
    out = tmp_path / "out"
    _, seconds, peak = measured(out, "inspect", unlike[0], option)
    assert seconds < 15 and peak < PEAK_MB
    if option == "--json":
        assert [tensor["name"] for tensor in json.loads(out.read_text())["tensors"]] == unlike[1]
    else:
        assert [line.split()[0] for line in out.read_text().splitlines()[-UNLIKE:]] == unlike[1]


LINES = ("inspect", "inspect --json", "plan -f nf4", "plan -f fp8_e4m3 --dialect hf-fp8 --json")


@pytest.mark.parametrize("line", LINES)
def test_headers_of_a_large_model(large, tmp_path, line):
    name, *options = line.split()
    _, seconds, peak = measured(tmp_path / "out", name, large, *options)
    text = (tmp_path / "out").read_text()
    # Of processors: on a clock a busy machine would be told from an idle one, not a slow command from a quick one.
    assert seconds < (3 if LONG else 15) and peak < PEAK_MB
    if line == "inspect":
        assert f"{TENSORS} tensors and {SHARDS} files; 59 layers with 256 experts" in text
    elif line == "plan -f nf4":
        assert "59/59 layers, 15104/15104 experts" in text
    else:
        assert json.loads(text)


def test_linears_are_listed_by_themselves(large):
    """Quantized weights that are not of experts are no experts, and their layers none of theirs."""
    lines = command("inspect", large).stdout.splitlines()
    at = lines.index("Other quantized weights")
    experts, others = lines[:at], lines[at:]
    assert [line.split()[:3] for line in experts if line.startswith(" mlp")] == [
        ["mlp.experts.gate_up_proj", "3-61", "256×4096×7168"], ["mlp.experts.down_proj", "3-61", "256×7168×2048"]
    ]  # fmt: skip
    line = "self_attn.o_proj.weight 0-61 7168×16384 fp8_e4m3:block128x128 7.28"
    assert line.split() in [line.split() for line in others]
    assert not any("o_proj" in line for line in experts)


def test_documents_that_are_streamed_are_documents(model, tmp_path):
    facts = document(command("inspect", model[0], "--json"))
    assert [tensor["index"] for tensor in facts["tensors"]] == list(range(len(model[1])))
    write_safetensors(tmp_path / "none.safetensors", {})
    facts = document(command("inspect", tmp_path / "none.safetensors", "--json"))
    assert facts["tensors"] == [] and facts["stacks"] == [] and "metadata" in facts
