"""bitsandbytes on the CPU: the same codes and statistics under profile bnb_cpu, its files decode to the same values.

Where bitsandbytes' own vectorised dequantization is wrong (rows that are no multiple of the block), both are judged by
its table times its absmax, element by element.
"""

import json
import math
import warnings

import numpy as np
import pytest

import moeq

torch = pytest.importorskip("torch", reason="torch is not installed")
bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
F = bnb.functional

SOURCES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Aligned, ragged, odd, one row, one column, one element, and enough of them.
SHAPES = [(1600, 1920), (511, 1003), (3, 77, 96), (7, 33, 45), (2, 3, 5, 31), (1, 4097), (13, 1), (129, 64), (1, 1)]


@pytest.fixture(autouse=True, scope="module")
def quiet_torch():
    """One thread, and no compiler: bitsandbytes has torch.compile around its path for odd shapes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")
    torch.set_num_threads(threads)


def weights(shape, dtype, seed, run=160):
    """Every kind of run that a weight can hold, along the flat elements: ordinary, zero, subnormal, tiny, huge, many
    binades at once, values half-way between int8 codes, and -0.0."""
    rng = np.random.default_rng(seed)
    count = math.prod(shape)
    x = rng.standard_normal(count).astype(np.float32) * np.float32(0.02)
    limit = torch.finfo(dtype).max
    for start in range(0, count, run):
        part = x[start : start + run]
        kind = rng.integers(0, 24)
        if kind == 0:
            part[:] = 0
        elif kind == 1:  # subnormal
            part[:] = part * np.float32(2e-38)
        elif kind == 2:  # about the floor, 1e-38
            part[:] = part * np.float32(1e-36)
        elif kind == 3:
            part[:] = part * np.float32(10 ** rng.uniform(-38, -20))
        elif kind == 4:
            part[:] = np.clip(part * 50, -1, 1) * np.float32(limit)
        elif kind == 5:
            part[:] = part * np.exp2(rng.integers(-20, 20, len(part))).astype(np.float32)
        elif kind == 6:  # ties of int8 when the largest is 127
            part[:] = rng.integers(-254, 255, len(part)) / np.float32(2)
        elif kind == 7:
            part[::3] = -0.0
    return torch.from_numpy(x).reshape(shape).to(dtype)


def cases(run=None):
    for seed, shape in enumerate(SHAPES):
        for name, dtype in SOURCES.items():
            yield shape, name, weights(shape, dtype, seed, run or shape[-1])


def bits(array):
    array = np.ascontiguousarray(array)
    return array.view(f"u{array.dtype.itemsize}")


def torch_bits(tensor):
    """A tensor's bytes as integers, for types that NumPy lacks."""
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32}[tensor.element_size()]).numpy()


# ---- codes and statistics


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_4bit_codes_and_absmax_are_bitsandbytes(kind):
    compared = 0
    for index, (shape, name, x) in enumerate(cases(run=160)):
        block = (64, 128, 32, 4096, 256)[index % 5] if x.numel() < 10**6 else 64
        codes, state = F.quantize_4bit(x, blocksize=block, quant_type=kind)
        q = moeq.quantize(x, f"{kind}:{block},blocking=flat,profile=bnb_cpu")
        ours = q.components["codes"].numpy()
        assert ours.shape == codes.shape, (shape, name)
        np.testing.assert_array_equal(ours, codes.numpy(), err_msg=f"{shape} {name} {block}")
        np.testing.assert_array_equal(
            bits(q.components["scale"].numpy()), bits(state.absmax.numpy()), err_msg=f"{shape} {name} {block}"
        )
        compared += x.numel()
    assert compared >= 10**7, compared


def test_experts_of_whole_blocks_have_the_same_bytes_without_flat_blocking():
    x = weights((6, 40, 96), torch.bfloat16, 1)
    codes, state = F.quantize_4bit(x, blocksize=64, quant_type="nf4")
    q = moeq.quantize(x, "nf4:profile=bnb_cpu")
    assert q.components["codes"].numpy().tobytes() == codes.numpy().tobytes()
    assert q.components["scale"].numpy().tobytes() == state.absmax.numpy().tobytes()
    parts = [moeq.quantize(one, "nf4:profile=bnb_cpu").components["codes"].numpy().tobytes() for one in x]
    assert b"".join(parts) == codes.numpy().tobytes()


