"""The error bounds of docs/formats.md in float64: every format, granularity, scale kind, source and output type, over
weights of all binades that fp32 has, subnormal rows and subnormal statistics among them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moeq

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: NumPy itself has no bf16")

TYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
MANTISSA = {"fp32": 23, "fp16": 10, "bf16": 7}
LEAST_EXPONENT = {"fp32": -126, "fp16": -14, "bf16": -126}
LARGEST = {name: float(ml_dtypes.finfo(dtype).max) for name, dtype in TYPES.items()}
HALF_LEAST = 2.0**-150  # half of the smallest subnormal of fp32: the rounding of a subnormal result or statistic

WHOLE = ["row", "expert", "block128x128", "block3x5", "row,axis=-2", "block8x8,layout=gate_up"]
SPECS = [
    *(f"int8:{option}" for option in WHOLE),
    *(f"int8:scale=factor,{option}" for option in WHOLE),
    *(f"fp8_e4m3:{option}" for option in WHOLE),
    *(f"fp8_e4m3:scale=absmax,{option}" for option in WHOLE),
    *(f"fp8_e5m2:{option}" for option in WHOLE),
    *(f"{kind}:{block},blocking={blocking}" for kind in ("nf4", "fp4") for block in (32, 64) for blocking in
      ("expert", "row", "flat")),
]  # fmt: skip
NESTED = [f"{kind}:32,nested,blocking={blocking}" for kind in ("nf4", "fp4") for blocking in ("expert", "row", "flat")]


def numbers(rng, shape, source):
    """Each row around a binade of its own, from below the subnormals to the largest; the elements of a row over a few
    or many binades; some zeros, some rows all zero, some exactly the largest finite number."""
    low = {"fp32": -152, "bf16": -136, "fp16": -26}[source]
    high = {"fp32": 128, "bf16": 128, "fp16": 16}[source]
    rows = shape[:-1] + (1,)
    centre = rng.integers(low, high + 1, rows) if rng.integers(0, 4) else np.full(rows, rng.integers(low, high + 1))
    reach = int(rng.choice([0, 1, 4, 40]))
    exponents = centre - rng.integers(0, reach + 1, shape)
    x = np.ldexp(rng.uniform(-1, 1, shape), exponents)
    x[rng.random(shape) < 0.03] = 0
    x[np.broadcast_to(rng.random(rows) < 0.05, shape)] = 0
    x[rng.random(shape) < 0.002] = LARGEST[source] if rng.integers(0, 2) else -(2.0**-149)
    return np.clip(x, -LARGEST[source], LARGEST[source]).astype(TYPES[source])


def by_runs(flat, block):
    """max|x| of each run of `block` along the last axis, for each element."""
    count = flat.shape[-1]
    padded = np.zeros(flat.shape[:-1] + (-(-count // block) * block,))
    padded[..., :count] = np.abs(flat)
    runs = padded.reshape(flat.shape[:-1] + (-1, block)).max(axis=-1)
    return np.repeat(runs, block, axis=-1)[..., :count]


def by_tiles(x, rows, columns):
    result = np.empty_like(x)
    for top in range(0, x.shape[1], rows):
        for left in range(0, x.shape[2], columns):
            tile = (slice(None), slice(top, top + rows), slice(left, left + columns))
            result[tile] = np.abs(x[tile]).max(axis=(1, 2), keepdims=True)
    return result


def unit_amax(x, spec):
    """max|x| of its scale unit, for each element. x: [E, R, C] in float64."""
    experts, rows, columns = x.shape
    if spec.format in ("nf4", "fp4"):
        block = spec.block[1]
        shape = {"expert": (experts, rows * columns), "row": x.shape, "flat": (x.size,)}[spec.blocking]
        return by_runs(x.reshape(shape), block).reshape(x.shape)
    if spec.granularity == "row":
        return np.broadcast_to(np.abs(x).max(axis=spec.scale_axis, keepdims=True), x.shape)
    if spec.granularity == "expert":
        return np.broadcast_to(np.abs(x).max(axis=(1, 2), keepdims=True), x.shape)
    tile = spec.block
    if spec.layout == "gate_up":
        return np.concatenate([by_tiles(half, *tile) for half in np.split(x, 2, axis=1)], axis=1)
    return by_tiles(x, *tile)


def bound(x, amax, spec):
    """The table of docs/formats.md, before the output's own rounding."""
    magnitude = np.abs(x)
    if spec.format == "int8":
        return amax / 254 + 2.0**-22 * magnitude + (128 if spec.scale_kind == "factor" else 1) * HALF_LEAST
    if spec.format in ("nf4", "fp4"):
        return {"nf4": 0.15191, "fp4": 0.16667}[spec.format] * amax + HALF_LEAST
    limit, part, least = {"fp8_e4m3": (448, 17, 2.0**-10), "fp8_e5m2": (57344, 9, 2.0**-17)}[spec.format]
    scale = (amax.astype(np.float32) / np.float32(limit)).astype(np.float64)
    return np.maximum(magnitude / part, scale * least) * (1 + 2.0**-20) + (limit + 1) * HALF_LEAST


