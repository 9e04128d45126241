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

from checkpoints import tree, write_model  # noqa: E402
from conftest import ROOT  # noqa: E402

import moeq.ray  # noqa: E402

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


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray") / "model"
    write_model(folder, layers=12, experts=4, hidden=1024, width=256)
    return folder


def test_errors_of_a_unit_come_out_as_they_are(cluster, model, tmp_path):
    with pytest.raises(moeq.MoeqError):
        moeq.ray.convert(model, tmp_path / "out", spec="fp8_e5m2", dialect="bitsandbytes")


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
    from moeq.cli._app import run

    assert run(["quantize", str(model), str(tmp_path / "out"), "-f", "int8", "--engine", "ray", "-q"]) == 0
    moeq.convert(model, tmp_path / "alone", spec="int8", durable=False)
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_a_cluster_that_loses_a_node_gives_the_same_bytes(cluster, model, tmp_path):
    made, others = cluster
    target = tmp_path / "out"
    partial = tmp_path / "out.partial"
    units = len(moeq.plan(model, target, spec="nf4:64,nested")["units"])
    died = threading.Event()

    def kill():
        """Takes a node away with no warning when some units are done and others run."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if partial.exists() and len(list(partial.glob("*.safetensors"))) >= 3:
                made.remove_node(others[0], allow_graceful=False)
                died.set()
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    told = []
    moeq.ray.convert(
        model, target, spec="nf4:64,nested", progress=lambda *step: told.append(step), durable=False, finish=False
    )
    killer.join()
    assert died.is_set(), "the node was to die while units ran"
    assert told[-1][2] == told[-1][3] > 0
    records = [json.loads(path.read_text()) for path in sorted(partial.glob("unit-*.json"))]
    assert [record["unit"] for record in records] == list(range(units))
    moeq.convert(model, target, spec="nf4:64,nested", units=(0, 0), durable=False)
    moeq.convert(model, tmp_path / "alone", spec="nf4:64,nested", durable=False)
    assert tree(target) == tree(tmp_path / "alone")
    assert not partial.exists()
