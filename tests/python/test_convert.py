"""moeq.plan and moeq.convert: units, rules, resuming, and what comes out."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

from checkpoints import stacked, tree, write_model  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "source"
    return folder, write_model(folder)


def test_plan_counts_what_convert_does(model, tmp_path):
    source, target = model[0], tmp_path / "out"
    plan = moeq.plan(source, target, spec="nf4")
    assert not target.exists() and list(tmp_path.iterdir()) == []
    assert plan.totals.units == len(plan.units) and plan.totals.stacks == 4
    moeq.convert(source, target, spec="nf4", durable=False)
    with moeq.open(target) as reader:
        assert reader.nbytes == plan.totals.bytes_out
        assert sorted(stack.name for stack in reader.stacks) == sorted(
            weight.name for unit in plan.units for weight in unit.weights
        )
    assert list(tmp_path.iterdir()) == [target]


def test_a_plan_says_what_the_library_does_and_does_it(model, tmp_path):
    plan = moeq.plan(model[0], tmp_path / "out", spec="nf4", rules={"**.gate_up_proj": "int8"})
    assert plan.source.model_type == "qwen3_moe" and plan.source.dialect == "none" and plan.foreign is None
    assert {weight.spec for unit in plan.units for weight in unit.weights} == {
        "int8:layout=gate_up,dtype=bf16",
        "nf4:dtype=bf16",
    }
    assert all(unit.unit == index and unit.peak > 0 for index, unit in enumerate(plan.units))
    assert json.loads(json.dumps(plan.json)) == plan.json and plan.json["totals"]["units"] == len(plan.units)
    last = len(plan.units) - 1
    plan.run(units=(last, last + 1), finish=False, durable=False)
    assert plan.finished == () and plan.again().finished == (last,) and plan.again() == plan
    # A record of another plan, and one that is torn, are none.
    assert moeq.plan(model[0], tmp_path / "out", spec="nf4").finished == ()
    next((tmp_path / "out.partial").glob("unit-*.json")).write_text("{")
    assert plan.again().finished == ()
    plan.run(durable=False)
    moeq.convert(model[0], tmp_path / "same", spec="nf4", rules={"**.gate_up_proj": "int8"}, durable=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "same")


def test_a_plan_that_nobody_asked_for_is_not_carried_out(model, tmp_path):
    plan = moeq.plan(model[0], tmp_path / "out", spec="nf4")
    with pytest.raises(TypeError, match="not made by moeq.plan"):
        dataclasses.replace(plan, _request=None).run()


def test_plans_do_not_depend_on_places(model, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(model[0], copy)
    here = moeq.plan(model[0], tmp_path / "a", spec="int8")
    assert moeq.plan(copy, tmp_path / "b" / "c", spec="int8") == here
    assert moeq.plan(model[0], tmp_path / "a", spec="nf4").hash != here.hash


@pytest.mark.parametrize("spec", ["int8", "nf4:64,nested", "fp8_e4m3"])
def test_converted_stacks_are_those_of_one_call(model, tmp_path, spec):
    source, tensors = model
    moeq.convert(source, tmp_path / "out", spec=spec, durable=False)
    with moeq.open(tmp_path / "out") as reader:
        assert reader.dialect == "native" and reader.verify()["problems"] == []
        for stack in reader.stacks:
            dense = stacked(tensors, int(stack.name.split(".")[2]), 3, stack.name.rpartition(".")[2])
            whole = moeq.quantize(dense, moeq.Spec(spec, layout=stack.layout))
            got = reader.load(stack)
            for part, tensor in whole.components.items():
                assert got.component(part).numpy().tobytes() == tensor.numpy().tobytes()
        for name in ("lm_head.weight", "model.layers.1.mlp.gate.weight"):
            assert reader.read(name).numpy().tobytes() == tensors[name].tobytes()
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "qwen3_moe"


def test_units_in_any_order_give_the_same_bytes(model, tmp_path):
    source = model[0]
    moeq.convert(source, tmp_path / "whole", spec="nf4", durable=False)
    count = len(moeq.plan(source, tmp_path / "parts", spec="nf4").units)
    assert count >= 4
    for unit in reversed(range(count)):
        assert not (tmp_path / "parts").exists()
        moeq.convert(source, tmp_path / "parts", spec="nf4", units=range(unit, unit + 1), finish=False, durable=False)
    moeq.convert(source, tmp_path / "parts", spec="nf4", units=(0, 0), durable=False)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_finish_names_missing_units(model, tmp_path):
    source, target = model[0], tmp_path / "out"
    moeq.convert(source, target, spec="nf4", units=(1, 2), finish=False)
    with pytest.raises(moeq.IncompleteError):
        moeq.convert(source, target, spec="nf4", units=(0, 0))
    assert not target.exists()
    moeq.convert(source, target, spec="nf4")
    assert target.exists()


def test_neither_units_nor_finish_does_nothing(model, tmp_path):
    moeq.convert(model[0], tmp_path / "out", spec="nf4", units=(0, 0), finish=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("units", [(2, 1), (-1, 2), 5, "ab", (1,)])
def test_units_that_are_none(model, tmp_path, units):
    with pytest.raises(moeq.ArgumentError):
        moeq.convert(model[0], tmp_path / "out", spec="nf4", units=units)


def test_rules_first_match_wins(model, tmp_path):
    source, target = model[0], tmp_path / "out"
    rules = {"model.layers.0.**.down_proj": None, "**.down_proj": "int8", "**.q_proj.weight": moeq.Spec("fp8_e4m3")}
    plan = moeq.plan(source, target, spec="nf4", rules=rules)
    assert plan.unused_rules == ()
    assert "model.layers.0.mlp.experts.down_proj" in {entry.name for entry in plan.kept}
    moeq.convert(source, target, spec="nf4", rules=list(rules.items()), durable=False)
    with moeq.open(target) as reader:
        formats = {stack.name: None if stack.spec is None else stack.spec.format for stack in reader.stacks}
    assert formats["model.layers.0.mlp.experts.down_proj"] is None
    assert formats["model.layers.1.mlp.experts.down_proj"] == "int8"
    assert formats["model.layers.0.mlp.experts.gate_up_proj"] == "nf4"
    as_text = json.dumps([{"match": glob, "spec": None if spec is None else str(spec)} for glob, spec in rules.items()])
    assert moeq.plan(source, target, spec="nf4", rules=as_text).totals == plan.totals


@pytest.mark.parametrize("rules", [3, {3: "nf4"}, {"a": 3}, [("a",)], [3]])
def test_rules_that_are_none(model, tmp_path, rules):
    with pytest.raises(TypeError, match="rules: got"):
        moeq.plan(model[0], tmp_path / "out", spec="nf4", rules=rules)


def test_rules_without_effect_warn(model, tmp_path, recwarn):
    rules = {"nope": "int8", "**.down_proj": None}
    with pytest.warns(UserWarning, match="rules without effect: 'nope'"):
        moeq.plan(model[0], tmp_path / "out", spec="nf4", rules=rules)
    with pytest.warns(UserWarning, match="rules without effect: 'nope'") as told:
        moeq.convert(model[0], tmp_path / "out", spec="nf4", rules=rules, durable=False)
    assert [warning.filename for warning in told] == [__file__]
    del rules["nope"]
    recwarn.clear()
    moeq.convert(model[0], tmp_path / "again", spec="nf4", rules=rules, durable=False)
    assert not recwarn.list


def test_an_exception_stops_and_the_next_call_goes_on(model, tmp_path):
    source, target = model[0], tmp_path / "out"
    told = []

    class Stop(Exception):
        pass

    def stop_late(stage, name, done, total):
        told.append(done)
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        moeq.convert(source, target, spec="int8", progress=stop_late, durable=False)
    assert not target.exists() and (tmp_path / "out.partial").exists()
    moeq.convert(source, target, spec="int8", durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    moeq.convert(source, tmp_path / "again", spec="int8", durable=False)
    assert tree(target) == tree(tmp_path / "again")


def test_targets_that_exist_are_refused(model, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(moeq.DuplicateError, match="out"):
        moeq.convert(model[0], tmp_path / "out", spec="int8")
    assert list((tmp_path / "out").iterdir()) == []


def test_there_and_back_between_dialects(model, tmp_path):
    moeq.convert(model[0], tmp_path / "native", spec="int8:scale=factor", durable=False)
    moeq.convert(tmp_path / "native", tmp_path / "ct", dialect="compressed-tensors", durable=False)
    moeq.convert(tmp_path / "ct", tmp_path / "back", durable=False)
    one, other, back = (moeq.open(tmp_path / name) for name in ("native", "ct", "back"))
    with one, other, back:
        assert other.dialect == "compressed-tensors" and back.dialect == "native"
        for stack in one.stacks:
            want = one.load(stack).dequantize(dtype="fp32").numpy()
            for reader in (other, back):
                np.testing.assert_allclose(reader.load(stack.name).dequantize(dtype="fp32").numpy(), want, rtol=2e-7)


def test_a_partial_directory_that_is_no_conversion_is_left_alone(model, tmp_path):
    partial = tmp_path / "out.partial"
    shutil.copytree(model[0], partial)
    before = tree(partial)
    with pytest.raises(moeq.DuplicateError, match="no conversion"):
        moeq.convert(model[0], tmp_path / "out", spec="nf4", durable=False)
    assert tree(partial) == before and not (tmp_path / "out").exists()


def test_a_sealed_directory_is_not_mixed_with_another_conversion(model, tmp_path):
    target, partial = tmp_path / "out", tmp_path / "out.partial"
    moeq.convert(model[0], target, spec="nf4", durable=False)
    whole = tree(target)
    target.rename(partial)  # as it is when the last rename did not happen
    with pytest.raises(moeq.MismatchError):
        moeq.convert(model[0], target, spec="int8", durable=False)
    assert tree(partial) == whole
    moeq.convert(model[0], target, spec="nf4", durable=False)
    assert tree(target) == whole and not partial.exists()


def test_small_files_keep_their_names(model, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(model[0], source)
    (source / "unit-tests.md").write_text("kept")
    moeq.convert(source, tmp_path / "out", spec="int8", durable=False)
    assert (tmp_path / "out" / "unit-tests.md").read_text() == "kept"
    with moeq.open(tmp_path / "out") as reader:
        assert reader.verify()["problems"] == []


def test_a_source_that_changes_meanwhile_is_refused(model, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(model[0], source)

    def change(stage, name, done, total):
        for path in source.glob("*.safetensors"):
            raw = bytearray(path.read_bytes())
            raw[-4:] = b"\0\0\0\0"
            path.write_bytes(raw)

    with pytest.raises(moeq.MismatchError, match="changed"):
        moeq.convert(source, tmp_path / "out", spec="int8", durable=False, progress=change)
    assert not (tmp_path / "out").exists()
