"""The command line: quantized weights outside of experts, which diff, verify and report measure as they do experts.

What the commands say is compared with values that NumPy decodes from the files.
"""

import json
import re

import numpy as np
import pytest
from checkpoints import BF16, config, ml_dtypes, normal, projection, write_model, write_safetensors
from command_line import command, document, refused
from decoding import decoded, read_files

import moeq

Q = "model.layers.0.self_attn.q_proj.weight"
SIZE = {"layers": 1, "experts": 2, "hidden": 192, "width": 64, "files": 1}
FORMS = {
    "int8": ("int8", "native"),
    "int8 by expert": ("int8:expert", "native"),
    "int8 in tiles": ("int8:block128x128", "native"),
    "nf4": ("nf4", "native"),
    "nested": ("nf4:nested", "native"),
    "fp8": ("fp8_e4m3", "native"),
    "fp8 by expert": ("fp8_e5m2:expert", "native"),
    "fp8 in tiles": ("fp8_e4m3:block128x128", "native"),
    "bitsandbytes nf4": ("nf4", "bitsandbytes"),
    "bitsandbytes fp4": ("fp4", "bitsandbytes"),
    "bitsandbytes nested": ("nf4:nested", "bitsandbytes"),
    "bitsandbytes int8": ("int8", "bitsandbytes"),
    "compressed-tensors int8": ("int8", "compressed-tensors"),
    "compressed-tensors fp8": ("fp8_e4m3", "compressed-tensors"),
    "compressed-tensors tensor": ("fp8_e4m3:expert", "compressed-tensors"),
    "compressed-tensors tiles": ("fp8_e4m3:block128x128", "compressed-tensors"),
    "hf-fp8": ("fp8_e4m3:block128x128", "hf-fp8"),
}


