#!/usr/bin/env python3
"""Makes a Python environment from a lock file, once per machine, and prints where it is.

    tools/setup_env.py build            make it if it is missing, then print its folder
    tools/setup_env.py --path build     print the folder only
    tools/setup_env.py peft-0.19.1      an overlay: other versions, to go first on the test environment's path
    tools/setup_env.py --lock           write the lock files anew (needs uv)

The lock files are tools/requirements/NAME.txt, those of overlays in tools/requirements/overlays. An environment lives
in ${XDG_CACHE_HOME:-~/.cache}/moeq/NAME-HASH, where
HASH is of the lock file and the interpreter: another clone with the same lock file finds it ready.
Only the standard library is used here, because nothing else is there yet.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
OVERLAYS = REQUIREMENTS / "overlays"
OLDEST = (3, 11)  # of the locked NumPy
NEWEST = (3, 13)  # the last one that all locked packages have wheels for
MARKER = ".complete"


def say(text):
    print(text, file=sys.stderr, flush=True)


def version_of(python):
    """(major, minor) of an interpreter, or None if it does not run."""
    script = "import sys; print(*sys.version_info[:2])"
    try:
        out = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(int(part) for part in out.stdout.split()) if out.returncode == 0 else None


def find_python():
    """The first suitable interpreter: this one, then python3 and its numbered names on PATH."""
    names = [sys.executable, "python3"] + [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for name in names:
        python = shutil.which(name)
        version = version_of(python) if python else None
        if version and OLDEST <= version <= NEWEST:
            return python, version
    oldest, newest = (".".join(map(str, v)) for v in (OLDEST, NEWEST))
    sys.exit(f"setup_env: no Python {oldest} to {newest} on PATH (this is {platform.python_version()}); install one")


def lock_of(name):
    folder = REQUIREMENTS if (REQUIREMENTS / f"{name}.txt").exists() else OVERLAYS
    return folder / f"{name}.txt"


def folder_of(name, version):
    lock = lock_of(name).read_bytes()
    key = lock + repr((version, sys.platform, platform.machine())).encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moeq"
    return cache / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"


def run(command):
    """Runs a command quietly; its output is shown only if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        say(done.stdout)
    return done.returncode == 0


def install(folder, lock, python):
    """Fills the folder with uv where it can be had, since it is ten times as fast, else with pip."""
    target = folder / "bin" / "python"
    uv = shutil.which("uv")
    if uv and run([uv, "--quiet", "venv", "--clear", "--python", python, str(folder)]):
        return run([uv, "--quiet", "pip", "install", "--python", str(target), "--requirements", str(lock)])
    if not run([python, "-m", "venv", "--clear", str(folder)]):
        say("setup_env: `python3 -m venv` does not work here (Debian: install python3-venv)")
        return False
    pip = [str(target), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", "install"]
    if subprocess.run(pip + ["uv"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        uv = folder / "bin" / "uv"
        if run([str(uv), "--quiet", "pip", "install", "--python", str(target), "--requirements", str(lock)]):
            return True
    return run(pip + ["--requirement", str(lock)])


def install_overlay(folder, lock, python):
    """Fills the folder with the packages of the lock file and nothing that they depend on, by the installer of the
    test environment or one on PATH."""
    test = folder_of("test", version_of(python)) / "bin"
    for uv in (shutil.which("uv"), test / "uv"):
        if uv and run([str(uv), "--quiet", "pip", "install", "--no-deps", "--python", python, "--target", str(folder),
                       "--requirements", str(lock)]):
            return True
    pip = [str(test / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", "install"]
    return run(pip + ["--no-deps", "--target", str(folder), "--requirement", str(lock)])


def make(name):
    lock = lock_of(name)
    fill = install if lock.parent == REQUIREMENTS else install_overlay
    python, version = find_python()
    folder = folder_of(name, version)
    if (folder / MARKER).exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # An environment cannot be moved after it is made, so it grows in its place: the lock keeps others out, and
    # the marker, written last, tells a whole one from what an interruption left behind.
    with open(folder.with_suffix(".lock"), "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if (folder / MARKER).exists():
            return folder
        say(f"setting up the Python environment '{name}' in {folder} ...")
        start = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        if not fill(folder, lock, python):
            shutil.rmtree(folder, ignore_errors=True)
            sys.exit(f"setup_env: the Python environment '{name}' could not be made; the reason stands above")
        (folder / MARKER).touch()
        say(f"... done in {time.monotonic() - start:.0f} s")
    return folder


def lock_all():
    """Writes the lock files from the .in files; what is locked already keeps its version unless the .in file forbids."""
    oldest = ".".join(map(str, OLDEST))
    for source in sorted(REQUIREMENTS.glob("*.in")):
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", oldest, "--no-header",
                   "--no-annotate", source.name, "--output-file", source.with_suffix(".txt").name]
        subprocess.run(command, cwd=REQUIREMENTS, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for folder in (REQUIREMENTS, OVERLAYS) for path in folder.glob("*.txt"))
    parser.add_argument("name", nargs="?", choices=names)
    parser.add_argument("--path", action="store_true", help="print the folder without making it")
    parser.add_argument("--lock", action="store_true", help="write the lock files anew")
    options = parser.parse_args()
    if options.lock:
        lock_all()
    elif not options.name:
        parser.error("which environment?")
    elif options.path:
        print(folder_of(options.name, find_python()[1]))
    else:
        print(make(options.name))


if __name__ == "__main__":
    main()