def half_ulp(reach, output):
    """Of the output type, for values up to `reach`."""
    exponents = np.frexp(np.maximum(reach, 2.0**-1000))[1] - 1
    return np.ldexp(0.5, np.maximum(exponents, LEAST_EXPONENT[output]) - MANTISSA[output])


def check(q, x, limits):
    """Every output type: |x - decoded| is at most the limit, and half an ulp for the types that round once more."""
    for output in TYPES:
        decoded = q.dequantize(dtype=output).numpy().astype(np.float64)
        allowed = limits if output == "fp32" else limits + half_ulp(np.abs(x) + limits, output)
        # The output type's own overflow, which only a value so near to the end may reach.
        beyond = np.isinf(decoded) & (np.abs(x) + allowed >= LARGEST[output]) & (output != "fp32")
        with np.errstate(invalid="ignore"):
            error = np.where(beyond, 0, np.abs(decoded - x))
        worst = np.unravel_index(np.argmax(np.where(error <= allowed, -1, 1)), error.shape)
        assert (error <= allowed).all(), (output, worst, float(x[worst]), float(decoded[worst]), float(allowed[worst]))


shapes = st.tuples(st.integers(1, 3), st.integers(1, 20).map(lambda half: 2 * half), st.integers(1, 150))
seeds = st.integers(0, 2**32 - 1)
sources = st.sampled_from(list(TYPES))


@pytest.mark.parametrize("text", SPECS)
@settings(max_examples=60, deadline=None)
@given(shape=shapes, source=sources, seed=seeds)
def test_every_bound_holds(text, shape, source, seed):
    weight = numbers(np.random.default_rng(seed), shape, source)
    x = weight.astype(np.float64)
    q = moeq.quantize(weight, text)
    amax = unit_amax(x, q.spec)
    check(q, x, bound(x, amax, q.spec))
    zeros = amax == 0
    assert not q.dequantize(dtype="fp32").numpy()[zeros].view(np.uint32).any(), "units of zeros decode to +0"


@pytest.mark.parametrize("text", ["int8", "int8:scale=factor", "nf4", "fp4", "fp8_e4m3", "fp8_e5m2"])
def test_every_subnormal_statistic_of_bf16_and_small_ones_of_fp32(text):
    """Rows whose largest magnitude is each subnormal of bf16, the first 2000 of fp32, and fp32's around powers of two;
    the elements of a row are parts of it, exact ties between codes among them."""
    bits = np.concatenate([
        np.arange(1, 2001),
        np.arange(1, 257) << 16,  # the subnormals of bf16, and the first normal ones
        *(np.arange(-2, 3) + (1 << power) for power in range(11, 27)),
    ]).astype(np.uint32)  # fmt: skip
    amax = np.unique(bits).view(np.float32).astype(np.float64)[:, None]
    parts = np.concatenate([np.arange(0, 255) / 254, np.exp2(-np.arange(1.0, 25.0)), [1 / 3, 5 / 6, 0.5]])
    x = np.concatenate([amax, amax * parts * np.where(np.arange(len(parts)) % 2, -1, 1)], axis=1)
    if text in ("nf4", "fp4"):
        x = x[:, :256].reshape(-1, 64).copy()
        x[:, 0] = np.repeat(amax, 4)
    weight = x.astype(np.float32)[None]
    q = moeq.quantize(weight, text)
    x = weight.astype(np.float64)
    check(q, x, bound(x, unit_amax(x, q.spec), q.spec))


@pytest.mark.parametrize("text", NESTED)
@settings(max_examples=40, deadline=None)
@given(shape=shapes, source=sources, seed=seeds)
def test_nested_statistics(text, shape, source, seed):
    """The nearest value of the map that nested statistics can have, and the 4-bit bound with the error of absmax."""
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal(shape) * np.exp2(rng.uniform(-2, 2, shape[:-1] + (1,)))).astype(TYPES[source])
    x = weight.astype(np.float64)
    q = moeq.quantize(weight, text)
    parts = {name: tensor.numpy() for name, tensor in q.components.items()}
    plain = moeq.quantize(weight, q.spec.with_(nested=False)).components["scale"].numpy().astype(np.float64).ravel()
    scale = np.repeat(parts["nested_scale"].ravel().astype(np.float64), 256)[: len(plain)]
    table, offset = parts["nested_map"].astype(np.float64), float(parts["nested_offset"])
    assert abs(offset - plain.mean()) <= 2.0**-24 * abs(plain.mean())
    candidates = table[None] * scale[:, None] + offset
    stored = candidates[np.arange(len(plain)), parts["scale"].ravel()]
    nearest = np.abs(candidates - plain[:, None]).min(axis=1)
    rounding = 2.0**-22 * (np.abs(plain) + scale)
    assert (np.abs(stored - plain) <= nearest + rounding).all()

    runs = {"expert": (shape[0], -1), "row": shape, "flat": (1, -1)}[q.spec.blocking]
    per_run = np.abs(stored - plain).reshape(int(np.prod(np.empty(x.reshape(runs).shape[:-1]).shape)), -1)
    length = x.reshape(runs).shape[-1]
    lost = np.repeat(per_run, 32, axis=1)[:, :length].reshape(shape)
    check(q, x, bound(x, unit_amax(x, q.spec), q.spec) + lost * (1 + 2.0**-20) + np.abs(x) * 2.0**-22)


