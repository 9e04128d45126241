"""MXFP8 against torchao's and compressed-tensors' own functions."""

import numpy as np
import pytest

import moeq

torch = pytest.importorskip("torch", reason="torch is not installed")


def blocks(seed, dtype):
    """[3, 40, 96] of blocks of very unlike size: zero, subnormal, huge, and largest values around 448 * 2^n."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 40, 3, 32)) * np.exp2(rng.integers(-30, 30, (3, 40, 3, 1)))
    kind = rng.integers(0, 8, (3, 40, 3))
    x[kind == 0] = 0
    x[kind == 1] *= 2.0**-120
    x[kind == 2] = x[kind == 2] / np.abs(x[kind == 2]).max(-1, keepdims=True) * 3e38
    edge = np.exp2(rng.integers(-20, 20, (3, 40, 3))) * rng.choice([440, 448, 449, 450, 456, 464], (3, 40, 3))
    x[..., 7] = np.where(kind == 3, edge, x[..., 7])
    x[kind == 3] = np.clip(x[kind == 3], -edge[kind == 3][:, None], edge[kind == 3][:, None])
    return torch.from_numpy(x.reshape(3, 40, 96).astype(np.float32)).to(dtype)


def codes_and_scales(weight):
    parts = weight.components
    return (torch.from_dlpack(parts[name]).contiguous().view(torch.uint8) for name in ("codes", "scale"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_codes_and_scales_are_those_of_torchao(seed, dtype):
    """Its rounding up. With the least scale there is, 2^-127, it does not divide by it: every code is 0 there."""
    to_mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason="torchao is not installed").to_mx
    from torchao.prototype.mx_formats.config import ScaleCalculationMode

    x = blocks(seed, dtype)
    scale, codes = to_mx(x, torch.float8_e4m3fn, 32, ScaleCalculationMode.RCEIL)
    mine, mine_scale = codes_and_scales(moeq.quantize(x, "mxfp8"))
    assert torch.equal(mine_scale, scale.view(torch.uint8))
    divided = mine_scale.repeat_interleave(32, -1) != 0
    assert divided.any()
    assert not divided.all()
    assert torch.equal(mine[divided], codes.view(torch.uint8)[divided])


def test_the_scale_is_the_least_that_saturates_nothing():
    """torchao, which rounds logarithms, has the next lower one up to 2^-22 above 448."""
    x = torch.zeros(1, 1, 32)
    x[..., 0] = float(np.nextafter(np.float32(448), np.float32(449)))
    codes, scale = codes_and_scales(moeq.quantize(x, "mxfp8"))
    assert scale.item() == 128
    assert codes[0, 0, 0].item() == 0x76  # 224


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_decoded_values_are_those_of_torchao(name):
    """All codes but NaN with all scales but NaN."""
    module = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason="torchao is not installed")
    dtype = getattr(torch, name)
    every = torch.tensor([c for c in range(256) if c & 0x7F != 0x7F] + [0, 0], dtype=torch.uint8)  # 8 blocks
    codes = every.repeat(255, 1).view(torch.float8_e4m3fn)
    scale = torch.arange(255, dtype=torch.uint8)[:, None].repeat(1, 8).view(torch.float8_e8m0fnu)
    weight = moeq.QTensor.adopt("mxfp8", (1, 255, 256), {"codes": codes[None], "scale": scale[None]})
    want = module.to_dtype(codes, scale, torch.float8_e4m3fn, 32, torch.float32).to(dtype)
    got = torch.empty(1, 255, 256, dtype=dtype)
    weight.dequantize(out=got)
    assert torch.equal(got[0], want)


def test_compressed_tensors_decodes_our_bytes_as_we_do():
    base = pytest.importorskip(
        "compressed_tensors.compressors.mxfp8.base", reason="compressed-tensors is not installed"
    )
    from compressed_tensors.quantization import QuantizationScheme
    from compressed_tensors.quantization.quant_scheme import MXFP8A16

    x = blocks(9, torch.bfloat16).clamp(-1e30, 1e30)
    weight = moeq.quantize(x, "mxfp8")
    codes, scale = codes_and_scales(weight)
    scheme = QuantizationScheme(targets=["Linear"], **MXFP8A16)
    for expert in range(3):
        state = {"weight": codes[expert].view(torch.float8_e4m3fn), "weight_scale": scale[expert]}
        dense = base.MXFP8QuantizationCompressor.decompress(state, scheme)["weight"]
        mine = torch.empty(40, 96, dtype=dense.dtype)
        weight.dequantize(experts=expert, out=mine)
        assert torch.equal(dense, mine)
