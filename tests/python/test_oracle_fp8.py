"""FP8 (and int8 with a stored factor) against torch's float8 casts, ml_dtypes, compressed-tensors and transformers."""

import math
import types

import numpy as np
import pytest

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no FP8")

TYPES = {"fp8_e4m3": ("float8_e4m3fn", 448.0), "fp8_e5m2": ("float8_e5m2", 57344.0)}
TINY = 2.0**-100  # below it the reciprocal could overflow: weight and amax are multiplied by 2^100 first, exactly


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="torch is not installed")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(threads)


def weights(shape, seed, unit=1):
    """fp32 of many binades; runs of `unit` rows are of very unlike size, some of them zero, subnormal or huge."""
    rng = np.random.default_rng(seed)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    x = rng.standard_normal((rows, columns)) * np.exp2(rng.integers(-6, 6, (rows, columns)))
    for begin in range(0, rows, unit):
        part = x[begin : begin + unit]
        kind = rng.integers(0, 10)
        if kind == 0:
            part[:] = 0
        elif kind == 1:
            part *= 10 ** rng.uniform(-44, -38)
        elif kind == 2:
            part *= 10 ** rng.uniform(-38, -20)
        elif kind == 3:
            part[:] = part / np.abs(part).max() * 10 ** rng.uniform(30, 38.5)
        elif kind == 4:  # sums of few powers of two: ties between codes are common
            part[:] = np.rint(part * 16) / 16
            part.flat[0] = 448
        elif kind == 5:
            part[:] = rng.integers(-464, 465, part.shape)
            part.flat[0] = -448
    return x.reshape(shape).astype(np.float32)


def torch_codes(torch, x, amax, dtype, limit):
    """torch's cast of the scaled and clamped value. amax: broadcastable against x."""
    tiny = amax < TINY
    scaled = torch.where(tiny, x * 2.0**100, x)
    positive = torch.where(amax > 0, torch.where(tiny, amax * 2.0**100, amax), torch.ones_like(amax))
    multiplier = torch.full_like(positive, limit) / positive
    t = torch.where(amax > 0, scaled * multiplier, torch.zeros_like(x))
    return t.clamp(-limit, limit).to(dtype).view(torch.uint8)


def tiles(extent, size):
    return [(begin, min(begin + size, extent)) for begin in range(0, extent, size)]


def spread(scales, shape, rows, columns):
    """Block statistics [E, r, c] as one number per element."""
    scales = np.repeat(np.repeat(scales, rows, axis=-2), columns, axis=-1)
    return np.ascontiguousarray(scales[..., : shape[-2], : shape[-1]])


def block_amax(x, rows, columns):
    """Plain loops over tiles."""
    lines, walls = tiles(x.shape[1], rows), tiles(x.shape[2], columns)
    result = np.zeros((x.shape[0], len(lines), len(walls)), np.float32)
    for e in range(x.shape[0]):
        for i, (top, bottom) in enumerate(lines):
            for j, (left, right) in enumerate(walls):
                result[e, i, j] = np.abs(x[e, top:bottom, left:right]).max()
    return result


def codes_of(q):
    """As bytes."""
    return np.asarray(q.components["codes"].numpy()).view(np.uint8)


GRANULARITIES = {
    "row": (lambda x: np.abs(x).max(axis=2, keepdims=True), (2,)),
    "row,axis=-2": (lambda x: np.abs(x).max(axis=1, keepdims=True), (1,)),
    "expert": (lambda x: np.abs(x).max(axis=(1, 2), keepdims=True), (1, 2)),
}


