"""The environment that tools/run_tests.py gives to tests."""

import os
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from clean_environment import clean_environment, is_kept  # noqa: E402

# What pytest and the packages that tests import set, or conftest.py, or a shell between the runner and us.
OWN = {"PYTEST_CURRENT_TEST", "PYTEST_VERSION", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
OF_RUNNER = {"HYPOTHESIS_STORAGE_DIRECTORY", "MOEQ_TEST_LONG", "MOEQ_LIBRARY", "MOEQ_LIB_DIR", "MOEQ_INCLUDE_DIR",
             "PYTHONPATH"}  # fmt: skip


def test_what_is_kept_of_an_environment():
    kept = {"HOME": "/h", "LANG": "de_DE.UTF-8", "HTTPS_PROXY": "p", "PIP_CERT": "c", "CARGO_HOME": "/r"}
    lost = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "/p", "MOEQ_CPU_TIER": "scalar", "COLUMNS": "80", "LC_ALL": "C"}
    given = {**kept, **lost, "PATH": "/bin"}
    made = clean_environment(given, MORE=3)
    assert made.pop("PATH").split(os.pathsep) == [os.path.join(sys.prefix, "bin"), "/bin"]
    assert made == {**kept, "MORE": "3"}
    assert set(clean_environment({})) == {"LANG", "PATH"}


def test_tests_run_in_such_an_environment():
    with open("/proc/self/environ", "rb") as file:  # as it was when this process began
        names = {entry.partition(b"=")[0].decode() for entry in file.read().split(b"\0") if entry}
    if "MOEQ_TEST_LONG" not in names:
        pytest.skip("not started by tools/run_tests.py")
    assert {name for name in names if not is_kept(name)} - OWN - OF_RUNNER == set()
