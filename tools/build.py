#!/usr/bin/env python3
"""Configures and builds one preset of CMakePresets.json in build/PRESET.

    tools/build.py release [--target moeq] [--jobs N]

CMake, Ninja and dlpack.h come from the Python environment it runs in, which is the build environment of tools/setup_env.py
unless the interpreter it was started with has what is needed.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import setup_env

ROOT = Path(__file__).resolve().parent.parent


def enter_environment():
    """Goes on in the build environment, made if it is missing, unless this interpreter has dlpack.h itself."""
    if importlib.util.find_spec("tvm_ffi") is None:
        python = str(setup_env.make("build") / "bin" / "python")
        os.execv(python, [python, *sys.argv])


def environment():
    """The variables to run tools with: those of this Python's environment come first on PATH."""
    variables = dict(os.environ)
    variables["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), variables.get("PATH", "")])
    return variables


def configure_command(preset):
    """Paths into the environment are given each time: the cache of an older environment may name files that are gone."""
    command = ["cmake", "--preset", preset, f"-DMOEQ_PYTHON={sys.executable}"]
    ninja = Path(sys.prefix) / "bin" / "ninja"
    return command + ([f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja.exists() else [])


def build_command(preset, jobs, target="all"):
    return ["cmake", "--build", "--preset", preset, "--parallel", str(jobs), "--target", target]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--target", default="all", help="what to build, such as moeq: the library alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    enter_environment()
    configured = subprocess.run(configure_command(options.preset), cwd=ROOT, env=environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if configured.returncode != 0:
        sys.exit(configured.stdout)
    command = build_command(options.preset, options.jobs, options.target)
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment()).returncode)


if __name__ == "__main__":
    main()