def change(folder, rows):
    """Other values in some rows of q_proj, in place."""
    file = folder / "model-00001-of-00001.safetensors"
    tensors = {name: array.copy() for name, array in read_files(file).items()}
    for row in rows:
        tensors[Q][row] = -tensors[Q][row]
    write_safetensors(file, tensors, {"format": "pt"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every form of one model and of one that differs in rows 5 and 150 of q_proj: form -> (source, it, the other)."""
    home = tmp_path_factory.mktemp("linears")
    write_model(home / "a", **SIZE)
    write_model(home / "b", **SIZE)
    change(home / "b", (5, 150))

    def make(form):
        spec, dialect = FORMS[form]
        for model in ("a", "b"):
            target = home / f"{model} {form}"
            if not target.exists():
                arguments = {"spec": spec, "dialect": dialect, "rules": [("**.q_proj.weight", spec)]}
                moeq.convert(home / model, target, durable=False, **arguments)
        return home / "a", home / f"a {form}", home / f"b {form}"

    return make


def values(folder, name=Q, shape=(192, 192)):
    return decoded(read_files(folder), name, shape)


def lines_of(facts):
    return {line["name"]: line for line in facts["compared"] if line["expert"] is None}


def is_difference(line, a, b):
    """Whether a line tells what NumPy finds."""
    gap = np.abs(a.astype(np.float64) - b)
    assert line["equal"] == (not gap.any())
    np.testing.assert_allclose(line["max_abs"], gap.max(), rtol=1e-5)
    np.testing.assert_allclose(line["rmse"], np.sqrt(np.square(gap).mean()), rtol=1e-5)
    np.testing.assert_allclose(line["relative"] * np.sqrt(np.square(a, dtype=np.float64).mean()), line["rmse"])


@pytest.mark.parametrize("form", FORMS)
def test_diff_finds_a_difference_in_any_row(made, form):
    _, one, other = made(form)
    facts = document(command("diff", one, other, "--json"), 1)
    assert [line["name"] for line in facts["compared"] if not line["equal"]] == [Q]
    is_difference(lines_of(facts)[Q], values(one), values(other))
    assert not lines_of(facts)[Q]["equal"] and not facts["same"]
    assert document(command("diff", one, one, "--json"))["same"]


@pytest.mark.parametrize("form", FORMS)
def test_diff_and_verify_measure_a_quantized_linear_against_its_source(made, form):
    source, one, _ = made(form)
    facts = document(command("diff", one, source, "--json"), 1)
    assert not (facts["only_in_a"] or facts["only_in_b"])
    is_difference(lines_of(facts)[Q], values(one), values(source))
    is_difference(lines_of(document(command("diff", source, one, "--json"), 1))[Q], values(source), values(one))
    facts = document(command("verify", one, "--against", source, "--json"))
    weight = next(weight for weight in facts["errors"] if weight["name"] == Q)
    want, error = values(source).astype(np.float64), np.abs(values(source).astype(np.float64) - values(one))
    assert not weight["of_experts"] and {len(column) for column in weight["experts"].values()} == {1}
    np.testing.assert_allclose(weight["experts"]["max_error"], error.max(), rtol=1e-5)
    np.testing.assert_allclose(weight["experts"]["amax"], np.abs(want).max())
    relative = np.sqrt(np.square(error).mean() / np.square(want).mean())
    np.testing.assert_allclose(weight["experts"]["relative_rms"], relative, rtol=1e-5)
    for expert in facts["errors"]:
        assert expert["of_experts"] == (expert["name"] != Q)


def test_a_linear_that_is_too_far_away_is_a_problem(made):
    source, one, other = made("nf4")
    arguments = "verify", other, "--against", source, "--max-error", "0.15"  # of two rows of 192 the sign is wrong
    done = command(*arguments)
    assert done.returncode == 1
    assert re.match(rf"{re.escape(Q)}: relative rms error 0.2\d+, more than 0.15\n", done.stdout), done.stdout
    facts = document(command(*arguments, "--json"), 1)
    assert [(problem["name"], "expert" in problem) for problem in facts["problems"]] == [(Q, False)]


def test_two_forms_of_one_model(made):
    _, one, _ = made("nested")
    _, other, _ = made("hf-fp8")
    facts = document(command("diff", one, other, "--json"), 1)
    is_difference(lines_of(facts)[Q], values(one), values(other))


def test_a_dense_checkpoint_against_a_quantized_one(made):
    """Errors that are about codes are not there; the others are. It is what was quantized and not what that decodes to,
    which is a problem."""
    dense, quantized, _ = made("compressed-tensors tensor")
    assert document(command("verify", dense, "--against", quantized, "--json"), status=1)["problems"]
    facts = document(command("report", dense, "--against", quantized, "--json"))
    weight = next(weight for weight in facts["weights"] if weight["name"] == Q)
    error, want = np.abs(values(dense) - values(quantized)), values(quantized).astype(np.float64)
    np.testing.assert_allclose(weight["experts"]["max_error"], error.max(), rtol=1e-5)
    relative = np.sqrt(np.square(error, dtype=np.float64).mean() / np.square(want).mean())
    np.testing.assert_allclose(weight["experts"]["relative_rms"], relative, rtol=1e-5)
    assert weight["experts"]["saturated"] == [None] and weight["spec"] == "dense"
    done = command("report", dense, "--against", quantized)
    assert re.search(r"self_attn\.q_proj\.weight +0 +dense +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+\n", done.stdout), done.stdout


def test_report_has_linears(made, tmp_path):
    source, one, _ = made("fp8 in tiles")
    for arguments, picture in ((("--against", source), "errors.png"), ((), "amax_by_expert.png")):
        out = tmp_path / picture
        facts = document(command("report", one, *arguments, "--out", out, "--html", "--json"))
        assert (out / picture).stat().st_size > 8000 and "self_attn.q_proj.weight" in (out / "report.html").read_text()
        weight = next(weight for weight in facts["weights"] if weight["name"] == Q)
        amax = np.abs(values(source if arguments else one)).max()
        np.testing.assert_allclose(weight["experts"]["amax"], [amax])
        assert sum(facts["row_amax"]["counts"]) == 2 * (128 + 192) + 192  # rows of experts, and of q_proj


def test_linears_have_a_map_of_their_own():
    from moeq.cli.show import pictures

    def line(name, values, of_experts):
        return {"name": name, "of_experts": of_experts, "experts": {"amax": values}}

    weights = [
        line("model.layers.0.experts.down_proj", [1.0, 2.0], True),
        line("model.layers.1.self_attn.q_proj.weight", [3.0], False),
        line("lm_head.weight", [4.0], False),
    ]
    drawn = pictures.maps({"against": None, "weights": weights})
    assert drawn["model.layers.*.experts.down_proj"].grid.tolist() == [[1, 2]]
    others = drawn[pictures.OTHERS]
    assert (others.layers, others.names) == ([-1, 1], ["self_attn.q_proj", "lm_head"])
    np.testing.assert_array_equal(others.grid, [[np.nan, 4], [3, np.nan]])


# ---- other shapes and forms


@pytest.mark.parametrize("spec", ["int8", "fp8_e4m3:expert", "nf4"])
def test_weights_of_more_than_three_axes(tmp_path, spec):
    shape = (2, 3, 40, 64)
    dense = normal(1, shape, np.float32)
    write_safetensors(tmp_path / "dense.safetensors", {"w": dense})
    moeq.save(tmp_path / "coded.safetensors", {"w": moeq.quantize(dense, spec)})
    got = values(tmp_path / "coded.safetensors", "w", shape).reshape(6, 40, 64)
    facts = document(command("diff", tmp_path / "coded.safetensors", tmp_path / "dense.safetensors", "--json"), 1)
    assert [line["expert"] for line in facts["compared"]] == list(range(6))
    for line, a, b in zip(facts["compared"], got, dense.reshape(6, 40, 64)):
        is_difference(line, a, b)
    arguments = "report", tmp_path / "coded.safetensors", "--against", tmp_path / "dense.safetensors", "--json"
    errors = document(command(*arguments))["weights"][0]["experts"]["max_error"]
    np.testing.assert_allclose(errors, np.abs(got - dense.reshape(6, 40, 64)).max((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_linear_by_its_inputs(tmp_path, axis):
    """The contraction axis that a native file states does not turn a weight of which nothing else is known."""
    dense = normal(2, (64, 64), np.float32)
    write_safetensors(tmp_path / "dense.safetensors", {"w": dense})
    moeq.save(tmp_path / "coded.safetensors", {"w": moeq.quantize(dense, f"int8:axis={axis}")})
    facts = document(command("diff", tmp_path / "coded.safetensors", tmp_path / "dense.safetensors", "--json"), 1)
    assert 0 < facts["compared"][0]["relative"] < 0.01
    facts = document(command("report", tmp_path / "coded.safetensors", "--json"))
    amax = np.abs(dense).max(1 if axis == -1 else 0)
    assert sum(facts["row_amax"]["counts"]) == amax.size


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Gate and up as a tensor each, for all experts; and what they are as one: (folder, tensors)."""
    folder = tmp_path_factory.mktemp("halves") / "step"
    folder.mkdir()
    prefix = "model.layers.0.moe."
    shapes = {"gate_proj": (3, 64, 128), "up_proj": (3, 64, 128), "down_proj": (3, 128, 64)}
    tensors = {f"{prefix}{name}.weight": normal(at, shape) for at, (name, shape) in enumerate(shapes.items())}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text('{"model_type": "step3p5", "hidden_size": 128}')
    return folder, tensors


@pytest.mark.parametrize("spec", ["int8", "nf4", "fp8_e4m3:expert"])
def test_gate_and_up_as_tensors_with_all_experts(halves, tmp_path, spec):
    folder, tensors = halves
    moeq.convert(folder, tmp_path / "out", spec=spec, durable=False)
    facts = document(command("verify", tmp_path / "out", "--against", folder, "--json"))
    parts = [tensors[f"model.layers.0.moe.{name}_proj.weight"] for name in ("gate", "up")]
    want = np.concatenate(parts, 1).astype(np.float32)
    errors = {weight["name"]: weight["experts"] for weight in facts["errors"]}
    assert list(errors) == ["model.layers.0.moe.gate_up_proj", "model.layers.0.moe.down_proj"]
    got = values(tmp_path / "out", "model.layers.0.moe.gate_up_proj", (3, 128, 128))
    np.testing.assert_allclose(errors["model.layers.0.moe.gate_up_proj"]["amax"], np.abs(want).max((1, 2)))
    error = errors["model.layers.0.moe.gate_up_proj"]["max_error"]
    np.testing.assert_allclose(error, np.abs(got - want).max((1, 2)), rtol=1e-5)
    assert document(command("diff", folder, folder, "--json"))["same"]
    gate_up = document(command("report", folder, "--json"))["weights"][0]
    np.testing.assert_allclose(gate_up["experts"]["amax"], np.abs(want).max((1, 2)))


def test_a_whole_against_two_halves(tmp_path):
    """One scale per linear cannot be joined: there gate and up are two weights, elsewhere one."""
    tensors = write_model(tmp_path / "a", **SIZE)
    by_expert = {"spec": "fp8_e4m3:expert", "dialect": "compressed-tensors", "durable": False}
    moeq.convert(tmp_path / "a", tmp_path / "halves", **by_expert)
    moeq.convert(tmp_path / "a", tmp_path / "whole", spec="nf4", durable=False)
    with moeq.open(tmp_path / "halves") as reader:
        assert [stack.name.rpartition(".")[2] for stack in reader.stacks] == ["gate_proj", "up_proj", "down_proj"]
    stored = read_files(tmp_path / "halves")
    whole = values(tmp_path / "whole", "model.layers.0.mlp.experts.gate_up_proj", (2, 128, 192))
    parts = [
        np.concatenate([decoded(stored, projection(0, e, name), (64, 192)) for name in ("gate", "up")]) for e in (0, 1)
    ]
    facts = document(command("diff", tmp_path / "whole", tmp_path / "halves", "--json"), 1)
    assert not (facts["only_in_a"] or facts["only_in_b"])
    lines = [line for line in facts["compared"] if line["name"].endswith("gate_up_proj")]
    for expert, line in enumerate(lines):
        is_difference(line, whole[expert], parts[expert])
    facts = document(command("diff", tmp_path / "halves", tmp_path / "whole", "--json"), 1)
    assert not (facts["only_in_a"] or facts["only_in_b"])
    lines = {(line["name"].rpartition(".")[2], line["expert"]): line for line in facts["compared"]}
    for expert in (0, 1):
        is_difference(lines["gate_proj", expert], parts[expert][:64], whole[expert][:64])
        is_difference(lines["up_proj", expert], parts[expert][64:], whole[expert][64:])
    assert command("verify", tmp_path / "whole", "--against", tmp_path / "halves").returncode == 0
    assert command("verify", tmp_path / "halves", "--against", tmp_path / "whole").returncode == 0
    # Half of it only: what is missing has a name.
    for name in [name for name in stored if ".up_proj." in name]:
        del stored[name]
    write_safetensors(tmp_path / "halves" / "model.safetensors", stored, {"format": "pt"})
    for file in (tmp_path / "halves").glob("model*-of-*"):
        file.unlink()
    (tmp_path / "halves" / "model.safetensors.index.json").unlink()
    facts = document(command("diff", tmp_path / "halves", tmp_path / "whole", "--json"), 1)
    assert facts["only_in_b"] == ["model.layers.0.mlp.experts.up_proj"] and tensors


def test_experts_of_several_types(tmp_path):
    tensors = write_model(tmp_path / "a", **SIZE)
    mixed = {name: array.astype(np.float32) if ".0.up_proj" in name else array for name, array in tensors.items()}
    (tmp_path / "b").mkdir()
    write_safetensors(tmp_path / "b" / "model.safetensors", mixed)
    (tmp_path / "b" / "config.json").write_text(json.dumps(config(1, 2, 192, 64)))
    assert document(command("diff", tmp_path / "a", tmp_path / "b", "--json"))["same"]
    mixed[projection(0, 1, "gate")] = mixed[projection(0, 1, "gate")] * BF16.type(2)
    write_safetensors(tmp_path / "b" / "model.safetensors", mixed)
    facts = document(command("diff", tmp_path / "a", tmp_path / "b", "--json"), 1)
    assert [(line["name"].rpartition(".")[2], line["expert"]) for line in facts["compared"] if not line["equal"]] == [
        ("gate_up_proj", 1)
    ]


@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.float8_e4m3fn, np.float64])
def test_experts_whose_values_are_not_known(dtype, tmp_path):
    """Codes of a scheme that moeq does not read: equal bytes are equal, others are different, by tensor."""
    codes = {projection(0, e, name): np.full((8, 8), e, dtype) for e in (0, 1) for name in ("gate", "up", "down")}
    codes[Q] = np.ones((8, 8), dtype)
    for name in ("a", "b"):
        write_safetensors(tmp_path / f"{name}.safetensors", codes)
    assert document(command("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--json"))["same"]
    codes[projection(0, 1, "up")] = np.arange(64).astype(dtype).reshape(8, 8)
    write_safetensors(tmp_path / "b.safetensors", codes)
    facts = document(command("diff", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--json"), 1)
    assert [line["name"] for line in facts["compared"] if not line["equal"]] == [projection(0, 1, "up")]
    # Against a weight whose values are known there is only to say that it is another one.
    moeq.save(tmp_path / "q.safetensors", {Q: moeq.quantize(normal(1, (8, 8)), "int8")})
    facts = document(command("diff", tmp_path / "q.safetensors", tmp_path / "a.safetensors", "--json"), 1)
    assert [(line["name"], "is of" in line["note"]) for line in facts["compared"]] == [(Q, True)]
    refused(command("report", tmp_path / "q.safetensors", "--against", tmp_path / "a.safetensors"), 3, f"{Q} is of")


def test_other_extents_are_a_difference_and_no_end(tmp_path):
    """A weight of another shape is a line of diff; nothing can be measured against it."""
    write_model(tmp_path / "a", **SIZE)
    write_model(tmp_path / "b", **(SIZE | {"experts": 3}))
    rule = [("**.q_proj.weight", "int8")]
    moeq.convert(tmp_path / "a", tmp_path / "out", spec="int8", rules=rule, durable=False)
    facts = document(command("diff", tmp_path / "out", tmp_path / "b", "--json"), 1)
    notes = {line["name"].rpartition(".")[2]: line["note"] for line in facts["compared"] if "note" in line}
    assert set(notes) == {"gate_up_proj", "down_proj", "weight"}  # the router's, too
    assert "(2, 128, 192) here and (3, 128, 192) there" in notes["gate_up_proj"]
    refused(command("verify", tmp_path / "out", "--against", tmp_path / "b"), 3, "same model")
