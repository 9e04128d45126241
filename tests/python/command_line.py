"""Runs the command line for tests, and looks at what it left: statuses, documents, errors in one line."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")
pytest.importorskip("typer", reason="typer is not installed: there is no command line")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: reports cannot be drawn")

from conftest import ROOT  # noqa: E402

from moeq.cli.app import run  # noqa: E402

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def environment(**more):
    cleaned = {key: value for key, value in os.environ.items() if key not in ("MOEQ_DEBUG", "FORCE_COLOR", "COLUMNS")}
    return cleaned | {"PYTHONPATH": str(ROOT / "bindings" / "python")} | more


def command(*arguments):
    """In this process: what run() returns, and what it prints."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = run(list(map(str, arguments)))
    return subprocess.CompletedProcess(arguments, int(status), out.getvalue(), errors.getvalue())


def process(*arguments, **more):
    """The same in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "moeq", *map(str, arguments)], capture_output=True, text=True, timeout=120,
        env=environment(**more), check=False
    )  # fmt: skip


def document(done, status=0):
    """The one JSON document of a run."""
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def refused(done, status, *words):
    """One line on standard error, and nothing else."""
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("moeq: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]
