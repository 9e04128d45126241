"""Gate and up of all experts in a 3-D tensor each, as step3p5 and step3p7 have them: every dialect keeps or cuts them."""

import json

import numpy as np
import pytest
from checkpoints import normal, write_safetensors
from command_line import command

import moeq

MOE = "model.layers.0.moe."
SHAPES = {"gate_proj": (256, 128), "up_proj": (256, 128), "down_proj": (128, 256)}


def write(folder, experts):
    """A checkpoint of one layer; returns its tensors, fp32, by the name of the projection."""
    folder.mkdir()
    tensors = {name: normal(seed, (experts, *shape)) for seed, (name, shape) in enumerate(SHAPES.items())}
    write_safetensors(folder / "model.safetensors", {f"{MOE}{name}.weight": tensor for name, tensor in tensors.items()})
    (folder / "config.json").write_text(json.dumps({"model_type": "step3p5", "hidden_size": 128}))
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def read_safetensors(folder):
    """All tensors of a folder by name, as type, shape and bytes; nothing of moeq is asked."""
    found = {}
    for file in folder.glob("*.safetensors"):
        raw = file.read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:end]).items():
            if name != "__metadata__":
                begin, stop = entry["data_offsets"]
                found[name] = (entry["dtype"], entry["shape"], raw[end + begin : end + stop])
    return found


def relative_error(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("experts", [1, 2, 3, 5])
@pytest.mark.parametrize("spec", ["fp8_e4m3:block128x128", "fp8_e4m3:block64x32", "fp8_e4m3:expert"])
def test_fp8_parts_stay_tensors_of_all_experts(spec, experts, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dense = write(tmp_path / "source", experts)
    moeq.convert(tmp_path / "source", tmp_path / "out", spec=spec, dialect="hf-fp8", durable=False)
    files = read_safetensors(tmp_path / "out")
    assert sorted(files) == sorted(f"{MOE}{name}.weight{end}" for name in SHAPES for end in ("", "_scale_inv"))
    tile = [int(n) for n in spec.partition("block")[2].split("x")] if "block" in spec else None
    for name, wanted in dense.items():
        dtype, shape, raw = files[f"{MOE}{name}.weight"]
        assert dtype == "F8_E4M3" and tuple(shape) == wanted.shape
        codes = np.frombuffer(raw, ml_dtypes.float8_e4m3fn).reshape(shape).astype(np.float32)
        _, scale_shape, raw = files[f"{MOE}{name}.weight_scale_inv"]
        rows, columns = tile or wanted.shape[1:]
        assert tuple(scale_shape) == (experts, wanted.shape[1] // rows, wanted.shape[2] // columns)
        scales = np.frombuffer(raw, np.float32).reshape(scale_shape).repeat(rows, 1).repeat(columns, 2)
        assert relative_error(codes * scales, wanted) < 0.04, name


@pytest.mark.parametrize("spec", ["nf4", "fp4:128", "nf4:64,nested", "int8"])
def test_parts_in_the_dialect_of_bitsandbytes(spec, tmp_path):
    dense = write(tmp_path / "source", 3)
    moeq.convert(tmp_path / "source", tmp_path / "out", spec=spec, dialect="bitsandbytes", durable=False)
    files = read_safetensors(tmp_path / "out")
    for name, wanted in dense.items():
        stem = f"{MOE}{name}.weight"
        dtype, _, raw = files[stem]
        if spec == "int8":
            codes = np.frombuffer(raw, np.int8).reshape(wanted.shape).astype(np.float32)
            absmax = np.frombuffer(files[stem + ".row_stats"][2], np.float32).reshape(*wanted.shape[:2], 1)
            found, bound = codes * absmax / 127, 0.01
        else:
            torch = pytest.importorskip("torch")
            functional = pytest.importorskip("bitsandbytes.functional")
            types = {"F32": torch.float32, "U8": torch.uint8}
            state = {
                key.removeprefix(stem + "."): torch.frombuffer(bytearray(data), dtype=types[kind]).reshape(shape)
                for key, (kind, shape, data) in files.items()
                if key.startswith(stem + ".")
            }
            codes = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, 1)
            quant_state = functional.QuantState.from_dict(state, device=torch.device("cpu"))
            found = functional.dequantize_4bit(codes, quant_state).float().numpy()
            bound = 0.25
        assert found.shape == wanted.shape and relative_error(found, wanted) < bound, name


def test_compressed_tensors_cut_them_into_linears(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for experts in (1, 3):
        dense = write(tmp_path / f"source{experts}", experts)
        target = tmp_path / f"out{experts}"
        moeq.convert(
            tmp_path / f"source{experts}", target, spec="fp8_e4m3", dialect="compressed-tensors", durable=False
        )
        files = read_safetensors(target)
        codes = {name: value for name, value in files.items() if value[0] == "F8_E4M3"}
        assert len(codes) == 3 * experts
        left = {(name, expert) for name in SHAPES for expert in range(experts)}
        for name, (_, shape, raw) in codes.items():
            values = np.frombuffer(raw, ml_dtypes.float8_e4m3fn).reshape(shape).astype(np.float32)
            scales = np.frombuffer(files[name + "_scale"][2], np.float32).reshape(-1, 1)
            near = [
                key
                for key in left
                if dense[key[0]].shape[1:] == tuple(shape)
                and relative_error(values * scales, dense[key[0]][key[1]]) < 0.04
            ]
            assert len(near) == 1, name
            left.remove(near[0])
        assert not left


@pytest.mark.parametrize(
    ("spec", "dialect"),
    [("nf4", "native"), ("int8", "native"), ("fp8_e4m3:expert", "hf-fp8"), ("nf4", "bitsandbytes")],
)
def test_results_are_compared_with_their_source(spec, dialect, tmp_path):
    write(tmp_path / "source", 3)
    moeq.convert(tmp_path / "source", tmp_path / "out", spec=spec, dialect=dialect, durable=False)
    done = command("verify", tmp_path / "out", "--against", tmp_path / "source")
    assert done.returncode == 0, done.stderr


def test_parts_are_pieces_of_one_stack(tmp_path):
    dense = write(tmp_path / "source", 3)
    with moeq.open(tmp_path / "source") as reader:
        stack = reader.find(MOE + "gate_up_proj").stack
        assert stack.shape == (3, 512, 128) and not stack.fused
        with reader.load(stack, spec="int8") as whole:
            found = whole.dequantize(dtype="fp32").numpy()
    wanted = np.concatenate([dense["gate_proj"], dense["up_proj"]], 1)
    assert relative_error(found, wanted) < 0.01
