"""tools/moeq: the command out of the tree, after `make`."""

import os
import shutil
import subprocess
import sys

import pytest
from command_line import environment, refused
from conftest import ROOT

import moeq

sys.path.insert(0, str(ROOT / "tools"))
import setup_env  # noqa: E402

LAUNCHER = ROOT / "tools" / "moeq"
BUILT = ROOT / "build" / "release" / "libmoeq.so"


@pytest.fixture(scope="module", autouse=True)
def made():
    if not (setup_env.folder_of("build", setup_env.find_python()[1]) / setup_env.MARKER).exists() or not BUILT.exists():
        pytest.skip("`make` has not run: there is no build environment, or no library in build/release")


def launched(launcher, *arguments, cwd, **more):
    variables = {key: value for key, value in environment().items() if key not in ("MOEQ_LIBRARY", "PYTHONPATH")}
    return subprocess.run(
        [launcher, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, cwd=cwd,
        env=variables | more
    )  # fmt: skip


def test_it_is_the_command_from_any_folder(tmp_path):
    """Even from one with modules that have the names of those that are needed; by its path, and by a link to it."""
    for name in ("moeq", "json", "typer", "setup_env"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "moeq").symlink_to(LAUNCHER)
    for launcher in (LAUNCHER, tmp_path / "bin" / "moeq", os.path.relpath(LAUNCHER, tmp_path), "bin/moeq"):
        done = launched(launcher, "--version", cwd=tmp_path)
        assert done.stdout == f"moeq {moeq.__version__} (libmoeq {moeq.library_version()})\n" and done.returncode == 0
    done = launched("moeq", "doctor", cwd=tmp_path, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0 and str(BUILT) in done.stdout


def test_its_statuses_are_those_of_the_command(model, quantized, tmp_path):
    same, other = ("diff", model[0], model[0]), ("diff", model[0], quantized)
    assert launched(LAUNCHER, *same, cwd=tmp_path).returncode == 0
    assert launched(LAUNCHER, *other, cwd=tmp_path).returncode == 1
    refused(launched(LAUNCHER, "diff", model[0], cwd=tmp_path), 2)
    refused(launched(LAUNCHER, "inspect", "nothing", cwd=tmp_path), 3, "nothing")
    refused(launched(LAUNCHER, "inspect", model[0], cwd=tmp_path, MOEQ_LIBRARY="/none.so"), 4, "/none.so")
    done = launched(LAUNCHER, "quantize", model[0], "out", "-f", "int8", "--no-sync", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "out" / "config.json").exists()


def test_before_make(tmp_path):
    """What is not there yet is named, and what makes it."""
    shutil.copytree(ROOT / "tools", tmp_path / "tree" / "tools")
    launcher = tmp_path / "tree" / "tools" / "moeq"
    refused(launched(launcher, "doctor", cwd=tmp_path), 4, "libmoeq.so is not there (make, in ", str(tmp_path / "tree"))
    refused(launched(launcher, "doctor", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path)), 4, "environment", "(make, in ")


def test_make_says_where_it_is():
    done = subprocess.run(["make", "-n", "all"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "tools/moeq" in done.stdout