def int8_rows(x):
    """bitsandbytes takes two axes."""
    return x.reshape(-1, x.shape[-1])


def test_int8_codes_and_absmax_are_bitsandbytes():
    compared = 0
    for shape, name, x in cases():
        codes, absmax, _ = F.int8_vectorwise_quant(int8_rows(x))
        q = moeq.quantize(x, "int8:profile=bnb_cpu")
        ours = q.components["codes"].numpy().reshape(codes.shape)
        np.testing.assert_array_equal(
            bits(q.components["scale"].numpy().ravel()), bits(absmax.numpy()), err_msg=f"{shape} {name}"
        )
        # Where 127 times the reciprocal overflows, bitsandbytes converts Inf to an integer: no defined result.
        with np.errstate(over="ignore", divide="ignore"):
            defined = np.isfinite((np.float32(1) / absmax.numpy()) * np.float32(127)) | (absmax.numpy() == 0)
        np.testing.assert_array_equal(ours[defined], codes.numpy()[defined], err_msg=f"{shape} {name}")
        compared += ours[defined].size
    assert compared >= 10**7, compared


@pytest.mark.parametrize("name", SOURCES)
def test_int8_parameters_go_through_fp16(name):
    """Int8Params rounds the weight to fp16 before it quantizes."""
    for seed, shape in enumerate([(64, 512), (33, 77), (5, 1), (1, 1000)]):
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32)).to(SOURCES[name])
        x[0, 0] = 300  # beyond what 10 bits of mantissa hold next to it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = bnb.nn.Int8Params(x.clone(), requires_grad=False).to("cpu")
        q = moeq.quantize(x, "int8:profile=bnb_cpu_fp16")
        np.testing.assert_array_equal(q.components["codes"].numpy(), theirs.CB.numpy())
        np.testing.assert_array_equal(bits(q.components["scale"].numpy()), bits(theirs.SCB.float().numpy()))


def test_int8_dequantization_is_bitsandbytes():
    for seed, shape in enumerate([(200, 1024), (31, 77), (4, 1)]):
        x = int8_rows(weights(shape, torch.float32, seed))
        x = torch.where(x.abs() < 1e36, x, torch.ones(()))  # from 2^120 on its product overflows
        codes, absmax, _ = F.int8_vectorwise_quant(x)
        dense = F.int8_vectorwise_dequant(codes, absmax)
        q = moeq.QTensor.adopt("int8", shape, {"codes": codes, "scale": absmax})
        np.testing.assert_array_equal(bits(q.dequantize(dtype="fp32").numpy()), bits(dense.numpy()))


# ---- dequantization


def table_times_absmax(codes, absmax, kind, block, shape):
    """What the format means, from bitsandbytes' own table: one fp32 product for each element."""
    table = F.get_4bit_type(kind, device="cpu")
    count = math.prod(shape)
    nibbles = torch.stack([codes.flatten() >> 4, codes.flatten() & 15], 1).flatten()[:count].long()
    return (table[nibbles] * absmax.repeat_interleave(block)[:count]).reshape(shape)


def adopted(codes, state, kind, shape, block):
    return moeq.QTensor.adopt(
        f"{kind}:{block},blocking=flat", shape, {"codes": codes, "scale": state.absmax.contiguous()}
    )


