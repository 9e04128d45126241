"""Products, selections and sums of quantized weights, and their gradients, against dense torch.

References hold the dequantized weights in fp64, where torch's own products take it: differences are roundings of fp64.
"""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")

from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch_weights import (  # noqa: E402, F401
    SHAPE,
    SPECS,
    decoded,
    one_thread,
    parameter,
    quantized,
    random_weight,
    relative,
    strict,
)

import moeq  # noqa: E402
from moeq.torch import DensifyWarning, LazyWeight, MoeqTensor, densify  # noqa: E402

EXPERTS, ROWS, COLUMNS = SHAPE
TIGHT = 1e-14


def wide(spec="nf4"):
    """A weight that stands for fp64, and its values."""
    t = parameter(quantized(spec).double())
    return t, t.dequantize()


def factors(rank=3, seed=11):
    generator = torch.Generator().manual_seed(seed)
    lhs = torch.randn(EXPERTS, ROWS, rank, generator=generator, dtype=torch.float64)
    rhs = torch.randn(EXPERTS, rank, COLUMNS, generator=generator, dtype=torch.float64)
    return lhs.requires_grad_(), rhs.requires_grad_()


def rows_of(count, width, seed=12):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(result, expected, tolerance=TIGHT):
    assert type(result) is torch.Tensor and (result.shape, result.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance * float(expected.detach().abs().max()))


def with_adapter(kind, weight, lhs, rhs):
    if kind == "none":
        return weight
    if kind == "factors":
        return torch.baddbmm(weight, lhs, rhs, alpha=0.7)
    return weight + 0.7 * (lhs @ rhs) if kind == "sum" else (lhs @ rhs) * 0.7 + weight


IDS = torch.tensor([3, 0, 3, 1])
ENDS = torch.tensor([2, 2, 7, 7, 8], dtype=torch.int32)

# name: input's shape, product with a weight [E, R, C], the experts that it decodes
PRODUCTS = {
    "linear": ((2, 3, COLUMNS), lambda x, w: functional.linear(x, w[2]), [2]),
    "linear 0-d index": ((6, COLUMNS), lambda x, w: functional.linear(x, w[torch.tensor(1)]), [1]),
    "linear bias": ((6, COLUMNS), lambda x, w: functional.linear(x, w[-1], torch.ones(ROWS, dtype=x.dtype)), [4]),
    "x @ W": ((6, ROWS), lambda x, w: x @ w[0], [0]),
    "x @ W.T": ((2, 6, COLUMNS), lambda x, w: x @ w[0].T, [0]),
    "x @ W.mT": ((2, 6, COLUMNS), lambda x, w: x @ w[0].mT, [0]),
    "W @ x": ((COLUMNS, 6), lambda x, w: w[3] @ x, [3]),
    "mm": ((6, ROWS), lambda x, w: torch.mm(x, w[1]), [1]),
    "addmm": ((6, COLUMNS), lambda x, w: torch.addmm(torch.ones(ROWS, dtype=x.dtype), x, w[1].t(), alpha=2), [1]),
    "transposed first": ((6, COLUMNS), lambda x, w: x @ w.transpose(1, 2)[4], [4]),
    "bmm": ((EXPERTS, 2, ROWS), torch.bmm, [0, 1, 2, 3, 4]),
    "bmm transposed": ((EXPERTS, 2, COLUMNS), lambda x, w: torch.bmm(x, w.mT), [0, 1, 2, 3, 4]),
    "W bmm x": ((len(IDS), COLUMNS, 1), lambda x, w: torch.bmm(w[IDS], x), [0, 1, 3]),
    "x bmm W": ((len(IDS), 2, ROWS), lambda x, w: torch.bmm(x, w[IDS]), [0, 1, 3]),
    "matmul of a range": ((2, 3, ROWS), lambda x, w: torch.matmul(x, w[1:3]), [1, 2]),
    "index_select": ((len(IDS), 2, ROWS), lambda x, w: x @ w.index_select(0, IDS), [0, 1, 3]),
    "grouped": ((8, ROWS), lambda x, w: functional.grouped_mm(x, w, offs=ENDS), [0, 2, 4]),
    "grouped transposed": ((8, COLUMNS), lambda x, w: torch._grouped_mm(x, w.transpose(-2, -1), offs=ENDS), [0, 2, 4]),
    "permute": ((8, COLUMNS), lambda x, w: torch._grouped_mm(x, w.permute(0, 2, 1), offs=ENDS), [0, 2, 4]),
    "unbind": ((6, COLUMNS), lambda x, w: sum(functional.linear(x, one) for one in w.unbind()[3:]), [3, 4]),
}


