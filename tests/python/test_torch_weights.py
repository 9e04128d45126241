"""moeq.torch.MoeqTensor as a value: made, read, written, against moeq.QTensor, torch and bitsandbytes."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")

from torch_weights import (  # noqa: E402, F401
    SHAPE,
    SPECS,
    WHOLE_GROUPS,
    decoded,
    one_thread,
    parameter,
    quantized,
    random_weight,
    same_bytes,
)

import moeq  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402


def test_moeq_alone_does_not_import_torch():
    script = "import moeq, sys; assert 'torch' not in sys.modules; moeq.torch.MoeqTensor; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_are_those_of_a_qtensor(spec, dtype):
    weight = random_weight(WHOLE_GROUPS, dtype)
    q = moeq.quantize(weight, spec)
    t = MoeqTensor.quantize(weight, spec)
    assert (t.shape, t.dtype, t.device, t.requires_grad) == (weight.shape, dtype, weight.device, False)
    assert torch.equal(t.dequantize(), torch.from_dlpack(q.dequantize()))
    assert t.spec == q.spec.with_(logical_dtype=None)
    for name, part in t.qtensor.components.items():
        theirs = torch.from_dlpack(q.component(name))
        ours = torch.from_dlpack(part)
        assert torch.equal(ours.reshape(-1).view(torch.uint8), theirs.reshape(-1).view(torch.uint8)), name


@pytest.mark.parametrize("spec", SPECS)
def test_every_component_leads_with_experts(spec):
    t = quantized(spec)
    assert {part.shape[0] for part in t.components().values()} == {SHAPE[0]}
    assert all(type(part) is torch.Tensor and part.is_contiguous() for part in t.components().values())
    assert t.quantized_nbytes == sum(part.nbytes for part in t.components().values())
    assert t.nbytes == 4 * t.numel()


def test_codes_and_absmax_are_bitsandbytes(request):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: no other NF4 to compare")
    t = quantized("nf4")
    parts = t.components()
    from bitsandbytes.functional import QuantState, dequantize_4bit, get_4bit_type

    state = QuantState(
        absmax=parts["scale"].reshape(-1), shape=torch.Size(SHAPE), blocksize=64, quant_type="nf4", dtype=torch.float32,
        code=get_4bit_type("nf4", device="cpu"),
    )  # fmt: skip
    theirs = dequantize_4bit(parts["codes"].reshape(-1, 1), state)
    assert torch.equal(t.dequantize(), theirs), bitsandbytes.__version__


@pytest.mark.parametrize("spec", ["int8:scale=factor", "fp8_e4m3", "fp8_e5m2"])
def test_codes_decode_by_torch_alone(spec):
    parts = quantized(spec).components()
    assert torch.equal(quantized(spec).dequantize(), parts["codes"].float() * parts["scale"][:, :, None])


def test_nested_experts_that_share_a_group_are_laid_out_one_by_one():
    weight = random_weight()
    t = MoeqTensor.quantize(weight, "nf4:nested")
    for expert in range(SHAPE[0]):
        alone = torch.from_dlpack(moeq.quantize(weight[expert : expert + 1], "nf4:nested").dequantize())
        assert torch.equal(t.dequantize(experts=expert), alone[0])
        assert torch.equal(torch.from_dlpack(t[expert : expert + 1].qtensor.dequantize()), alone)
    with pytest.raises(moeq.UnsupportedError, match="qtensor.*nested scales of their own"):
        t.qtensor  # noqa: B018
    with pytest.raises(moeq.UnsupportedError, match="from_qtensor.*multiple of 256"):
        MoeqTensor.from_qtensor(moeq.quantize(weight, "nf4:nested"))


def test_blocks_over_all_experts_are_refused():
    with pytest.raises(moeq.UnsupportedError, match="blocking=flat"):
        quantized("nf4:blocking=flat")


@pytest.mark.parametrize("spec", SPECS)
def test_from_a_qtensor_without_a_copy(spec):
    q = moeq.quantize(random_weight(WHOLE_GROUPS, torch.bfloat16), spec)
    t = MoeqTensor.from_qtensor(q)
    assert t.dtype == torch.bfloat16 and MoeqTensor.from_qtensor(q, dtype=torch.float32).dtype == torch.float32
    assert t.components()["codes"].data_ptr() == torch.from_dlpack(q.component("codes")).data_ptr()
    expected = torch.from_dlpack(q.dequantize())
    assert torch.equal(t.dequantize(), expected)
    del q
    assert torch.equal(t.dequantize(), expected)


def test_a_write_leaves_the_memory_of_a_qtensor_alone():
    q = moeq.quantize(random_weight(), "int8")
    before = torch.from_dlpack(q.dequantize(dtype="fp32")).clone()
    t = MoeqTensor.from_qtensor(q)
    alias = t.detach()
    with pytest.raises(moeq.ReadOnlyError, match="slice"):
        t[1:3].copy_(random_weight()[1:3])
    t.copy_(random_weight(seed=9))
    assert torch.equal(torch.from_dlpack(q.dequantize(dtype="fp32")), before)
    assert torch.equal(alias.dequantize(), t.dequantize()) and not torch.equal(t.dequantize(), before)


def test_components_make_the_same_weight():
    t = quantized("nf4:nested")
    again = MoeqTensor.from_components(t.spec, t.shape, t.components(), dtype=t.dtype)
    assert torch.equal(again.dequantize(), t.dequantize())
    parts = t.components() | {"scale": t.components()["scale"][:, 1:]}
    with pytest.raises(moeq.ShapeError, match=r"from_components: scale: got torch.uint8 \[5, 23\]; wanted .*\[5, 24\]"):
        MoeqTensor.from_components(t.spec, t.shape, parts, dtype=t.dtype)
    del parts["codes"]
    with pytest.raises(moeq.ShapeError, match="codes: got None"):
        MoeqTensor.from_components(t.spec, t.shape, parts, dtype=t.dtype)


@pytest.mark.parametrize("experts", [2, -1, [4, 0, 4], slice(1, 4), range(0, 5, 2), torch.tensor([3, 3])])
@pytest.mark.parametrize("rows", [None, (3, 9), slice(20, 99)])
def test_parts_that_are_decoded(experts, rows, decoded):
    t = quantized("nf4:nested")
    whole = t.dequantize()
    decoded.clear()
    chosen = list(experts) if isinstance(experts, range) else experts
    expected = whole[chosen][..., slice(*rows) if isinstance(rows, tuple) else rows or slice(None), :]
    assert torch.equal(t.dequantize(experts=experts, rows=rows), expected)
    out = torch.empty_like(expected, dtype=torch.float16)
    assert t.dequantize(experts=experts, rows=rows, out=out) is out
    assert torch.equal(out, expected.half())
    assert len(decoded) == 2 * (1 if isinstance(experts, int) else len(expected))
    assert t.dequantize(experts=experts, dtype=torch.float64).dtype == torch.float64


def test_wrong_arguments_say_what_was_wanted():
    t = quantized()
    with pytest.raises(IndexError, match="got 5"):
        t.dequantize(experts=5)
    with pytest.raises(moeq.ShapeError, match=r"out: got torch.float32 \[5, 24, 63\]; wanted any type \[5, 24, 64\]"):
        t.dequantize(out=torch.empty(5, 24, 63))
    with pytest.raises(moeq.ShapeError, match=r"weight: got torch.float32 \[24, 64\]"):
        MoeqTensor.quantize(random_weight()[0], "nf4")
    with pytest.raises(moeq.DtypeError, match="dtype: got torch.int8; wanted one of float32"):
        MoeqTensor.quantize(random_weight(), "nf4", dtype=torch.int8)
    with pytest.raises(moeq.ArgumentError, match="data: got Tensor; wanted a MoeqTensor"):
        MoeqTensor(random_weight())
    nan = random_weight()
    nan[3, 2, 1] = torch.nan
    with pytest.raises(moeq.BadValueError) as caught:
        MoeqTensor.quantize(nan, "int8")
    assert (caught.value.expert, caught.value.row, caught.value.column) == (3, 2, 1)


def test_it_says_what_it_is():
    assert repr(quantized()) == "MoeqTensor('nf4', [5, 24, 64], dtype=torch.float32, quantized_nbytes=4320)"
    assert repr(parameter(quantized())).endswith("quantized_nbytes=4320, parameter)")
    assert repr(MoeqTensor.empty(SHAPE, "int8", device="meta")).count("device='meta'") == 1
    assert repr(quantized("int8")[2]) == "LazyWeight([24, 64], dtype=torch.float32, spec='int8')"


def test_codes_have_no_gradient():
    assert not parameter(quantized()).requires_grad
    for make in (
        lambda: torch.nn.Parameter(quantized()),
        lambda: quantized().requires_grad_(),
        lambda: setattr(quantized(), "requires_grad", True),
        lambda: MoeqTensor(quantized(), requires_grad=True),
    ):
        with pytest.raises(moeq.ArgumentError, match="requires_grad: got True; wanted False"):
            make()


# ---- written


def test_aliases_see_what_is_written():
    p = parameter(quantized("int8"))
    aliases = [p.detach(), p.data, MoeqTensor(p, requires_grad=False)]
    delta = torch.ones(SHAPE)
    with torch.no_grad():
        p.data += delta
    expected = MoeqTensor.quantize(quantized("int8").dequantize() + delta, "int8")
    assert same_bytes(p, expected)
    assert all(torch.equal(alias.dequantize(), p.dequantize()) for alias in aliases)


@pytest.mark.parametrize("spec", SPECS)
def test_sums_in_place_are_rounded_once(spec):
    t, delta = quantized(spec, dtype=torch.bfloat16), 0.1 * random_weight(seed=8)
    exact = t.dequantize(dtype=torch.float32)  # not what bf16 would make of it
    t += delta
    assert same_bytes(t, MoeqTensor.quantize(exact + delta, spec))
    exact = t.dequantize(dtype=torch.float32)
    t.sub_(delta, alpha=0.5)
    assert same_bytes(t, MoeqTensor.quantize(exact.sub_(delta, alpha=0.5), spec))


@pytest.mark.parametrize("spec", SPECS)
def test_a_refused_write_changes_nothing(spec):
    t = quantized(spec)
    before, bad = t.clone(), torch.zeros(SHAPE)
    bad[-1, 0, 0] = torch.inf
    for write in (lambda: t.add_(bad), lambda: t.copy_(bad), lambda: setattr(t, "data", bad)):
        with pytest.raises(moeq.BadValueError) as caught:
            write()
        assert (caught.value.expert, caught.value.row, caught.value.column) == (SHAPE[0] - 1, 0, 0)
        assert same_bytes(t, before)


@pytest.mark.parametrize("spec", SPECS)
def test_equal_specs_are_copied_byte_for_byte(spec, decoded):
    source, target = quantized(spec), quantized(spec, seed=4)
    target.copy_(source)
    assert same_bytes(source, target) and not decoded
    assert target.components()["codes"].data_ptr() != source.components()["codes"].data_ptr()


def test_other_values_are_quantized():
    target = quantized("nf4")
    target.copy_(quantized("int8", seed=4))
    assert same_bytes(target, MoeqTensor.quantize(quantized("int8", seed=4).dequantize(), "nf4"))
    target.copy_(random_weight(seed=5).to(torch.float64))
    assert same_bytes(target, quantized("nf4", seed=5))
    with pytest.raises(moeq.ShapeError, match=r"copy_: got values of shape \[4, 24, 64\]"):
        target.copy_(random_weight()[:4])
    dense = torch.empty(SHAPE, dtype=torch.bfloat16)
    assert torch.equal(dense.copy_(target), target.dequantize().to(torch.bfloat16))


def test_data_is_never_a_no_op():
    p = parameter(quantized("nf4"))
    p.data = random_weight(seed=6)
    assert same_bytes(p, quantized("nf4", seed=6)) and isinstance(p, torch.nn.Parameter)
    p.data = other = quantized("nf4", seed=7)
    assert same_bytes(p, other)
    other.copy_(random_weight(seed=8))  # one memory, as torch has it
    assert same_bytes(p, other)
    for wrong, message in [
        (random_weight()[:4], r"data: got shape \[4, 24, 64\]; wanted \[5, 24, 64\]"),
        (quantized("int8"), "data: got codes 'int8'; wanted 'nf4'"),
    ]:
        with pytest.raises(ValueError, match=message):
            p.data = wrong
    assert same_bytes(p, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_changes_the_logical_type_only(dtype):
    module = torch.nn.Module()
    module.weight = p = parameter(quantized("nf4"))
    before = p.clone()
    module.to(dtype)
    assert module.weight is p and p.dtype == dtype and same_bytes(p, before)
    assert torch.equal(p.dequantize(), before.dequantize().to(dtype))
    p.data = p.data.to(torch.float32)  # as prepare_model_for_kbit_training does
    assert p.dtype == torch.float32 and same_bytes(p, before)
    assert type(p.to(torch.float32)) is MoeqTensor


def test_overflow_of_fp16_is_seen():
    t = MoeqTensor.quantize(torch.full((1, 2, 64), 1e5), "int8").to(torch.float16)
    assert torch.isinf(t.dequantize()).all() and not torch.isfinite(t).any()
    assert torch.isfinite(quantized()).all()