@pytest.mark.parametrize("source", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("granularity", [*GRANULARITIES, "block128x128"])
@pytest.mark.parametrize("kind", TYPES)
def test_codes_are_torchs_casts_of_the_scaled_value(kind, granularity, source, torch, record_property):
    """Every code, ties included: the arithmetic is the same, so no difference is allowed. Scales to the bit."""
    name, limit = TYPES[kind]
    compared = 0
    for seed, shape in enumerate([(4, 300, 331), (3, 128, 256), (2, 1, 513), (6, 129, 1)]):
        unit = shape[1] if granularity == "expert" else 1
        x = torch.from_numpy(weights(shape, seed, unit)).clamp(
            -torch.finfo(getattr(torch, source)).max, torch.finfo(getattr(torch, source)).max
        )
        x = x.to(getattr(torch, source))
        wide = x.float()
        if granularity in GRANULARITIES:
            amax, axes = GRANULARITIES[granularity][0](wide.numpy()), GRANULARITIES[granularity][1]
            stored = amax.squeeze(axes)
        else:
            stored = block_amax(wide.numpy(), 128, 128)
            amax = spread(stored, shape, 128, 128)
        q = moeq.quantize(x, f"{kind}:{granularity}")
        expected = torch_codes(torch, wide, torch.from_numpy(amax), getattr(torch, name), limit).numpy()
        differences = int((codes_of(q) != expected).sum())
        assert differences == 0, f"{shape}: {differences} codes differ"
        scale = stored / np.float32(limit)
        np.testing.assert_array_equal(q.components["scale"].numpy().view(np.uint32), scale.view(np.uint32))
        compared += x.numel()
    record_property("codes_compared", compared)


@pytest.mark.parametrize("kind", TYPES)
def test_decoding_is_torchs_value_times_the_scale(kind, torch):
    name, limit = TYPES[kind]
    x = torch.from_numpy(weights((3, 70, 130), 11))
    q = moeq.quantize(x, f"{kind}:row")
    codes = torch.from_numpy(codes_of(q).copy()).view(getattr(torch, name)).float()
    dense = codes * torch.from_numpy(q.components["scale"].numpy().copy()).unsqueeze(-1)
    for dtype, word in ((torch.float32, "fp32"), (torch.bfloat16, "bf16"), (torch.float16, "fp16")):
        ours = torch.from_dlpack(q.dequantize(dtype=word))
        assert torch.equal(ours.view(torch.uint8), dense.to(dtype).view(torch.uint8)), word


@pytest.mark.parametrize("scale", [1.0, 0.001, 2.0**-130, 3e35, -2.5])
@pytest.mark.parametrize("kind", TYPES)
def test_ml_dtypes_agrees_on_all_256_codes(kind, scale):
    codes = np.arange(256, dtype=np.uint8).reshape(1, 256)
    values = codes.view(getattr(ml_dtypes, TYPES[kind][0])).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values * np.float32(scale)
    dense = moeq.QTensor.adopt(f"{kind}:row", (1, 256), {"codes": codes, "scale": np.array([scale], np.float32)})
    ours = dense.dequantize(dtype="fp32").numpy()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(ours[finite].view(np.uint32), expected[finite].view(np.uint32))


@pytest.mark.parametrize("kind", TYPES)
def test_ml_dtypes_agrees_on_casts(kind):
    """With amax given as the type's largest value the multiplier is 1: a code is the plain cast."""
    name, limit = TYPES[kind]
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)  # all finite fp16 from 0 on
    x = np.concatenate([halves[halves <= limit], -halves[halves <= limit]]).reshape(1, 1, -1)
    amax = np.array([limit], np.float32)
    q = moeq.quantize(x, f"{kind}:expert", amax=amax)
    assert q.components["scale"].numpy().item() == 1
    np.testing.assert_array_equal(codes_of(q), x.astype(getattr(ml_dtypes, name)).view(np.uint8))


@pytest.mark.parametrize("shape", [(2, 300, 200), (1, 128, 128), (3, 1, 129), (2, 257, 5)])
def test_block_scales_and_values_by_plain_numpy(shape):
    """Ragged edges; the judge walks over tiles and casts with ml_dtypes."""
    x = weights(shape, 5)
    q = moeq.quantize(x, "fp8_e4m3:block128x128")
    scales, codes = q.components["scale"].numpy(), codes_of(q)
    assert scales.shape == (shape[0], math.ceil(shape[1] / 128), math.ceil(shape[2] / 128))
    for e in range(shape[0]):
        for i, (top, bottom) in enumerate(tiles(shape[1], 128)):
            for j, (left, right) in enumerate(tiles(shape[2], 128)):
                tile = x[e, top:bottom, left:right]
                amax = np.abs(tile).max()
                assert scales[e, i, j] == amax / np.float32(448)
                exponent = 100 if amax < TINY else 0
                wide = np.ldexp(tile, exponent)
                multiplier = np.float32(448) / np.ldexp(amax, exponent) if amax else np.float32(0)
                judge = np.clip(wide * multiplier, -448, 448).astype(ml_dtypes.float8_e4m3fn)
                if amax == 0:
                    judge = np.zeros_like(judge)
                np.testing.assert_array_equal(codes[e, top:bottom, left:right], judge.view(np.uint8))
    dense = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * spread(scales, shape, 128, 128)
    np.testing.assert_array_equal(q.dequantize(dtype="fp32").numpy(), dense)


