"""The command line: what files, pipes and terminals of any width get; Ctrl-C, and going on afterwards."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkpoints import tree, write_model, write_safetensors
from command_line import CONTROL, command, environment, process

import moeq


def test_no_control_characters_outside_of_terminals(model, quantized, tmp_path):
    for arguments in (
        ("inspect", model[0]), ("plan", model[0], "-f", "nf4"), ("quantize", model[0], tmp_path / "o", "-f", "int8"),
        ("verify", quantized), ("diff", model[0], quantized), ("report", quantized), ("doctor",), ("--help",),
    ):  # fmt: skip
        done = process(*arguments)
        assert not CONTROL.search(done.stdout) and not CONTROL.search(done.stderr), arguments
        assert not any(line.endswith(" ") for line in done.stdout.splitlines()) or arguments == ("--help",)


def test_names_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"evil\x1b[2J\r": np.zeros(2, np.float32)})
    for more in ((), ("--all",)):
        done = command("inspect", path, *more)
        assert done.returncode in (0, 3) and not CONTROL.search(done.stdout)


def test_a_closed_pipe_ends_quietly(model):
    late = "import time; time.sleep(1); from moeq.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", late, "inspect", model[0], "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())  # fmt: skip
    child.stdout.close()
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 141 and errors == b""


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--help"], ["doctor"], ["inspect", "nothing", "--json"]])
def test_a_pipe_that_nobody_reads(arguments):
    """Closed at the other end before a byte is written, for output of typer's and of moeq's own."""
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.run(
        [sys.executable, "-m", "moeq", *arguments], stdout=writing, stderr=subprocess.PIPE, env=environment()
    )
    os.close(writing)
    assert child.returncode == 141
    assert all(line.startswith(b"moeq: ") for line in child.stderr.splitlines())


COMMANDS = ("inspect", "plan", "quantize", "convert", "verify", "diff", "report", "bench", "doctor")
UNWRITABLE = {">/dev/full": "No space left on device", ">&-": "Bad file descriptor"}


def with_streams(arguments, streams, **more):
    """A process whose streams a shell puts elsewhere; with a buffer for its output unless PYTHONUNBUFFERED is given."""
    variables = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"} | more
    script = f'exec "$@" {streams}'
    line = ["sh", "-c", script, "sh", sys.executable, "-m", "moeq", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=variables, check=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("streams", UNWRITABLE)
@pytest.mark.parametrize("name", [*COMMANDS, "--help", "--version"])
def test_output_that_cannot_be_written(model, quantized, tmp_path, name, streams):
    """One line and one status, for every command, with and without --json, whether Python buffers or not."""
    arguments = {
        "inspect": (model[0],), "plan": (model[0], "-f", "nf4"), "verify": (quantized,), "report": (quantized,),
        "quantize": (model[0], tmp_path / "o", "-f", "int8"), "diff": (model[0], quantized),
        "convert": (quantized, tmp_path / "o", "--dialect", "native"),
        "bench": ("--megabytes=16", "--seconds=0.01", "-f", "int8"),
    }.get(name, ())  # fmt: skip
    for more in ((), ("--json",)) if name[0] != "-" else ((),):
        shutil.rmtree(tmp_path / "o", ignore_errors=True)
        # Turn and turn about, as each is a process.
        unbuffered = {"PYTHONUNBUFFERED": "1"} if bool(more) == (streams == ">&-") else {}
        done = with_streams((name, *arguments, *more), streams, **unbuffered)
        lines = [line for line in done.stderr.splitlines() if name != "bench" or line.startswith("moeq:")]
        assert (done.returncode, lines) == (4, [f"moeq: standard output: {UNWRITABLE[streams]}"])
        assert (tmp_path / "o").exists() == (name in ("quantize", "convert"))  # what was done stays


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_large_output_that_cannot_be_written(tmp_path, unbuffered):
    """More than a buffer holds, so that it is not the end that finds out."""
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {f"tensor{chr(97 + at % 26)}.{'x' * at}": np.zeros(2, np.float32) for at in range(200)})
    for more in ("--all", "--json"):
        done = with_streams(("inspect", path, more), ">/dev/full", PYTHONUNBUFFERED=unbuffered)
        assert (done.returncode, done.stderr) == (4, "moeq: standard output: No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_errors_that_cannot_be_written(model, quantized, tmp_path):
    """The status is what it would be, and no work is lost for the sake of a note."""
    for streams in ("2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"):
        done = with_streams(("inspect", tmp_path / "nothing"), streams)
        assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
        done = with_streams(("inspect", tmp_path / "nothing", "--json"), streams, MOEQ_DEBUG="1")
        assert (done.returncode, done.stderr) == (3, "")
        assert not done.stdout or json.loads(done.stdout)["error"]["status"] == 3
    arguments = ("convert", quantized, tmp_path / "out", "--dialect", "bitsandbytes")
    done = with_streams(arguments, "2>/dev/full")  # there would be a note
    assert done.returncode == 0 and "wrote" in done.stdout and (tmp_path / "out").exists()


def test_nothing_to_write_is_written_anywhere(model, quantized, tmp_path):
    """A closed standard output is no fault while there is nothing for it, and no file gets its descriptor."""
    done = with_streams(("verify", quantized, "-q"), ">&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = with_streams(("quantize", model[0], tmp_path / "out", "-f", "nf4", "-q"), "<&- >&- 2>&-")
    assert done.returncode == 0
    moeq.convert(model[0], tmp_path / "same", spec="nf4", durable=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "same")


@pytest.mark.parametrize("name", ["inspect", "plan", "quantize", "verify", "report", "diff", "help", "missing"])
def test_encodings_without_unicode(model, quantized, tmp_path, name):
    arguments = {
        "plan": ("plan", model[0], "-f", "nf4", "--units"), "diff": ("diff", model[0], quantized),
        "quantize": ("quantize", model[0], tmp_path / "o", "-f", "fp8_e4m3:block128x128", "--dialect", "hf-fp8"),
        "help": ("quantize", "--help"), "missing": ("inspect", tmp_path / "n\u00f6\u00d7"),
    }.get(name, (name, quantized))  # fmt: skip
    done = process(*arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == {"diff": 1, "missing": 3}.get(name, 0), done.stderr
    assert (done.stdout + done.stderr).isascii() and "Traceback" not in done.stderr
    if name == "inspect":
        assert re.search(r"4x64x64\b", done.stdout)


def test_interrupted_while_packages_load(model):
    """Inside of the program's own main(), before there is a command."""
    script = (
        "import builtins, os, signal, moeq.cli\n"
        "plain = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return plain(name, *rest)\n"
        "builtins.__import__ = slow\n"
        "moeq.cli.main()\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, "inspect", model[0]], capture_output=True, env=environment(), check=False
    )
    assert (child.returncode, child.stdout, child.stderr) == (130, b"", b"moeq: interrupted\n")


