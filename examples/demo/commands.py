"""Runs the command line as anybody would, each command in a process of its own, and takes its JSON."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from . import DemoError


def moeq(*arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    """What `moeq ARGUMENTS` prints; the command is shown on standard error before it runs."""
    print("$ moeq " + " ".join(shlex.quote(a) for a in arguments if a != "--json"), file=sys.stderr, flush=True)
    path = os.pathsep.join(filter(None, sys.path))
    child = subprocess.run([sys.executable, "-m", "moeq", *arguments], text=True, capture_output=True,
                           env={**os.environ, "PYTHONPATH": path})
    if child.returncode not in allowed:
        reason = (child.stderr.strip() or child.stdout.strip() or f"status {child.returncode}").splitlines()[-1]
        raise DemoError(reason.removeprefix("moeq: "), f"moeq {arguments[0]} ended with status {child.returncode}")
    return child.stdout


def moeq_json(*arguments: str, allowed: tuple[int, ...] = (0,)) -> dict:
    return json.loads(moeq(*arguments, "--json", allowed=allowed))


def quantize(model: Path, target: Path, spec: str, dialect: str) -> dict:
    """Makes TARGET and checks it: what `moeq quantize`, `verify` and `report` say."""
    made = moeq_json("quantize", str(model), str(target), "--spec", spec, "--dialect", dialect, "--no-sync")
    found = moeq_json("verify", str(target), allowed=(0, 1))
    if found["problems"]:
        raise DemoError(f"{target} does not verify: {found['problems'][0]}", "moeq verify lists all problems")
    errors = moeq_json("report", str(target), "--against", str(model))
    return {"made": made, "errors": errors["weights"]}


def error_map(weights: list[dict], sizes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares of error and of weight, fp64 [layers, experts], over all projections of an expert.

    weights: from `moeq report`. sizes: elements of one expert, by the weight's name.
    """
    layers = sorted({int(weight["name"].split(".")[2]) for weight in weights})
    experts = len(weights[0]["experts"]["rmse"])
    noise, signal = np.zeros((len(layers), experts)), np.zeros((len(layers), experts))
    for weight in weights:
        line = layers.index(int(weight["name"].split(".")[2]))
        squares = np.square(weight["experts"]["rmse"]) * sizes[weight["name"]]
        noise[line] += squares
        signal[line] += squares * 10 ** (np.array(weight["experts"]["sqnr_db"]) / 10)
    return noise, signal
