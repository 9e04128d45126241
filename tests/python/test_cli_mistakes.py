"""The command line: mistakes and bad input in one line with a hint, with their exit statuses, and without a library."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from command_line import CONTROL, command, document, environment, process, refused
from conftest import ROOT

import moeq
from moeq.cli.app import run


def test_mistakes_on_the_command_line(model, tmp_path):
    out = tmp_path / "out"
    refused(process("quantise"), 2, "quantise", "quantize")
    refused(command("quantise"), 2, "quantise", "quantize")
    refused(command("quantize", model[0]), 2, "TARGET")
    refused(command("quantize", model[0], out), 2, "--spec")
    refused(command("quantize", model[0], out, "-f", "nf5"), 2, "--spec: got", "nf5")
    refused(command("quantize", model[0], out, "-f", "nf4", "--dialect", "gguf"), 2, "gguf", "bitsandbytes")
    refused(command("quantize", model[0], out, "-f", "nf4", "--rule", "x"), 2, "--rule", "GLOB=SPEC")
    refused(command("quantize", model[0], out, "-f", "nf4", "--rule", "x=nf5"), 2, "--rule: got", "nf5")
    refused(command("quantize", model[0], out, "-f", "nf4", "--only", "nothing"), 2, "--only", "nothing")
    refused(command("quantize", model[0], out, "-f", "nf4", "--engine", "x"), 2, "--engine")
    for units in ("a", "3:1", "-1:2", "900:901"):
        refused(command("quantize", model[0], out, "-f", "nf4", f"--units={units}"), 2, "--units")
    refused(command("report", model[0], "--html"), 2, "--out")
    for limit in ("nan", "-1"):
        refused(command("verify", model[0], f"--max-error={limit}"), 2, "--max-error: got", "wanted 0 or more")
    refused(command("quantize", model[0], out, "-f", "nf4", "--skip", "**"), 2, "--skip '**'")
    both = ("--only", "**.down_proj", "--skip", "**.down_proj")
    refused(command("quantize", model[0], out, "-f", "nf4", *both), 2, "--skip '**.down_proj'", "--only")
    refused(command("quantize", model[0], out, "-f", "nf4", "--skip", ""), 2, "--skip")
    assert document(command("quantize", model[0], out, "--json"), 2)["error"]["message"].startswith("--spec: got none")
    assert document(command("quantize", "--nonsense", "--json"), 2)["error"]["status"] == 2
    assert list(tmp_path.iterdir()) == []


def test_bad_input(model, tmp_path):
    refused(process("inspect", tmp_path / "nothing"), 3, "nothing")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    refused(command("inspect", tmp_path / "bad.safetensors"), 3, "bad.safetensors")
    failed = command("inspect", tmp_path / "bad.safetensors", "--json")
    error = document(failed, 3)["error"]
    assert error["status"] == 3 and "bad.safetensors" in error["message"] and error["message"] in failed.stderr
    refused(command("diff", model[0], tmp_path / "nothing"), 3)
    refused(command("inspect", model[0], "--patterns", tmp_path / "nothing"), 3)
    refused(command("inspect", model[0] / "model.safetensors.index.json"), 3, "is no checkpoint", str(model[0]))
    refused(command("report", model[0], "-o", tmp_path / "bad.safetensors"), 2, "is no folder")
    odd = tmp_path / "new\nline\x1b[31m"
    assert not CONTROL.search(refused(command("inspect", odd), 3).replace("\n", ""))


def test_words_that_are_nearly_right(model):
    source = model[0]
    refused(command("plan", source, "--format", "nf3"), 2, "--spec: got", "int8, nf4, fp4", "did you mean nf4?")
    refused(command("plan", source, "-f", "fp8"), 2, "did you mean fp8_e4m3?")
    refused(command("plan", source, "--dialect", "bnb"), 2, "--dialect: got", "hf-fp8", "did you mean bitsandbytes?")
    assert "did you mean" not in refused(command("plan", source, "--dialect", "zip"), 2, "native, bitsandbytes")


def test_messages_are_in_words_of_the_command_line(model, quantized, tmp_path):
    source, out = model[0], tmp_path / "out"
    lines = [
        refused(command("plan", source, "-f", "nf4:scale=factor"), 2, "--spec: got scale=factor with nf4"),
        refused(command("plan", source, "-f", "int8:nested"), 2, "--spec: got nested with int8; only NF4 and FP4"),
        refused(command("plan", source, "-f", "nf4:layout=gate_up"), 2, "--spec: ", "come from the checkpoint"),
        refused(command("quantize", source, out, "-f", "nf4", "--dialect", "hf-fp8"), 2, "-f fp8_e4m3:block128x128 "),
        refused(command("convert", quantized, out, "--dialect", "compressed-tensors"), 2,
                "-f int8:scale=factor --allow-lossy", "--dialect native"),
    ]  # fmt: skip
    assert command("quantize", source, out, "-f", "nf4", "--units=0").returncode == 0
    lines.append(refused(command("quantize", source, out, "-f", "nf4", "--units=1", "--finish", "-q"), 3, "--units"))
    lines.append(refused(command("verify", f"{out}.partial"), 3, "not finished", "(the command that began it"))
    assert not any(word in line for line in lines for word in ("MOEQ_", "options", "download"))


def test_patterns_that_are_none(model, tmp_path):
    file = tmp_path / "patterns.json"
    for text in (b"{bad", b"[", b"7", b'[{"match": 3}]', b'[{"match": "x", "stack": "y", "z": 1}]', b"\xff", b""):
        file.write_bytes(text)
        for arguments in (("inspect", model[0]), ("plan", model[0], "-f", "nf4"), ("verify", model[0])):
            refused(command(*arguments, "--patterns", file), 2, "--patterns: ", " (")


def test_globs_that_name_nothing_are_told_as_they_were_given(model):
    arguments = ("plan", model[0], "-f", "nf4", "--only", "**.down_proj", "--skip", "model.layers.0.**")
    done = command(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    assert "not named by --only" in done.stdout
    assert document(command(*arguments, "--json"))["unused_rules"] == []
    exact = ("--only", "**.down_proj", "--skip", "model.layers.0.mlp.experts.gate_up_proj")
    assert command("plan", model[0], "-f", "nf4", *exact).stderr == ""
    more = ("--only", "nope", "--skip", "no.such", "--rule", "model.layers.0.mlp.gate.weight=int8")
    assert command(*arguments, *more).stderr.splitlines() == [
        "note: --skip 'no.such' names no expert weight and no matrix",
        "note: --rule 'model.layers.0.mlp.gate.weight' has no effect: options before it have all that it names",
        "note: --only 'nope' names no expert weight",
    ]


def test_quantizing_anew_is_told(quantized, tmp_path):
    done = command("quantize", quantized, tmp_path / "anew", "-f", "int8")
    assert done.returncode == 0
    assert "note: quantized anew: 4 weights from nf4 to int8; " in done.stderr
    facts = document(command("quantize", quantized, tmp_path / "json", "-f", "int8", "--json"))
    assert facts["requantized"] == [{"from": "nf4", "to": "int8", "stacks": 4}]
    done = command("quantize", quantized, tmp_path / "same", "-f", "nf4")
    assert done.returncode == 0 and "note: quantized already, and kept: 4 weights, nf4" in done.stderr


@pytest.mark.parametrize("library", ["/nowhere/libmoeq.so", "libc.so.6", "text"])
def test_without_a_library(model, tmp_path, library):
    if library == "text":
        (tmp_path / library).write_text("no library")
        library = str(tmp_path / library)
    there = {"MOEQ_LIBRARY": library}
    refused(process("inspect", model[0], **there), 4, library, "MOEQ_LIBRARY is set")
    done = process("doctor", **there)
    assert done.returncode == 1 and done.stderr == "" and re.search(rf"fail +libmoeq +{library}", done.stdout)


def test_what_works_without_a_library(model, tmp_path):
    there = {"MOEQ_LIBRARY": str(tmp_path / "none.so")}
    refused(process("quantize", model[0], tmp_path / "out", "-f", "nf4", **there), 4, "none.so")
    assert document(process("inspect", model[0], "--json", **there), 4)["error"]["status"] == 4
    helped = process("quantize", "--help", **there)
    assert helped.returncode == 0 and helped.stderr == "" and "--dialect" in helped.stdout
    assert process("--version", **there).stdout.startswith(f"moeq {moeq.__version__} (no libmoeq")
    checks = document(process("doctor", "--json", **there), 1)["checks"]
    assert [check["name"] for check in checks if check["state"] == "fail"] == ["libmoeq"]


def test_installed_beside_its_library(model, tmp_path):
    """As a wheel lies: the library in the package, and a script that calls what pyproject.toml says."""
    place = tmp_path / "site"
    shutil.copytree(ROOT / "bindings" / "python" / "moeq", place / "moeq", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "moeq" / "_lib").mkdir()
    shutil.copy(pathlib.Path(moeq.library_path).resolve(), place / "moeq" / "_lib" / "libmoeq.so.1")
    project = (ROOT / "bindings" / "python" / "pyproject.toml").read_text()
    module, function = re.search(r'^moeq = "([\w.]+):(\w+)"', project, re.MULTILINE).groups()
    script = tmp_path / "moeq"
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    variables = {key: value for key, value in environment().items() if key != "MOEQ_LIBRARY"}

    def installed(*arguments):
        return subprocess.run(
            [sys.executable, script, *arguments], capture_output=True, text=True, timeout=120, check=False,
            env=variables | {"PYTHONPATH": str(place)}, cwd=tmp_path
        )  # fmt: skip

    done = installed("quantize", model[0], "out", "-f", "nf4", "--no-sync")
    assert done.returncode == 0 and "wrote out" in done.stdout, done.stderr
    assert str(place / "moeq" / "_lib" / "libmoeq.so.1") in installed("doctor").stdout
    shutil.rmtree(place / "moeq" / "_lib")
    refused(installed("inspect", "out"), 4, "found no usable libmoeq", "Set MOEQ_LIBRARY")


def test_existing_target_is_refused(model, tmp_path):
    (tmp_path / "out").mkdir()
    refused(command("quantize", model[0], tmp_path / "out", "-f", "int8"), 3, "out", "which is there")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folders_that_cannot_be_written(model, tmp_path):
    tmp_path.chmod(0o500)
    refused(command("quantize", model[0], tmp_path / "out", "-f", "int8"), 4)
    tmp_path.chmod(0o700)


def test_tracebacks_on_request_only(tmp_path):
    done = process("inspect", tmp_path / "nothing", MOEQ_DEBUG="1")
    assert done.returncode == 3 and "Traceback" in done.stderr and done.stderr.splitlines()[-1].startswith("moeq: ")


def test_faults_are_told_apart(monkeypatch, capsys):
    import moeq.cli.commands.doctor as doctor

    monkeypatch.setattr(doctor, "versions", lambda: 1 / 0)
    assert run(["doctor"]) == 5
    assert capsys.readouterr().err.startswith("moeq: ZeroDivisionError")