def big_model(folder):
    """Enough work to be interrupted: a hundred megabytes in many units."""
    folder.mkdir()
    write_model(folder, layers=24, experts=4, hidden=1024, width=192)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_then_resumed(tmp_path, number):
    source, target = big_model(tmp_path / "model"), tmp_path / "out"
    partial = tmp_path / "out.partial"
    arguments = [sys.executable, "-m", "moeq", "quantize", str(source), str(target), "-f", "nf4:64,nested"]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    deadline = time.monotonic() + 60
    while len(list(partial.glob("*.safetensors")) if partial.exists() else []) < 3 and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    child.send_signal(number)
    out, errors = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("it was done before it was interrupted")
    assert child.returncode == 130 and out == ""
    assert errors.splitlines()[-1].startswith("moeq: interrupted; ") and "the same command" in errors
    assert not target.exists() and partial.exists()
    done = command("quantize", source, target, "-f", "nf4:64,nested")
    assert done.returncode == 0 and "going on with" in done.stderr and not partial.exists()
    moeq.convert(source, tmp_path / "same", spec="nf4:64,nested", durable=False)
    assert tree(target) == tree(tmp_path / "same")


def on_terminal(columns, *arguments, errors_only=False):
    """Exit status, and the lines that a terminal of that width gets, without colours."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "moeq", *map(str, arguments)],
        stdout=subprocess.PIPE if errors_only else follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", COLUMNS=str(columns)),
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    child.communicate(timeout=60)
    os.close(leader)
    return child.returncode, re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().splitlines()


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_gets_a_bar(model, tmp_path, columns):
    arguments = ("quantize", model[0], tmp_path / "out", "-f", "nf4")
    status, lines = on_terminal(columns, *arguments, errors_only=True)
    assert status == 0
    lines = [line for line in lines if " of " in line]
    assert lines and all(re.search(r"%.* of .*B .*/s", line) for line in lines), lines  # all figures on one line


@pytest.mark.parametrize("columns", [30, 40, 60, 80])
def test_narrow_terminals_get_all_numbers_and_names(model, quantized, columns):
    for arguments in (("inspect", model[0]), ("plan", model[0], "-f", "nf4", "--units"), ("diff", model[0], quantized)):
        status, lines = on_terminal(columns, *arguments)
        want = command(*arguments)
        assert status == want.returncode
        words = {word for line in lines for word in line.split()}
        begins = "".join(line.split()[0] for line in lines if line.strip())  # folded names, in one again
        for line in want.stdout.splitlines():
            cells = re.split(" {2,}", line.strip())
            if len(cells) > 3 and re.fullmatch(r"[\w.*]+\.[\w.*]+", cells[0]):
                assert cells[0] in begins, (columns, cells)
                for cell in cells[1:]:
                    assert not re.fullmatch(r"[-\d.,×]+", cell) or cell in words, (columns, cells)
