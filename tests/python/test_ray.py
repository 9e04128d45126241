"""moeq.ray on a local cluster of three nodes, one of which dies while units run."""

import json
import threading
import time

import pytest

import moeq

ray = pytest.importorskip("ray", reason="ray is not installed: units cannot be sent to a cluster")
pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="this ray has no local clusters")

import os  # noqa: E402
import sys  # noqa: E402

from checkpoints import tree, write_model  # noqa: E402
from conftest import ROOT  # noqa: E402

import moeq.ray  # noqa: E402

PATIENCE = 60  # seconds until something that has to happen is given up
NODE = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module", autouse=True)
def workers_find_moeq():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "bindings" / "python"), before]))
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one processor each; this process is connected to them. The last test takes one away."""
    try:
        made = cluster_utils.Cluster(
            initialize_head=True,
            head_node_args={**NODE, "include_dashboard": False},
        )
        others = [made.add_node(**NODE) for _ in range(2)]
        ray.init(address=made.address, log_to_driver=False)
    except (RuntimeError, OSError, ConnectionError) as error:
        pytest.skip(f"a local Ray cluster cannot be started here: {str(error).splitlines()[0]}")
    yield made, others
    ray.shutdown()
    made.shutdown()


def wait_for(condition):
    """What the condition is in the end: true, or not within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def record_of(partial, unit):
    """What says that a unit is finished."""
    return partial / f"unit-{unit:05}.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray") / "model"
    write_model(folder, layers=12, experts=4, hidden=1024, width=256)
    return folder


def test_errors_of_a_unit_come_out_as_they_are(cluster, model, tmp_path):
    with pytest.raises(moeq.UnsupportedError, match="bitsandbytes"):
        moeq.ray.convert(model, tmp_path / "out", spec="fp8_e5m2", dialect="bitsandbytes")


@pytest.mark.parametrize("units", [(-1, 2), (2, 1), range(0, 4, 2), (1,)])
def test_units_that_are_none(model, tmp_path, units):
    with pytest.raises(moeq.ArgumentError, match="units"):
        moeq.ray.convert(model, tmp_path / "out", spec="int8", units=units)


def test_a_callback_that_raises_stops(cluster, model, tmp_path):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    with pytest.raises(Stop):
        moeq.ray.convert(model, tmp_path / "out", spec="int8", progress=stop)
    assert not (tmp_path / "out").exists()
    moeq.convert(model, tmp_path / "out", spec="int8", durable=False)
    assert (tmp_path / "out").exists()


def test_the_command_line_sends_units_to_the_cluster(cluster, model, tmp_path):
    pytest.importorskip("typer", reason="typer is not installed: there is no command line")
    from moeq.cli.app import run

    assert run(["quantize", str(model), str(tmp_path / "out"), "-f", "int8", "--engine", "ray", "-q"]) == 0
    moeq.convert(model, tmp_path / "alone", spec="int8", durable=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_a_cluster_that_loses_a_node_gives_the_same_bytes(cluster, model, tmp_path, monkeypatch):
    """The node dies in the middle of a unit: after the library has told of some of its bytes, before it is written."""
    made, others = cluster
    target, partial, busy = tmp_path / "out", tmp_path / "out.partial", tmp_path / "busy"
    units = len(moeq.plan(model, target, spec="nf4:64,nested").units)
    doomed, whole_unit = others[0].node_id, moeq.ray.run_unit

    def run_unit(source, target, unit, threads, durable, what):
        if ray.get_runtime_context().get_node_id() != doomed:
            wait_for(busy.exists)  # so that there is a unit for each node
            return whole_unit(source, target, unit, threads, durable, what)

        def stay(stage, name, done, total):
            if done:
                busy.with_suffix(".new").write_text(f"{unit} {done} {total}")
                busy.with_suffix(".new").rename(busy)
                time.sleep(PATIENCE)

        plan = moeq.plan(source, target, **what)
        plan.run(units=(unit, unit + 1), finish=False, progress=stay, durable=durable)
        return unit

    lost = []

    def kill():
        if wait_for(busy.exists):
            unit, done, total = map(int, busy.read_text().split())
            lost.append((unit, 0 < done <= total, record_of(partial, unit).exists()))
            made.remove_node(others[0], allow_graceful=False)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    monkeypatch.setattr(moeq.ray, "run_unit", run_unit)
    killer = threading.Thread(target=kill)
    killer.start()
    told = []
    moeq.ray.convert(
        model, target, spec="nf4:64,nested", progress=lambda *step: told.append(step), durable=False, finish=False
    )
    killer.join()
    assert [(begun, recorded) for _, begun, recorded in lost] == [(True, False)], "the node was to die within a unit"
    assert wait_for(lambda: doomed not in {node["NodeID"] for node in ray.nodes() if node["Alive"]})
    assert told[-1][2] == told[-1][3] > 0
    records = [json.loads(path.read_text()) for path in sorted(partial.glob("unit-*.json"))]
    assert [record["unit"] for record in records] == list(range(units))
    assert record_of(partial, lost[0][0]).exists()
    moeq.convert(model, target, spec="nf4:64,nested", units=(0, 0), durable=False)
    moeq.convert(model, tmp_path / "alone", spec="nf4:64,nested", durable=False)
    assert tree(target) == tree(tmp_path / "alone")
    assert not partial.exists()