ALIGNED = [((600, 1024), 64), ((3, 40, 128), 128), ((2, 5, 4096), 4096), ((9, 96), 32)]


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("name", SOURCES)
def test_aligned_dequantization_is_bitsandbytes(kind, name):
    for seed, (shape, block) in enumerate(ALIGNED):
        x = weights(shape, SOURCES[name], seed)
        codes, state = F.quantize_4bit(x, blocksize=block, quant_type=kind)
        theirs = F.dequantize_4bit(codes, state)
        assert theirs.dtype == SOURCES[name] and theirs.shape == x.shape
        products = table_times_absmax(codes, state.absmax, kind, block, shape)
        ours = torch.from_dlpack(adopted(codes, state, kind, shape, block).dequantize(dtype=name))
        assert torch.equal(ours, products.to(SOURCES[name])), (shape, block)
        if name == "bf16":  # where it uses the CPU's own conversion, subnormal products become zeros
            flushed = (products != 0) & (products.abs() < torch.finfo(torch.float32).tiny) & (theirs == 0)
            ours, theirs = torch.where(flushed, 0, ours), torch.where(flushed, 0, theirs)
            assert flushed.float().mean() < 0.2
        if kind == "nf4":
            np.testing.assert_array_equal(torch_bits(ours), torch_bits(theirs), err_msg=f"{shape} {block}")
        else:  # code 8 is -0.0 in its scalar table and +0.0 in its vector tables
            assert torch.equal(ours, theirs), (shape, block)


RAGGED = [
    ((4, 96), 64), ((3, 64), 128), ((8, 2880), 128), ((4, 1408), 256), ((5, 48), 32), ((33, 16), 32), ((2, 3, 96), 64),
    ((300, 400), 64), ((16, 80), 64), ((64, 1536), 1024), ((4, 112), 64), ((4, 80), 32),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_ragged_dequantization_is_right_whatever_bitsandbytes_does(kind, record_property):
    """Rows that are no multiple of the block. On CPUs with AVX-512, bitsandbytes 0.50 reads the wrong absmax there; the
    test says whether the installed one does so on this machine, and holds only moeq to the right values."""
    findings, total_wrong = [], 0
    for seed, (shape, block) in enumerate(RAGGED):
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))
        codes, state = F.quantize_4bit(x, blocksize=block, quant_type=kind)
        q = adopted(codes, state, kind, shape, block)
        for name, dtype in SOURCES.items():
            judge = table_times_absmax(codes, state.absmax, kind, block, shape).to(dtype)
            ours = torch.from_dlpack(q.dequantize(dtype=name))
            assert torch.equal(ours, judge), f"moeq is wrong at {shape}, block {block}, {name}"
            state.dtype = dtype
            theirs = F.dequantize_4bit(codes, state)
            wrong = int((theirs != judge).sum())
            total_wrong += wrong
            findings.append(f"{list(shape)} block {block} {name}: {wrong} of {x.numel()} values wrong")
    verdict = "WRONG" if total_wrong else "right"
    report = f"bitsandbytes {bnb.__version__} {kind} is {verdict} here for rows that are no multiple of the block"
    print("\n".join([report, *findings]))
    record_property("bitsandbytes_ragged_" + kind, report)
    record_property("bitsandbytes_ragged_wrong_values", total_wrong)


# ---- nested statistics


def nested_cases(kind):
    for seed, (shape, block) in enumerate([((300, 1024), 64), ((7, 33, 45), 64), ((3, 77, 96), 32), ((40, 4096), 128)]):
        for dtype in SOURCES.values():
            rng = np.random.default_rng(seed)
            x = torch.from_numpy(rng.standard_normal(shape, np.float32) * np.float32(0.02)).to(dtype)
            yield (shape, block, x, *F.quantize_4bit(x, blocksize=block, quant_type=kind, compress_statistics=True))


def adopted_nested(codes, state, kind, shape, block):
    parts = {
        "codes": codes,
        "scale": state.absmax,
        "nested_scale": state.state2.absmax,
        "nested_map": state.state2.code,
        "nested_offset": state.offset,
    }
    return moeq.QTensor.adopt(f"{kind}:{block},blocking=flat,nested", shape, parts)