def test_tiles_restart_where_the_up_half_begins():
    x = weights((2, 2 * 200, 140), 6)
    q = moeq.quantize(x, "fp8_e4m3:block128x128,layout=gate_up")
    halves = [moeq.quantize(x[:, half * 200 : half * 200 + 200], "fp8_e4m3:block128x128") for half in (0, 1)]
    np.testing.assert_array_equal(codes_of(q), np.concatenate([codes_of(half) for half in halves], axis=1))
    scales = np.concatenate([half.components["scale"].numpy() for half in halves], axis=1)
    np.testing.assert_array_equal(q.components["scale"].numpy(), scales)


# ---- compressed-tensors


@pytest.fixture(scope="module")
def compressed(torch):
    """Its quantization helpers."""
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")

    def part(name):
        return pytest.importorskip(f"compressed_tensors.{name}", reason=f"its {name} has moved", exc_type=ImportError)

    forward = part("quantization.lifecycle.forward")
    helpers = part("quantization.utils")
    arguments = part("quantization").QuantizationArgs
    return types.SimpleNamespace(
        quantize=forward.quantize,
        dequantize=forward.dequantize,
        scales=helpers.calculate_qparams,
        fp8=lambda **more: arguments(num_bits=8, type="float", symmetric=True, **more),
        int8=lambda **more: arguments(num_bits=8, type="int", symmetric=True, **more),
    )


def steps(codes, others):
    """How many codes apart, for FP8 bytes: sign and magnitude as one ordered integer."""

    def order(bytes_):
        wide = bytes_.astype(np.int64)
        return np.where(wide < 128, wide, 128 - wide)

    return np.abs(order(codes) - order(others))


def ordinary(torch, shape, seed, dtype="bfloat16"):
    rng = np.random.default_rng(seed)
    sizes = np.exp2(rng.uniform(-4, 4, (shape[0], 1)))
    return torch.from_numpy((rng.standard_normal(shape) * sizes * 0.02).astype(np.float32)).to(getattr(torch, dtype))


@pytest.mark.parametrize("strategy", ["channel", "tensor", "block"])
@pytest.mark.parametrize("source", ["bfloat16", "float32"])
def test_compressed_tensors_fp8(strategy, source, torch, compressed, record_property):
    """Its scale is amax / 448, moeq's stored factor to the bit. It divides by that where moeq multiplies by 448 / amax:
    codes are equal wherever quotient and product are the same fp32, one step apart at most elsewhere, and its
    dequantization of moeq's codes is moeq's to the bit."""
    shape = (384, 640)
    x = ordinary(torch, shape, 1, source).float()  # it computes in the weight's type: in fp32 to see its rule alone
    if strategy == "block":
        arguments = compressed.fp8(strategy="block", block_structure=[128, 128])
        amax = torch.from_numpy(block_amax(x.numpy()[None], 128, 128)[0])
        granularity = "block128x128"
    elif strategy == "channel":
        arguments, granularity = compressed.fp8(strategy="channel"), "row"
        amax = x.abs().amax(dim=1, keepdim=True)
    else:
        arguments, granularity = compressed.fp8(strategy="tensor"), "expert"
        amax = x.abs().max().reshape(1)
    scale, zero = compressed.scales(-amax, amax, arguments)
    q = moeq.quantize(x, f"fp8_e4m3:{granularity}")
    ours = q.components["scale"].numpy()
    np.testing.assert_array_equal(ours.ravel().view(np.uint32), scale.float().numpy().ravel().view(np.uint32))

    theirs = compressed.quantize(x, scale, zero, arguments, dtype=torch.float8_e4m3fn)
    wide = torch.from_numpy(spread(scale.numpy()[None], (1, *shape), 128, 128)[0]) if strategy == "block" else scale
    top = torch.from_numpy(spread(amax.numpy()[None], (1, *shape), 128, 128)[0]) if strategy == "block" else amax
    same_argument = (x / wide == x * (torch.full_like(top, 448.0) / top)).numpy()
    apart = steps(codes_of(q), theirs.view(torch.uint8).numpy())
    assert same_argument.mean() > 0.3
    assert not apart[same_argument].any()
    assert apart.max() <= 1 and apart.astype(bool).mean() < 0.01
    record_property("codes_one_step_apart", float(apart.astype(bool).mean()))

    codes = torch.from_numpy(codes_of(q).copy()).view(torch.float8_e4m3fn)
    dense = compressed.dequantize(codes, scale, zero, arguments, dtype=torch.float32)
    assert torch.equal(torch.from_dlpack(q.dequantize(dtype="fp32")), dense)