def dense_product(name, product, x, weight):
    """torch's own; it has no grouped product in fp64, so that one is written out."""
    if name.startswith("grouped") or name == "permute":
        matrices = weight if x.shape[-1] == ROWS else weight.mT
        begins = [0, *ENDS.tolist()]
        return torch.cat([x[a:b] @ matrix for a, b, matrix in zip(begins, begins[1:], matrices)])
    return product(x, weight)


@pytest.mark.parametrize("adapter", ["none", "factors", "sum", "reversed sum"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_gradients(name, adapter, decoded, strict):
    shape, product, experts = PRODUCTS[name]
    weight, values = wide()
    lhs, rhs = factors()
    x = rows_of(torch.tensor(shape).prod(), 1).view(shape).requires_grad_()
    decoded.clear()
    result = product(x, with_adapter(adapter, weight, lhs, rhs))
    assert len(decoded) == 2 * len(experts)  # fp64 decodes through fp32
    assert sorted(set(decoded)) == ([0, 1] if (name, adapter) == ("matmul of a range", "none") else experts)
    upstream = torch.randn_like(result)
    got = torch.autograd.grad(result, [x, lhs, rhs], upstream, allow_unused=True)
    assert len(decoded) == 4 * len(experts)
    expected = dense_product(name, product, x, with_adapter(adapter, values, lhs, rhs))
    same(result, expected)
    for ours, theirs in zip(got, torch.autograd.grad(expected, [x, lhs, rhs], upstream, allow_unused=True)):
        assert (ours is None) == (theirs is None) == (adapter == "none" and ours is not got[0])
        if ours is not None:
            same(ours, theirs)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_format_multiplies_its_own_values(spec, dtype, strict):
    t = quantized(spec, dtype=dtype)
    x = rows_of(7, COLUMNS).to(dtype)
    for expert in range(EXPERTS):
        assert torch.equal(functional.linear(x, t[expert]), functional.linear(x, t.dequantize(experts=expert)))


def test_two_adapters_of_both_kinds(strict):
    weight, values = wide()
    (lhs, rhs), (lhs2, rhs2) = factors(), factors(2, 13)
    both = lambda w: torch.baddbmm(torch.baddbmm(w, lhs, rhs) - lhs2 @ rhs2, lhs2, rhs2, alpha=3)  # noqa: E731
    x = rows_of(8, COLUMNS).requires_grad_()
    result = torch._grouped_mm(x, both(weight).mT, offs=ENDS)
    expected = dense_product("grouped", torch.bmm, x, both(values))
    same(result, expected)
    wanted = [x, lhs, rhs, lhs2, rhs2]
    for ours, theirs in zip(*(torch.autograd.grad(y.square().sum(), wanted) for y in (result, expected))):
        same(ours, theirs, 1e-13)


def test_adapters_of_a_transposed_weight(strict):
    weight, values = wide()
    lhs, rhs = factors()
    add = lambda w: torch.baddbmm(w.mT, rhs.mT, lhs.mT, alpha=2).mT  # noqa: E731
    x = rows_of(4, COLUMNS)
    same(functional.linear(x, add(weight)[2]), functional.linear(x, add(values)[2]))


def test_rows_behind_the_last_group_are_zero(strict):
    weight, _ = wide()
    result = torch._grouped_mm(rows_of(11, ROWS), weight, offs=ENDS)
    assert result[8:].count_nonzero() == 0 and result[:8].count_nonzero() == 8 * COLUMNS


def test_products_that_do_not_fit():
    t = quantized()
    for product in (
        lambda: functional.linear(torch.ones(2, 63), t[0]),
        lambda: functional.linear(torch.ones(2, COLUMNS, dtype=torch.bfloat16), t[0]),
        lambda: torch.bmm(torch.ones(4, 2, ROWS), t),
        lambda: torch._grouped_mm(torch.ones(8, ROWS), t, offs=ENDS[:4]),
        lambda: torch.baddbmm(t, torch.ones(EXPERTS, ROWS, 2), torch.ones(EXPERTS, 3, COLUMNS)),
        lambda: torch.baddbmm(t, *(part.detach() for part in factors())),  # fp64
    ):
        with pytest.raises(RuntimeError, match="moeq.torch.*got.*wanted"):
            product()
    for index in (lambda: t[5], lambda: t[torch.tensor([0, 5])], lambda: t[IDS][4]):
        with pytest.raises(IndexError, match="wanted|out of bounds"):
            index()


@pytest.mark.parametrize("logical", [torch.float32, torch.bfloat16])
def test_autocast_is_that_of_dense_products(logical):
    t = quantized(dtype=logical)
    x = rows_of(9, COLUMNS).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = functional.linear(x, t[1]), functional.linear(x, t.dequantize(experts=1))
        batch = x[:, None].expand(9, EXPERTS, COLUMNS).transpose(0, 1)
        assert torch.equal(torch.bmm(batch, t.mT), torch.bmm(batch, t.dequantize().mT))
    assert torch.equal(ours, theirs) and ours.dtype == torch.bfloat16
    gradients = [torch.autograd.grad(y.float().square().sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(*gradients) and gradients[0].dtype == torch.float32


@pytest.mark.parametrize("backward_inside", [False, True])
def test_adapters_under_autocast(backward_inside):
    """Grouped products are no matter of autocast, linear ones are; a weight in fp32 has adapters in fp32."""
    t = parameter(quantized())
    lhs, rhs = (part.detach().float().requires_grad_() for part in factors())
    x, ends = rows_of(9, COLUMNS).float().requires_grad_(), torch.tensor([0, 4, 4, 9, 9], dtype=torch.int32)
    found = []
    for weight in (t, t.dequantize()):
        with torch.autocast("cpu", torch.bfloat16):
            with torch.autocast("cpu", enabled=False):
                adapted = torch.baddbmm(weight, lhs, rhs, alpha=0.7)  # as PEFT does it
            grouped, linear = torch._grouped_mm(x, adapted.mT, offs=ends), functional.linear(x, adapted[1])
            assert (grouped.dtype, linear.dtype) == (torch.float32, torch.bfloat16)
            total = grouped.square().sum() + linear.float().square().sum()
            if backward_inside:
                total.backward()
        if not backward_inside:
            total.backward()
        found.append([grouped, linear.float(), *(part.grad for part in (x, lhs, rhs))])
        x.grad = lhs.grad = rhs.grad = None
    assert relative(found[0][0], found[1][0]) < 1e-6
    assert all(relative(ours, theirs) < 0.01 for ours, theirs in zip(*found))


# ---- what autograd keeps


def layers(count):
    dense = [random_weight((3, 64, 64), seed=seed) for seed in range(count)]
    return [parameter(MoeqTensor.quantize(weight, "nf4").double()) for weight in dense]


def run_layers(x, weights, adapters=()):
    for place, weight in enumerate(weights):
        if adapters:
            weight = torch.baddbmm(weight, *adapters[place])
        x = torch.tanh(torch._grouped_mm(x, weight.mT, offs=torch.tensor([4, 4, 9])))
        x = functional.linear(x, weight[1])
    return x


def test_a_reused_buffer_does_not_reach_gradients():
    """All layers decode into the same memory, which autograd must not have saved."""
    weights = layers(4)
    x = rows_of(9, 64).requires_grad_()
    ours = torch.autograd.grad(run_layers(x, weights).square().sum(), x)[0]
    expected = x
    for weight in [weight.dequantize() for weight in weights]:
        expected = torch.cat([expected[:4] @ weight[0].T, expected[4:] @ weight[2].T]).tanh() @ weight[1].T
    same(ours, torch.autograd.grad(expected.square().sum(), x)[0], 1e-13)


@pytest.mark.parametrize("adapted", [False, True])
def test_nothing_dense_is_kept_for_backward(adapted):
    weights = layers(3)
    lhs, rhs = torch.randn(3, 64, 2, dtype=torch.float64), torch.randn(3, 2, 64, dtype=torch.float64)
    adapters = [(lhs.clone().requires_grad_(), rhs.clone().requires_grad_()) for _ in weights] if adapted else ()
    kept = []

    def pack(tensor):
        kept.append(0 if isinstance(tensor, (LazyWeight, MoeqTensor)) else tensor.untyped_storage().nbytes())
        return tensor

    x = rows_of(9, 64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run_layers(x, weights, adapters).sum().backward()
    assert kept and max(kept) < 64 * 64 * 8  # one expert


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant):
    weights = layers(3)
    adapters = [(torch.randn(3, 64, 2).double().requires_grad_(), torch.randn(3, 2, 64).double().requires_grad_())
                for _ in weights]  # fmt: skip
    wanted = [part for pair in adapters for part in pair]
    gradients = []
    for recompute in (False, True):
        x = rows_of(9, 64).requires_grad_()
        run = lambda x: run_layers(x, weights, adapters)  # noqa: E731
        result = checkpoint(run, x, use_reentrant=reentrant) if recompute else run(x)
        for part in wanted:
            part.grad = None
        result.square().sum().backward()
        gradients.append([x.grad] + [part.grad for part in wanted])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients))


def test_codes_written_between_forward_and_backward_are_noticed():
    for write in (
        lambda t: t.add_(torch.ones(t.shape)),
        lambda t: t.components()["scale"].mul_(2),
        lambda t: t.copy_(quantized("int8", seed=5)),
    ):
        t = quantized("int8")
        x = torch.ones(2, COLUMNS, requires_grad=True)
        result = functional.linear(x, t[1])
        write(t)
        with pytest.raises(moeq.StateError, match="backward.*written after the forward"):
            result.sum().backward()


def test_allocations_do_not_grow_with_experts(strict):
    """Bytes that one forward asks torch for, with 4 and with 64 experts of which two are hit."""
    from torch.profiler import ProfilerActivity, profile

    asked = []
    for experts in (4, 64):
        t = MoeqTensor.quantize(random_weight((experts, 64, 64)), "int8")
        lhs, rhs = torch.randn(experts, 64, 2), torch.randn(experts, 2, 64)
        ends = torch.tensor([5] * (experts - 1) + [9], dtype=torch.int32)
        run = lambda: torch._grouped_mm(torch.ones(9, 64), torch.baddbmm(t, lhs, rhs).mT, offs=ends)  # noqa: B023,E731
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run()
        asked.append(sum(max(0, event.self_cpu_memory_usage) for event in seen.key_averages()))
    assert 0 < asked[0] == asked[1]


# ---- below autograd, and the policy


def test_adapters_do_not_lose_gradients_below_autograd():
    lazy = torch.baddbmm(quantized().double(), *factors())
    with torch._C.DisableTorchFunctionSubclass():
        for run in (lambda: torch.mm(torch.ones(2, ROWS).double(), lazy.select(0, 1)), lambda: torch.sin(lazy)):
            with pytest.raises(moeq.MoeqError, match="below autograd, where their gradients would be lost"):
                run()


def test_gradients_do_not_vanish_into_codes():
    t, delta = quantized(), torch.ones(SHAPE, requires_grad=True)
    t += delta
    for use in (lambda: functional.linear(torch.ones(2, COLUMNS), t[0]), lambda: t + 1.0 * delta, lambda: t.mT):
        with pytest.raises(moeq.StateError, match="values with a gradient were written"):
            use()
    p = parameter(quantized())
    p.data += delta  # as PEFT merges, without no_grad: `.data` asks for no gradient
    assert not p.requires_grad and functional.linear(torch.ones(2, COLUMNS), p[0]).grad_fn is None


def test_products_below_autograd_are_right():
    weight, values = wide()
    x = rows_of(5, ROWS).requires_grad_()
    with torch._C.DisableTorchFunctionSubclass():
        result = x @ weight[2]
        gradient = torch.autograd.grad(result.square().sum(), x)[0]
    same(result, x @ values[2])
    same(gradient, torch.autograd.grad((x @ values[2]).square().sum(), x)[0])


def test_an_unknown_operator_makes_the_weight_dense_by_policy():
    weight, values = wide()
    lhs, rhs = factors()
    with densify("error"), pytest.raises(moeq.UnsupportedError, match=r"aten.sin.default.*\[5, 24, 64\].*densify"):
        torch.sin(weight)
    with densify("error"), pytest.raises(moeq.UnsupportedError, match="sin.*densify"):
        torch.sin(torch.baddbmm(weight, lhs, rhs))
    with densify("allow"), warnings.catch_warnings():
        warnings.simplefilter("error")
        same(torch.sin(weight), values.sin())
    densify._warned.clear()
    with densify("warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(torch.cos(weight), values.cos())
        torch.cos(weight)
        adapted = torch.baddbmm(weight, lhs, rhs).cos()
        assert [(w.category, "aten.cos" in str(w.message)) for w in caught][:1] == [(DensifyWarning, True)]
        assert len(caught) == 2  # once below and once above autograd
    expected = torch.baddbmm(values, lhs, rhs).cos()
    same(adapted, expected)
    for ours, theirs in zip(*(torch.autograd.grad(y.sum(), [lhs, rhs]) for y in (adapted, expected))):
        same(ours, theirs)
    with pytest.raises(moeq.ArgumentError, match="mode: got 'never'; wanted one of error, warn, allow"):
        densify("never")


def test_an_unknown_write_is_quantized():
    t = quantized("int8")
    values = t.dequantize()
    with densify("error"), pytest.raises(moeq.UnsupportedError, match="mul_"):
        t.mul_(2)
    with densify("allow"):
        assert t.mul_(3) is t
        assert torch.equal(t.dequantize(), MoeqTensor.quantize(3 * values, "int8").dequantize())
        torch.nn.init.zeros_(t)
    assert t.dequantize().count_nonzero() == 0
    with pytest.raises(moeq.UnsupportedError, match="lazy weight to write into"):
        t[1].mul_(2)


def test_copies_of_what_is_lazy_are_values():
    t = quantized("int8")
    lazy = t[1:4][torch.tensor([2, 0])]
    assert torch.equal(copy.deepcopy(lazy), t.dequantize()[[3, 1]])
    assert torch.equal(lazy.dequantize(), t.dequantize()[[3, 1]])
    assert lazy.to(torch.bfloat16).dtype == torch.bfloat16 and isinstance(lazy.to(torch.bfloat16), LazyWeight)