def absmax_of(state):
    """bitsandbytes' own decode."""
    return F.dequantize_blockwise(state.absmax, state.state2) + state.offset


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_nested_statistics_decode_to_the_same_absmax(kind):
    one = {"nf4": 0xFF, "fp4": 0x33}[kind]  # the code of 1.0, twice: a decoded element is its block's absmax
    for shape, block, _, codes, state in nested_cases(kind):
        absmax = absmax_of(state)
        ones = torch.full_like(codes, one)
        dense = adopted_nested(ones, state, kind, shape, block).dequantize(dtype="fp32").numpy().ravel()
        np.testing.assert_array_equal(bits(dense[::block]), bits(absmax.numpy()), err_msg=f"{shape} {block}")
        judge = table_times_absmax(codes, absmax, kind, block, shape)
        ours = torch.from_dlpack(adopted_nested(codes, state, kind, shape, block).dequantize(dtype="fp32"))
        assert torch.equal(ours, judge), (shape, block)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
def test_files_of_bitsandbytes(kind, nested, tmp_path):
    """What QuantState writes into a safetensors file, read back without bitsandbytes."""
    safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    shape = (4, 30, 128)
    x = torch.from_numpy(np.random.default_rng(3).standard_normal(shape, np.float32)).to(torch.bfloat16)
    codes, state = F.quantize_4bit(x, blocksize=64, quant_type=kind, compress_statistics=nested)
    entries = {f"w.{key}": value.contiguous() for key, value in state.as_dict(packed=True).items()}
    safetensors_torch.save_file({"w": codes, **entries}, tmp_path / "file.safetensors")

    file = safetensors_numpy.load_file(tmp_path / "file.safetensors")
    facts = json.loads(file[f"w.quant_state.bitsandbytes__{kind}"].tobytes())
    parts = {"codes": file["w"], "scale": file["w.absmax"]}
    kind, block = facts["quant_type"], facts["blocksize"]
    spec = moeq.Spec(kind, block=block, blocking="flat", logical_dtype="bf16", nested=nested)
    if nested:
        assert facts["nested_blocksize"] == 256
        parts["nested_scale"] = file["w.nested_absmax"]
        parts["nested_map"] = file["w.nested_quant_map"]
        parts["nested_offset"] = np.array(facts["nested_offset"], np.float32)
    ours = torch.from_dlpack(moeq.QTensor.adopt(spec, facts["shape"], parts).dequantize())
    assert ours.dtype == torch.bfloat16 and torch.equal(ours, F.dequantize_4bit(codes, state))


def test_our_nested_encoding_is_at_least_as_near(record_property):
    """The codes of nested statistics are not promised to be the same bytes. What is: absmax at least as near."""
    differing = statistics = 0
    sums = np.zeros(2)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        spread = np.exp2(rng.uniform(-1, 1, (250, 1))).astype(np.float32)  # rows of unlike size
        x = torch.from_numpy(rng.standard_normal((250, 4096), np.float32) * spread * np.float32(0.02))
        _, plain = F.quantize_4bit(x, blocksize=64, quant_type="nf4")
        _, state = F.quantize_4bit(x, blocksize=64, quant_type="nf4", compress_statistics=True)
        q = moeq.quantize(x, "nf4:64,blocking=flat,profile=bnb_cpu,nested")
        parts = {name: tensor.numpy() for name, tensor in q.components.items()}
        differing += int((parts["scale"].ravel() != state.absmax.numpy()).sum())
        statistics += parts["scale"].size
        ones = {**parts, "codes": np.full_like(parts["codes"], 0xFF)}
        ours = moeq.QTensor.adopt(q.spec, x.shape, ones).dequantize(dtype="fp32").numpy().ravel()[::64]
        true = plain.absmax.numpy().astype(np.float64)
        errors = [np.mean((decoded.astype(np.float64) - true) ** 2) for decoded in (ours, absmax_of(state).numpy())]
        sums += errors
        assert errors[0] <= errors[1] * (1 + 1e-4), (seed, errors)
    assert sums[0] <= sums[1]
    report = (
        f"nested statistics: {differing} of {statistics} bytes ({differing / statistics:.2%}) differ from "
        f"bitsandbytes; mean square error of absmax is {sums[0] / sums[1]:.6f} times its"
    )
    print(report)
    record_property("nested_against_bitsandbytes", report)
