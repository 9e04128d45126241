"""The benchmark's own arithmetic: which times are compared, and what is judged."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        spec = importlib.util.spec_from_file_location("moeq_bench_run", ROOT / "bench" / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


class Driver:
    """Answers as the driver does, of a machine that halves its pace in the middle."""

    pace = (10, 10, 10, 10, 10, 20, 20, 20, 20, 20)

    def ask(self, *words):
        self.asked = words
        streamed = [2 * ns for ns in self.pace]
        return {
            "elements": 1000,
            "moeq_ns": [1.25 * ns for ns in self.pace[1:]],
            "movers": [
                {"isa": "avx512", "stores": "plain", "ns": list(self.pace)},
                {"isa": "avx512", "stores": "nontemporal", "ns": streamed},
                {"isa": "avx2", "stores": "plain", "ns": [1.0] * 10},
            ],
        }


def case(**more):
    return {"op": "dequantize", "spec": "int8", "dtype": "bf16", "layout": "plain", **more}


def test_runs_are_compared_with_their_neighbours(bench):
    shape = {"name": "s", "goals": "memory", "shape": [1, 10, 100]}
    row = bench.measure_case(Driver(), shape, case(), 1, "best", "avx512")
    assert row["mover"] == "avx512 plain"  # of its own width, and the faster stores
    assert row["share"] == pytest.approx(0.8)
    assert row["ns"] == 25  # of the slower half, as the middle run is


@pytest.mark.parametrize(("share", "reached"), [(0.95, True), (0.949, False)])
def test_goal_in_memory(bench, share, reached):
    row = {**case(), "goals": "memory", "warmth": "warm", "tier": "avx512", "threads": 1, "share": share}
    assert bench.goal_of(row, 2) == (pytest.approx(100 * share), 95, reached)
    assert bench.goal_of({**row, "threads": 2}, 2)[1] == 95
    assert bench.goal_of({**row, "threads": 2}, 4)[1] is None  # neither one nor all
    assert bench.goal_of({**row, "tier": "avx2"}, 2)[1] == 60
    assert bench.goal_of({**row, "dtype": "fp32"}, 2)[1] is None
    assert bench.goal_of({**row, "warmth": "cold"}, 2)[1] is None
    assert bench.goal_of({**row, "layout": "transposed"}, 2)[1] is None


@pytest.mark.parametrize(("share", "reached"), [(1 / 1.3, True), (1 / 1.31, False)])
def test_goal_in_the_cache(bench, share, reached):
    row = {**case(), "goals": "l2", "warmth": "warm", "tier": "avx512", "threads": 1, "share": share}
    assert bench.goal_of(row, 2) == (pytest.approx(1 / share), 1.3, reached)


def test_shapes_ask_for_what_there_is(bench):
    files = sorted((ROOT / "bench" / "shapes").glob("*.json"))
    assert files
    for path in files:
        shape = json.loads(path.read_text())
        assert len(shape["shape"]) == 3
        for name in shape["peers"]:
            assert name in bench.peers.SAME_WORK
