"""moeq doctor: whether this installation works here."""

from __future__ import annotations

import array
import importlib.metadata
import math
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import moeq

from ...names import CPU_TIERS
from ..ending import Status
from ..options import Json
from ..show.screen import console, emit, say, table

MARKS = {"ok": "green", "warn": "yellow", "fail": "bold red"}
FORMATS = ("int8", "nf4:64", "nf4:64,nested", "fp4:64", "fp8_e4m3", "fp8_e5m2", "mxfp8")
OPTIONAL = {
    "numpy": "pip install 'moeq[numpy]'",
    "ml_dtypes": "pip install 'moeq[numpy]'",
    "matplotlib": "pip install 'moeq[cli]'",
    "torch": "",
    "safetensors": "",
    "transformers": "",
    "ray": "pip install 'moeq[ray]'",
}


class Check(NamedTuple):
    """state: "ok", "warn" or "fail"; fix: what to do, where something is to be done."""

    name: str
    state: str
    found: str
    fix: str = ""


def doctor(json: Json = False) -> Status:
    """Check this installation.

    Library, processor, optional packages and a small test of what matters. Exit status 1 when something fails.

    Example: [cyan]moeq doctor[/cyan]
    """
    checks = versions()
    there = all(check.state != "fail" for check in checks)
    checks += processor() if there else []
    checks += packages()
    checks += self_tests() if there else []
    status = Status.PROBLEMS if any(check.state == "fail" for check in checks) else Status.OK
    if json:
        library = moeq.default_context().describe() if there else None
        emit({"ok": status is Status.OK, "checks": [check._asdict() for check in checks], "library": library})
    else:
        show(checks)
    return status


def show(checks: list[Check]) -> None:
    from rich.text import Text

    rows = [(Text(check.state, style=MARKS[check.state]), check.name, check.found) for check in checks]
    say(table("", [("", "left"), ("what", "left"), ("found", "left")], rows))
    for check in checks:
        if check.fix:
            say(f"{check.name}: {check.fix}")
    failed = any(check.state == "fail" for check in checks)
    verdict = "something is wrong, see above" if failed else "all is well"
    console().print(verdict, style="bold red" if failed else "bold green")


def versions() -> list[Check]:
    """Package, library and Python; one of them fails where the library cannot be used."""
    package = moeq.__version__
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    checks = [Check("python", "ok", python)]
    try:
        library = moeq.library_version()
    except moeq.LibraryNotFoundError as error:
        missing = Check("libmoeq", "fail", "; ".join(error.refused), error.hint)
        return [Check("moeq", "ok", f"package {package}"), missing, *checks]
    same = package == library
    fix = "" if same else "reinstall moeq, or correct MOEQ_LIBRARY: package and library are of two versions"
    where = " (MOEQ_LIBRARY)" if os.environ.get("MOEQ_LIBRARY") else ""
    return [
        Check("moeq", "ok" if same else "warn", f"package {package}, library {library}", fix),
        Check("libmoeq", "ok", f"{moeq.library_path}{where}"),
        *checks,
    ]


def processor() -> list[Check]:
    facts = moeq.default_context().describe()
    cpu, threads = facts.get("cpu", {}), facts.get("threads", {})
    checks = [
        Check("cpu tier", "ok", f"{cpu.get('tier')}: {cpu.get('reason')}"),
        Check("threads", "ok", f"{threads.get('limit')}, executor {threads.get('executor')}"),
    ]
    for backend, state in facts.get("backends", {}).items():
        checks.append(Check(backend, "warn" if "error" in str(state) else "ok", str(state)))
    return checks


def packages() -> list[Check]:
    checks = []
    for name, fix in OPTIONAL.items():
        try:
            checks.append(Check(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            needed = name in ("numpy", "matplotlib")
            checks.append(Check(name, "warn" if needed else "ok", "not installed", fix if needed else ""))
    return checks


def self_tests() -> list[Check]:
    return [attempt("quantize", round_trips), attempt("checkpoint", write_and_read)]


def attempt(name: str, test: Callable[[], str]) -> Check:
    try:
        return Check(f"test: {name}", "ok", test())
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Check(f"test: {name}", "fail", reason, "report this together with the table above")


def sample() -> Any:
    """[2, 64, 128] in fp32, without NumPy."""
    values = random.Random(1)
    flat = array.array("f", (values.gauss(0, 1) for _ in range(2 * 64 * 128)))
    return memoryview(flat).cast("B").cast("f", (2, 64, 128))


def round_trips() -> str:
    """Every format on every CPU tier: the same bytes as the scalar tier's, and errors as they have to be."""
    weight = sample()
    tiers = []
    for tier in CPU_TIERS[1:]:
        try:
            tiers.append((tier, moeq.Context(cpu_tier=tier)))
        except moeq.MoeqError:
            continue  # not of this chip or this build; `describe` says why
    for spec in FORMATS:
        wanted: dict[str, bytes] = {}
        for tier, context in tiers:
            with moeq.quantize(weight, spec, context=context) as q:
                got = {name: part.tobytes() for name, part in q.components.items()}
                worst = max(q.compare(weight)["rmse"])
            if not wanted:
                wanted = got
            if got != wanted:
                raise RuntimeError(f"{spec} on {tier} gives other bytes than on {tiers[0][0]}")
            if not (math.isfinite(worst) and worst < 0.2):
                raise RuntimeError(f"{spec} on {tier} has an error of {worst}")
    return f"{len(FORMATS)} formats give the same bytes on {', '.join(tier for tier, _ in tiers)}"


def write_and_read() -> str:
    """A file written and read again."""
    weight = sample()
    with tempfile.TemporaryDirectory() as folder, moeq.quantize(weight, "nf4") as q:
        path = Path(folder) / "test.safetensors"
        moeq.save(path, {"layers.0.experts.w": q, "dense": weight}, durable=False)
        with moeq.open(path) as checkpoint:
            if checkpoint.read("dense").tobytes() != bytes(weight.cast("B")):
                raise RuntimeError("a tensor that was written is read with other bytes")
            problems = checkpoint.verify()["problems"]
            if problems:
                raise RuntimeError(f"a file that was written does not verify: {problems[0]}")
        return f"wrote, read and verified {path.stat().st_size} bytes in {tempfile.gettempdir()}"
