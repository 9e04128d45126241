"""The command line: what verify, diff, report, bench and doctor find, print and draw."""

import json
import re
import shutil

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

from checkpoints import stacked, write_model, write_safetensors  # noqa: E402
from command_line import command, document, refused  # noqa: E402

import moeq  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"

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
    from moeq.cli.show import pictures

    near, far, none = np.array([[1.0, 2.0]]), np.array([[9.0, 9.1]]), np.array([[np.nan, np.nan]])
    assert pictures.common_range([near, near + 1, none]) == (1, 3)
    assert pictures.common_range([near, 10 * far]) is None
    assert pictures.common_range([none]) == (0, 1)


@pytest.mark.parametrize("low, high", [(0.09, 0.1), (0.06, 0.7), (1e-3, 20.0), (3e-8, 500.0), (1e-30, 1e30)])
def test_numbers_below_a_histogram(low, high):
    from moeq.cli.show import pictures

    begin, end = pictures.widened(low, high)
    found = pictures.places(begin, end)
    assert begin < low and high < end and end / begin >= 3.999
    assert 4 <= len(found) <= pictures.MAX_PLACES and found == sorted(found)
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
