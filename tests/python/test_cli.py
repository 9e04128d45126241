"""The command line: help, and what inspect, plan, quantize and convert do, say and leave behind."""

import re
import shutil

import pytest
from checkpoints import elements, tree, write_model
from command_line import command, document, process, refused
from typer.testing import CliRunner

import moeq
from moeq.cli.app import app

COMMANDS = ("inspect", "plan", "quantize", "convert", "verify", "diff", "report", "bench", "doctor")

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
    assert facts == moeq.plan(model[0], tmp_path, spec="nf4").json


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
    count = len(moeq.plan(model[0], tmp_path / "out", spec="int8").units)
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
    from moeq.cli import conversion

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    arguments = ("quantize", model[0], tmp_path / "out", "-f", "nf4")
    assert command(*arguments, "-q", "--units=0").stderr == ""
    told = command(*arguments)
    assert told.returncode == 0 and re.search(r"note: .* kB are to be written, and 1.00 kB are free", told.stderr)


def test_a_full_disk_says_how_to_go_on(capsys):
    from moeq.cli import ending

    full = moeq.FileError("moeq_convert: cannot write", os_error=28)
    assert ending.complain(full, {"target": "out"}) == 4
    assert "(make room; the same command goes on from there)" in capsys.readouterr().err
    assert ending.complain(full, {}) == 4 and "go on" not in capsys.readouterr().err


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