def same_components(q, expected):
    for name, tensor in expected.components.items():
        assert q.components[name].numpy().tobytes() == tensor.numpy().tobytes(), name


@pytest.mark.parametrize("text", SPECS)
@settings(max_examples=20, deadline=None)
@given(shape=shapes, source=sources, seed=seeds)
def test_saturating_nan_and_inf(text, shape, source, seed):
    """NaN counts as 0, Inf as the largest finite magnitude of its scale unit with its sign: the same bytes as from a
    weight in which NumPy has replaced them."""
    rng = np.random.default_rng(seed)
    weight = numbers(rng, shape, source)
    bad = rng.random(shape) < rng.choice([0.01, 0.3, 0.97])
    holes = bad & (rng.random(shape) < 0.5)
    clean = np.where(bad, 0, weight.astype(np.float64))
    signs = np.where(rng.random(shape) < 0.5, 1.0, -1.0)
    spec = moeq.Spec(text).resolve(shape)
    amax = unit_amax(clean, spec)
    clean = np.where(bad & ~holes, signs * amax, clean).astype(TYPES[source])
    dirty = np.where(holes, np.nan, np.where(bad, signs * np.inf, weight.astype(np.float64))).astype(TYPES[source])
    same_components(moeq.quantize(dirty, spec.with_(nonfinite="saturate")), moeq.quantize(clean, spec))
    if bad.any():
        with pytest.raises(moeq.BadValueError) as caught:
            moeq.quantize(dirty, spec)
        first = tuple(np.argwhere(bad)[0])
        assert (caught.value.expert, caught.value.row, caught.value.column) == first


@pytest.mark.parametrize("text", ["int8:expert", "int8:scale=factor,expert", "fp8_e4m3:expert", "fp8_e5m2:expert"])
@settings(max_examples=40, deadline=None)
@given(shape=shapes, source=sources, seed=seeds, saturate=st.booleans())
def test_a_given_amax(text, shape, source, seed, saturate):
    """Larger values saturate: the bound holds for the clamped value, with the given amax in the place of the measured
    one. Inf becomes the given amax."""
    rng = np.random.default_rng(seed)
    weight = numbers(rng, shape, source)
    measured = np.abs(weight.astype(np.float64)).max(axis=(1, 2))
    amax = np.clip(measured * rng.choice([0, 2.0**-20, 0.3, 1, 1, 5], shape[0]), 0, LARGEST["fp32"]).astype(np.float32)
    spec = moeq.Spec(text, nonfinite="saturate" if saturate else "refuse")
    clean = weight.astype(np.float64)
    if saturate:
        place = tuple(int(rng.integers(0, extent)) for extent in shape)
        weight[place], clean[place] = -np.inf, -amax[place[0]]
    q = moeq.quantize(weight, spec, amax=amax)
    wide = np.broadcast_to(amax.astype(np.float64)[:, None, None], shape)
    x = np.clip(clean, -wide, wide)
    check(q, x, bound(x, wide, q.spec))
    scale = q.components["scale"].numpy()
    if q.spec.scale_kind == "absmax":
        np.testing.assert_array_equal(scale, amax)
    assert not q.dequantize(dtype="fp32").numpy()[amax == 0].any()


@settings(max_examples=100, deadline=None)
@given(seed=seeds, source=sources, output=st.sampled_from(["fp16", "bf16"]), text=st.sampled_from(SPECS + NESTED))
def test_smaller_outputs_are_the_fp32_value_rounded_once(seed, source, output, text):
    rng = np.random.default_rng(seed)
    weight = numbers(rng, (2, 8, 70), source)
    if "nested" in text:
        weight = np.clip(weight.astype(np.float64), -1e30, 1e30).astype(TYPES[source])
    q = moeq.quantize(weight, text)
    with np.errstate(over="ignore"):
        expected = q.dequantize(dtype="fp32").numpy().astype(TYPES[output])
    np.testing.assert_array_equal(q.dequantize(dtype=output).numpy().view(np.uint16), expected.view(np.uint16))
