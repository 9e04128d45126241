"""bench/loads.py: what it computes of public models, by hand; and one way of loading, in a process of its own."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def loads():
    spec = importlib.util.spec_from_file_location("moeq_bench_loads", ROOT / "bench" / "loads.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bytes_of_public_models_are_those_of_the_formats(loads, capsys):
    loads.computed()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in lines] == list(loads.PUBLIC)
    for name, *found in lines:
        experts, width, hidden, layers = loads.PUBLIC[name]
        count = experts * layers * 3 * width * hidden
        rows = experts * layers * (2 * width + hidden)
        nested = count / 64 + count / 64 / 256 * 4  # a byte for 64 elements, and four for 256 of those
        wanted = [2 * count, experts * 4 * width * hidden, count + 4 * rows, count / 2 + count / 16, count / 2 + nested]
        for one, bytes_of in zip(found, wanted, strict=True):
            assert abs(float(one) - bytes_of / 2**30) < 0.051 + 0.001 * float(one)


def test_rows_are_medians_and_the_overhead_is_above_the_result(loads, capsys):
    runs = [{"peak": peak, "end": 100, "held": 90, "seconds": 1.0, "cpu_seconds": 0.5} for peak in (140, 120, 190)]
    row = loads.row("moeq nf4", runs)
    assert (row["peak"], row["end"], row["overhead"]) == (140, 100, 40)
    assert row["experts"] == loads.codes_of("nf4", loads.EXPERTS, loads.WIDTH, loads.HIDDEN, loads.LAYERS)
    assert "moeq nf4" in capsys.readouterr().out


def test_a_way_is_measured_in_a_process_of_its_own(loads, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: there is nothing to load with")
    pytest.importorskip("transformers", reason="transformers is not installed: there is nothing to load with")
    loads.model_of(tmp_path / "model", 2, 64, 128, 1)
    found = loads.in_process("moeq int8", tmp_path / "model", tmp_path / "model", tmp_path / "cache")
    assert found["held"] > 0 and found["peak"] >= found["end"] and found["seconds"] > 0
    assert list((tmp_path / "cache").iterdir())