def test_compressed_tensors_int8(torch, compressed):
    """Its own symmetric scale is amax / 127.5, with codes from -128 on; moeq's factor is amax / 127. Given that, its
    codes are moeq's wherever x / s and x * (127 / amax) are the same fp32, and at most one apart elsewhere. What it
    wrote decodes to its own values to the bit, -128 too."""
    x = ordinary(torch, (300, 500), 2).float()
    arguments = compressed.int8(strategy="channel")
    amax = x.abs().amax(dim=1, keepdim=True)
    q = moeq.quantize(x, "int8:scale=factor")
    factor = torch.from_numpy(q.components["scale"].numpy().copy()).unsqueeze(1)
    assert torch.equal(factor, amax / torch.tensor(127.0))
    zero = torch.zeros_like(factor)
    theirs = compressed.quantize(x, factor, zero, arguments, dtype=torch.int8).numpy()
    same_argument = (x / factor == x * (torch.tensor(127.0) / amax)).numpy()
    apart = np.abs(theirs.astype(np.int64) - q.components["codes"].numpy())
    assert same_argument.mean() > 0.3 and not apart[same_argument].any()
    assert apart.max() <= 1 and apart.astype(bool).mean() < 0.01

    x[::3, 7] = -amax[::3, 0]  # to see the code -128, the largest of a row has to be negative
    scale, zero = compressed.scales(-amax, amax, arguments)
    torch.testing.assert_close(scale, amax / 127.5, rtol=1e-6, atol=0)
    codes = compressed.quantize(x, scale, zero, arguments, dtype=torch.int8)
    assert int(codes.min()) == -128
    dense = compressed.dequantize(codes, scale, zero, arguments, dtype=torch.float32)
    adopted = moeq.QTensor.adopt("int8:scale=factor", x.shape, {"codes": codes, "scale": scale.squeeze(1).contiguous()})
    assert torch.equal(torch.from_dlpack(adopted.dequantize(dtype="fp32")), dense)


# ---- transformers


@pytest.mark.parametrize("source", ["bfloat16", "float32"])
def test_transformers_finegrained_fp8(source, torch, record_property):
    """Its multiplier is fl(fl(1/a) * 448) and its stored scale the reciprocal of that, so: codes equal in tiles where
    the multiplier is moeq's, elsewhere one step apart and in under 1 % of all; scales within 2 units in the last place;
    its codes and scales decode to its own dequantization."""
    name = "transformers.integrations.finegrained_fp8"
    module = pytest.importorskip(name, reason="transformers has no finegrained_fp8", exc_type=ImportError)
    if not hasattr(module, "Fp8Quantize"):
        pytest.skip("this version of transformers has no Fp8Quantize")
    settings = types.SimpleNamespace(weight_block_size=(128, 128), scale_fmt="float")
    quantizer = module.Fp8Quantize(types.SimpleNamespace(quantization_config=settings))
    x = ordinary(torch, (4, 128 * 512), 3, source).reshape(4, 128, 512)
    result = quantizer.convert({"w.weight": x})
    theirs, scale = result["w.weight"], result["w.weight_scale_inv"]
    q = moeq.quantize(x, "fp8_e4m3:block128x128")
    apart = steps(codes_of(q), theirs.view(torch.uint8).numpy())
    assert apart.max() <= 1 and apart.astype(bool).mean() < 0.01
    record_property("codes_one_step_apart", float(apart.astype(bool).mean()))

    amax = torch.from_numpy(block_amax(x.float().numpy(), 128, 128))
    agree = ((1.0 / amax) * 448.0 == torch.full_like(amax, 448.0) / amax).numpy()
    assert agree.any()
    assert not apart[spread(agree, x.shape, 128, 128)].any()
    ours = q.components["scale"].numpy()
    assert np.abs(ours.view(np.int32).astype(np.int64) - scale.numpy().view(np.int32)).max() <= 2

    adopted = moeq.QTensor.adopt("fp8_e4m3:block128x128", x.shape, {"codes": theirs, "scale": scale.contiguous()})
    wide = torch.from_numpy(spread(scale.numpy(), x.shape, 128, 128))
    assert torch.equal(torch.from_dlpack(adopted.dequantize(dtype="fp32")), theirs.float() * wide)
