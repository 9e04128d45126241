"""The command line: exit statuses, JSON, what a file or a pipe gets, errors in one line, Ctrl-C and resuming."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")
pytest.importorskip("typer", reason="typer is not installed: there is no command line")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: reports cannot be drawn")

from checkpoints import elements, stacked, tree, write_model, write_safetensors  # noqa: E402
from conftest import ROOT  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from moeq.cli._app import app, run  # noqa: E402

COMMANDS = ("inspect", "plan", "quantize", "convert", "verify", "diff", "report", "bench", "doctor")
PNG = b"\x89PNG\r\n\x1a\n"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small qwen3_moe checkpoint, and its tensors."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    return folder, write_model(folder, experts=4)


@pytest.fixture(scope="module")
def quantized(model, tmp_path_factory):
    target = tmp_path_factory.mktemp("quantized") / "nf4"
    moeq.convert(model[0], target, spec="nf4", durable=False)
    return target


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


# ---- help


def test_help_documents_every_command_and_every_status():
    done = process("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", done.stdout)
    for status in ("0", "1", "2", "3", "4", "5", "130", "141"):
        assert re.search(rf"^\s*{status}\s+\w", done.stdout, re.MULTILINE), status


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example(name):
    done = CliRunner().invoke(app, [name, "--help"], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"Example: moeq {name}" in " ".join(done.output.split())


def test_version():
    done = process("--version")
    assert done.stdout == f"moeq {moeq.__version__} (libmoeq {moeq.library_version()})\n" and done.returncode == 0


@pytest.mark.parametrize(
    "line, wanted",
    [("moeq qu", ["quantize"]), ("moeq plan x --dialect b", ["bitsandbytes"]), ("moeq plan x -f n", ["nf4"])],
)
def test_shells_complete(line, wanted):
    """As the scripts ask that `moeq --show-completion` gives."""
    words = {"_MOEQ_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    assert process(**words).stdout.split() == wanted


# ---- inspect


def test_inspect(model):
    folder, tensors = model
    done = process("inspect", folder)
    assert done.returncode == 0 and done.stderr == ""
    assert "qwen3_moe, not quantized" in done.stdout and f"{elements(tensors) / 1e6:,.2f} M parameters" in done.stdout
    assert re.search(r"mlp\.experts\.gate_up_proj +0-1 +4×64×64 +gate_up +split +bf16", done.stdout)
    assert re.search(r"self_attn\.q_proj\.weight +2 +64×64 +bf16", done.stdout)
    every = command("inspect", folder, "--all")
    assert all(name in every.stdout for name in tensors)


def test_inspect_json(model, quantized):
    folder, tensors = model
    facts = document(command("inspect", folder, "--json"))
    assert facts["parameters"] == elements(tensors) and facts["dialect"] is None
    assert {tensor["name"] for tensor in facts["tensors"]} == set(tensors)
    made = document(command("inspect", quantized, "--json"))
    assert made["dialect"] == "native" and made["parameters"] == elements(tensors)
    assert all(moeq.Spec(stack["spec"]).format == "nf4" for stack in made["stacks"])


# ---- plan and quantize


def test_plan(model, tmp_path):
    done = command("plan", model[0], "-f", "nf4", "--target", tmp_path / "out", "--units")
    assert done.returncode == 0, done.stderr
    assert "2/2 layers, 8/8 experts, 0 skipped" in done.stdout and "router" in done.stdout
    assert re.search(r"mlp\.experts\.down_proj +0-1 +4×64×32 +bf16 +nf4", done.stdout)
    assert list(tmp_path.iterdir()) == []
    facts = document(command("plan", model[0], "-f", "nf4", "--json"))
    assert facts == moeq.plan(model[0], tmp_path, spec="nf4")


@pytest.mark.parametrize("dialect", ["native", "bitsandbytes"])
def test_quantize_does_what_convert_does(model, tmp_path, dialect):
    done = command("quantize", model[0], tmp_path / "out", "-f", "nf4", "--dialect", dialect)
    noted = ["note: transformers itself cannot load 4-bit bitsandbytes experts: docs/store.md, who loads what"]
    assert done.returncode == 0 and done.stderr.splitlines() == noted * (dialect == "bitsandbytes"), done.stderr
    assert "2/2 layers, 8/8 experts, 0 skipped" in done.stdout and "peak memory" in done.stdout
    moeq.convert(model[0], tmp_path / "same", spec="nf4", dialect=dialect, durable=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "same")


def test_quantize_json(model, tmp_path):
    facts = document(process("quantize", model[0], tmp_path / "out", "-f", "int8", "--json"))
    assert facts["finished"] and facts["layers_quantized"] == facts["layers"] == 2
    assert facts["experts_quantized"] == facts["experts"] == 2 * 4 and facts["skipped"] == []
    assert facts["bytes_in"] > facts["bytes_out"] > 0 and facts["seconds"] > 0
    assert facts["peak_memory"] > facts["peak_memory_growth"] > 0 and facts["library_peak_memory"] > 0


def test_only_skip_and_rule(model, tmp_path):
    done = command("quantize", model[0], tmp_path / "out", "-f", "nf4", "--only", "model.layers.1.**",
                   "--rule", "**.down_proj=int8", "--rule", "**.q_proj.weight=fp8_e4m3",
                   "--skip", "model.layers.0.mlp.experts.down_proj", "--json")  # fmt: skip
    facts = document(done)
    assert facts["layers_quantized"] == 1 and facts["experts_quantized"] == 4 and len(facts["skipped"]) == 2
    with moeq.open(tmp_path / "out") as reader:
        formats = {stack.name: stack.spec and stack.spec.format for stack in reader.stacks}
        tensors = {tensor.name for tensor in reader.tensors}
    assert formats["model.layers.1.mlp.experts.gate_up_proj"] == "nf4"
    assert formats["model.layers.1.mlp.experts.down_proj"] == "int8"
    assert not any(formats[name] for name in facts["skipped"])
    assert "model.layers.1.mlp.gate.weight" in tensors


def test_units_of_several_processes_and_finish(model, tmp_path):
    arguments = ("quantize", model[0], tmp_path / "out", "-f", "int8")
    count = len(moeq.plan(model[0], tmp_path / "out", spec="int8")["units"])
    done = command(*arguments, "--units", f"0:{count - 1}")
    assert done.returncode == 0 and f"units 0 to {count - 2} of {count}" in done.stdout
    assert "next: 1 other unit" in done.stdout
    refused(command(*arguments, "--units", "0", "--finish", "-q"), 3)
    assert not (tmp_path / "out").exists()
    done = command(*arguments, "--units", str(count - 1))
    assert done.returncode == 0 and "next: the same command without --units and --no-finish" in done.stdout
    assert document(command(*arguments, "--no-finish", "--json"))["gb_per_s"] is None  # nothing was left to do
    assert "going on" not in command("quantize", model[0], tmp_path / "out", "-f", "nf4").stderr  # another plan's
    done = command(*arguments)
    assert done.returncode == 0 and "going on with" in done.stderr
    moeq.convert(model[0], tmp_path / "same", spec="int8", durable=False)
    assert (tmp_path / "out" / "model.safetensors.index.json").read_bytes() == (
        tmp_path / "same" / "model.safetensors.index.json"
    ).read_bytes()


def test_a_plan_of_the_folder_that_one_is_in(model, monkeypatch):
    monkeypatch.chdir(model[0])
    assert command("plan", ".", "-f", "nf4").returncode == 0


def test_coverage_is_of_whole_layers_and_experts(model, quantized, tmp_path):
    done = command("plan", model[0], "-f", "nf4", "--skip", "**.down_proj")
    assert "quantized: 0/2 layers (2 in part), 0/8 experts, 2/4 weights, 2 skipped" in done.stdout
    done = command("plan", model[0], "-f", "nf4", "--only", "model.layers.0.**")
    assert "quantized: 1/2 layers, 4/8 experts, 2/4 weights, 2 skipped" in done.stdout
    done = command("convert", model[0], tmp_path / "dense", "--dialect", "native")
    assert done.returncode == 0 and "note: nothing is quantized: no format was asked for" in done.stderr
    assert "nothing is quantized" not in command("convert", quantized, tmp_path / "same", "--dialect", "native").stderr


def test_what_was_left_dense_on_purpose_is_no_problem(model, tmp_path):
    for dialect in ("native", "bitsandbytes"):
        target = tmp_path / dialect
        arguments = ("quantize", model[0], target, "-f", "nf4", "--skip", "**.down_proj", "--dialect", dialect)
        assert command(*arguments).returncode == 0
        done = command("verify", target)
        assert done.returncode == 0 and "no problems" in done.stdout, done.stdout
        assert "left dense, as was asked for when it was made: 2 expert weights" in done.stdout
        assert len(document(command("verify", target, "--json"))["left_dense"]) == 2
        (target / "moeq_report.json").unlink()
        facts = document(command("verify", target, "--json"), 1)
        assert {problem["kind"] for problem in facts["problems"]} == {"dense_experts"} and not facts["left_dense"]


def test_targets_that_cannot_be(model, tmp_path):
    source = model[0]
    before = tree(source)
    refused(command("quantize", source, source / "sub" / "out", "-f", "nf4"), 2, "is inside of")
    refused(command("quantize", source, "", "-f", "nf4"), 2, "TARGET", "got an empty text")
    refused(command("verify", ""), 2, "SOURCE", "got an empty text")
    refused(command("verify", source, "--against", ""), 2, "--against", "got an empty text")
    refused(command("quantize", source, tmp_path / "no" / "out", "-f", "nf4"), 3, "there is no folder", "mkdir -p")
    assert tree(source) == before and list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_told(model, tmp_path, monkeypatch):
    from moeq.cli import _conversion

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(_conversion.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    arguments = ("quantize", model[0], tmp_path / "out", "-f", "nf4")
    assert command(*arguments, "-q", "--units=0").stderr == ""
    told = command(*arguments)
    assert told.returncode == 0 and re.search(r"note: .* kB are to be written, and 1.00 kB are free", told.stderr)


def test_a_full_disk_says_how_to_go_on(capsys):
    from moeq.cli import _exit

    full = moeq.FileError("moeq_convert: cannot write", os_error=28)
    assert _exit.complain(full, {"target": "out"}) == 4
    assert "(make room; the same command goes on from there)" in capsys.readouterr().err
    assert _exit.complain(full, {}) == 4 and "go on" not in capsys.readouterr().err


def test_one_format_per_checkpoint(model, tmp_path):
    mixed = ("-f", "nf4", "--rule", "**.down_proj=int8", "--dialect", "bitsandbytes", "-q")
    refused(command("quantize", model[0], tmp_path / "out", *mixed), 2,
            "(one format per checkpoint; --dialect native holds a mixture)")  # fmt: skip


def test_tiles_that_do_not_divide_a_weight_are_told(model, tmp_path):
    fp8 = ("-f", "fp8_e4m3:block128x128", "--dialect", "hf-fp8")
    assert "cannot be cut into whole tiles of 128×128" in command("plan", model[0], *fp8).stderr
    write_model(tmp_path / "even", layers=1, experts=2, hidden=128, width=128)
    assert command("plan", tmp_path / "even", *fp8).stderr == ""


# ---- convert


def test_convert_keeps_codes_and_refuses_to_quantize_anew(model, tmp_path):
    moeq.convert(model[0], tmp_path / "native", spec="nf4", durable=False)
    done = command("convert", tmp_path / "native", tmp_path / "bnb", "--dialect", "bitsandbytes", "--json")
    assert document(done)["dialect"] == "bitsandbytes"
    same = command("diff", tmp_path / "native", tmp_path / "bnb", "--json")
    assert document(same)["same"]
    refused(command("convert", tmp_path / "native", tmp_path / "no", "--dialect", "native", "-f", "int8"), 2,
            "quantized anew", "--allow-lossy")  # fmt: skip
    assert not (tmp_path / "no").exists() and not (tmp_path / "no.partial").exists()
    anew = ("--dialect", "native", "-f", "int8", "--allow-lossy")
    lossy = command("convert", tmp_path / "native", tmp_path / "yes", *anew)
    assert lossy.returncode == 0, lossy.stderr
    with moeq.open(tmp_path / "yes") as reader:
        assert {stack.spec.format for stack in reader.stacks} == {"int8"}


# ---- verify, diff, report


def test_verify_of_a_sound_checkpoint(model, quantized):
    done = command("verify", quantized, "--against", model[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problems" in done.stdout and "Errors against the source" in done.stdout
    assert document(command("verify", quantized, "--json"))["problems"] == []
    quiet = command("verify", quantized, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def spoil_a_scale(quantized, folder):
    """A copy of which one absmax is NaN; returns the name of the tensor."""
    shutil.copytree(quantized, folder)
    for file in sorted(folder.glob("*.safetensors")):
        raw = bytearray(file.read_bytes())
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        for name, entry in header.items():
            if name.endswith(".moeq.absmax"):
                at = 8 + size + entry["data_offsets"][0]
                raw[at : at + 4] = np.float32(np.nan).tobytes()
                file.write_bytes(raw)
                return name
    raise AssertionError("no absmax")


def test_verify_of_a_spoilt_checkpoint(quantized, tmp_path):
    name = spoil_a_scale(quantized, tmp_path / "bad")
    done = command("verify", tmp_path / "bad")
    assert done.returncode == 1 and done.stderr == ""
    assert name.removesuffix(".moeq.absmax") in done.stdout and "problem" in done.stdout
    assert document(command("verify", tmp_path / "bad", "--json"), 1)["problems"]
    assert command("verify", tmp_path / "bad", "-q").stdout != ""
    refused(command("report", tmp_path / "bad"), 3, "NaN", "--lenient takes what there is")
    done = command("convert", tmp_path / "bad", tmp_path / "out", "--dialect", "bitsandbytes", "-q")
    assert "--lenient" not in refused(done, 3, "want finite scales")  # which convert does not have
    told = command("report", tmp_path / "bad", "--lenient", "--out", tmp_path / "pictures")
    stack = name.removesuffix(".moeq.absmax").removeprefix("model.layers.0.")
    assert told.returncode == 0 and re.search(rf"{re.escape(stack)} +0 +nf4 +nan +0", told.stdout), told.stdout


def test_verify_against_another_model(quantized, tmp_path):
    write_model(tmp_path / "other", experts=4)
    other = tmp_path / "other" / "model-00002-of-00002.safetensors"
    raw = bytearray(other.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8 : 8 + size])["model.layers.1.mlp.experts.2.up_proj.weight"]["data_offsets"]
    begin, end = (8 + size + at for at in entry)
    raw[begin:end] = np.full((end - begin) // 2, 3, ml_dtypes.bfloat16).tobytes()
    other.write_bytes(raw)
    facts = document(command("verify", quantized, "--against", tmp_path / "other", "--json"), 1)
    assert [(p["name"], p["expert"]) for p in facts["problems"]] == [("model.layers.1.mlp.experts.gate_up_proj", 2)]


def test_diff(model, quantized, tmp_path):
    same = command("diff", model[0], model[0])
    assert same.returncode == 0 and "the same" in same.stdout
    done = command("diff", model[0], quantized, "--worst", "3")
    assert done.returncode == 1 and "different" in done.stdout and "The 3 largest differences of 16" in done.stdout
    facts = document(command("diff", model[0], quantized, "--json"), 1)
    with moeq.open(quantized) as reader:
        for line in facts["compared"]:
            if line["expert"] is None:
                assert line["equal"] and line["max_abs"] == 0
                continue
            got = reader.load(line["name"]).dequantize(experts=line["expert"], dtype="fp32").numpy()
            layer, stack = int(line["name"].split(".")[2]), line["name"].rpartition(".")[2]
            want = stacked(model[1], layer, 4, stack)[line["expert"]].astype(np.float32)
            assert not line["equal"] and line["max_abs"] == np.abs(got - want).max() > 0
    assert len(facts["compared"]) == 16 + 2 + 3 * 2


def test_small_differences_have_digits(tmp_path):
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_safetensors(a, {"x": np.ones((2, 3), np.float32)})
    write_safetensors(b, {"x": np.ones((2, 3), np.float32) + np.float32(2**-23)})
    done = command("diff", a, b)
    assert done.returncode == 1 and "The one difference" in done.stdout
    assert re.search(r"x +1\.192e-07 +1\.192e-07 +1\.192e-05", done.stdout)


def test_diff_of_names_and_shapes(tmp_path):
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    zeros = np.zeros((2, 3), np.float32)
    write_safetensors(a, {"x": zeros, "y": zeros, "z": zeros, "i": np.arange(3)})
    write_safetensors(b, {"x": zeros + 1, "y": zeros[:1], "w": zeros, "i": np.arange(3)})
    facts = document(command("diff", a, b, "--json"), 1)
    lines = {line["name"]: line for line in facts["compared"]}
    assert lines["x"]["max_abs"] == lines["x"]["rmse"] == 1 and not lines["x"]["equal"]
    assert "shapes" in lines["y"]["note"] and lines["i"]["equal"]
    assert facts["only_in_a"] == ["z"] and facts["only_in_b"] == ["w"]


def test_report_draws_and_tells(model, quantized, tmp_path):
    done = command("report", quantized, "--against", model[0], "--out", tmp_path / "out", "--html")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for name in ("errors.png", "amax.png"):
        picture = (tmp_path / "out" / name).read_bytes()
        assert picture.startswith(PNG) and len(picture) > 8000
    page = (tmp_path / "out" / "report.html").read_text()
    headers = re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert headers == ["weight", "layer", "format", "rms error %", "worst expert", "its error %", "max error",
                       "SQNR dB", "saturated %", "zero codes %"]  # fmt: skip
    for line in re.findall(r"<tr title.*?</tr>", page):  # the same figures as on the terminal
        assert re.search(" +".join(re.findall(r"<td[^>]*>([^<]*)</td>", line)), done.stdout), line
    assert "data:image/png;base64," in page and "model.layers.0.mlp.experts.down_proj" in page
    facts = document(command("report", quantized, "--against", model[0], "--json"))
    assert sum(facts["row_amax"]["counts"]) + facts["row_amax"]["zeros"] == 2 * 4 * (64 + 64)
    with moeq.open(quantized) as reader:
        for weight in facts["weights"]:
            assert len(weight["experts"]["relative_rms"]) == 4
            assert all(0.05 < error < 0.15 for error in weight["experts"]["relative_rms"])
            assert weight["spec"] == str(reader.find(weight["name"]).stack.spec)


def test_maps_share_colours_unless_that_hides_them():
    from moeq.cli import _pictures

    near, far, none = np.array([[1.0, 2.0]]), np.array([[9.0, 9.1]]), np.array([[np.nan, np.nan]])
    assert _pictures.common_range([near, near + 1, none]) == (1, 3)
    assert _pictures.common_range([near, 10 * far]) is None
    assert _pictures.common_range([none]) == (0, 1)


@pytest.mark.parametrize("low, high", [(0.09, 0.1), (0.06, 0.7), (1e-3, 20.0), (3e-8, 500.0), (1e-30, 1e30)])
def test_numbers_below_a_histogram(low, high):
    from moeq.cli import _pictures

    begin, end = _pictures.widened(low, high)
    found = _pictures.places(begin, end)
    assert begin < low and high < end and end / begin >= 3.999
    assert 4 <= len(found) <= _pictures.MAX_PLACES and found == sorted(found)
    assert all(begin <= number <= end and len(f"{number:g}") <= 6 for number in found)


def test_report_without_a_source(model, quantized, tmp_path):
    facts = document(command("report", quantized, "--out", tmp_path / "out", "--json"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["amax.png", "amax_by_expert.png"]
    source = document(command("report", model[0], "--json"))
    for mine, other in zip(facts["weights"], source["weights"]):
        # NF4 keeps the largest value of a block.
        np.testing.assert_allclose(mine["experts"]["amax"], other["experts"]["amax"], rtol=0.01)


# ---- bench and doctor


def test_bench():
    facts = document(command("bench", "-f", "int8", "--megabytes=16", "--seconds=0.01", "--threads=1", "--json"))
    assert [figure["operation"] for figure in facts["figures"]] == ["quantize", "dequantize"]
    assert all(figure["seconds"] > 0 and figure["copy_seconds"] > 0 for figure in facts["figures"])


def test_doctor():
    done = command("doctor")
    assert done.returncode == 0, done.stdout
    assert "all is well" in done.stdout and moeq.__version__ in done.stdout
    facts = document(command("doctor", "--json"))
    assert facts["ok"] and {check["state"] for check in facts["checks"]} <= {"ok", "warn"}


# ---- mistakes


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
    import moeq.cli.doctor as doctor

    monkeypatch.setattr(doctor, "versions", lambda: 1 / 0)
    assert run(["doctor"]) == 5
    assert capsys.readouterr().err.startswith("moeq: ZeroDivisionError")


# ---- files, pipes, interruptions


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("json", [(), ("--json",)])
def test_output_that_cannot_be_written(model, json):
    with open("/dev/full", "w") as full:
        child = subprocess.run(
            [sys.executable, "-m", "moeq", "inspect", model[0], *json], stdout=full, stderr=subprocess.PIPE, text=True,
            env=environment(), check=False
        )  # fmt: skip
    assert child.returncode == 4 and child.stderr == "moeq: No space left on device\n"


def test_standard_output_may_be_closed(model):
    script = f"{sys.executable} -m moeq inspect {model[0]} --json >&-"
    child = subprocess.run(["sh", "-c", script], capture_output=True, env=environment(), check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, b"", b"")


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
