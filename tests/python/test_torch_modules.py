"""Quantized parameters in modules: saved, loaded, copied, moved, compiled, shared between processes, sharded."""

import copy
import io
import pickle
import subprocess
import sys
import threading
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")

from torch.nn import functional  # noqa: E402
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
from moeq.torch import LazyWeight, MoeqTensor  # noqa: E402

EXPERTS, ROWS, COLUMNS = SHAPE


class Experts(torch.nn.Module):
    """A quantized weight between two ordinary operations."""

    def __init__(self, weight):
        super().__init__()
        self.weight = parameter(weight)
        self.linear = torch.nn.Linear(COLUMNS, COLUMNS, dtype=weight.dtype)

    def forward(self, x):
        return torch.sin(functional.linear(torch.tanh(self.linear(x)), self.weight[1]))


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def meta(spec, shape=SHAPE):
    with torch.device("meta"):
        return Experts(MoeqTensor.empty(shape, spec, dtype=torch.float32))


@pytest.mark.parametrize("spec", SPECS)
def test_a_state_dict_is_saved_and_loaded_without_quantizing(spec, decoded):
    module = Experts(quantized(spec))
    state = torch.load(io.BytesIO(saved(module.state_dict())), weights_only=True)
    assert same_bytes(state["weight"], module.weight) and state["weight"].dtype == torch.float32
    target = Experts(quantized(spec, seed=9))
    before = target.weight
    target.load_state_dict(state)
    assert target.weight is before and same_bytes(target.weight, module.weight)
    empty = meta(spec)
    empty.load_state_dict(state, assign=True)
    assert same_bytes(empty.weight, module.weight) and isinstance(empty.weight, torch.nn.Parameter)
    other = meta(spec).to_empty(device="cpu")
    other.load_state_dict(state)
    assert same_bytes(other.weight, module.weight) and not decoded


def test_dense_values_load_into_a_quantized_parameter():
    module = Experts(quantized("int8"))
    state = module.state_dict() | {"weight": random_weight(seed=5)}
    module.load_state_dict(state)
    assert same_bytes(module.weight, quantized("int8", seed=5))
    state["weight"] = state["weight"][:4]
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        module.load_state_dict(state)


def test_map_location():
    state = torch.load(io.BytesIO(saved({"w": quantized()})), weights_only=True, map_location="meta")
    assert state["w"].is_meta and state["w"].shape == SHAPE
    module = Experts(quantized())
    state = torch.load(io.BytesIO(saved(module.state_dict())), weights_only=True, map_location="meta")
    twin = Experts(quantized(seed=9))
    twin.load_state_dict(state, assign=True)
    assert twin.weight.is_meta and twin.weight.spec == module.weight.spec
    twin.load_state_dict(module.state_dict(), assign=True)
    assert same_bytes(twin.weight, module.weight)


def test_a_process_without_moeq_is_told_what_to_import(tmp_path):
    (tmp_path / "state.pt").write_bytes(saved(quantized()))
    script = "import sys, torch; torch.load(sys.argv[1], weights_only=True)"
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "state.pt"], capture_output=True, text=True)
    assert run.returncode == 1 and "moeq.torch.pickling.rebuild" in run.stderr


def test_safetensors_has_the_components(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed: nothing to write with")
    t = quantized("nf4:nested")
    safetensors.save_file(t.components(), tmp_path / "w.safetensors")
    again = MoeqTensor.from_components(
        t.spec, t.shape, safetensors.load_file(tmp_path / "w.safetensors"), dtype=t.dtype
    )
    assert same_bytes(again, t)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
@pytest.mark.parametrize("spec", SPECS)
def test_copies_are_whole(spec, copied):
    module = Experts(quantized(spec, dtype=torch.bfloat16))
    module.weight.tag = "kept"
    twin = copied(module)
    assert same_bytes(twin.weight, module.weight) and twin.weight.dtype == torch.bfloat16
    assert isinstance(twin.weight, torch.nn.Parameter) and not twin.weight.requires_grad
    assert twin.weight.components()["codes"].data_ptr() != module.weight.components()["codes"].data_ptr()
    assert copied is not copy.deepcopy or twin.weight.tag == "kept"
    twin.weight.data = torch.zeros(SHAPE)
    assert not same_bytes(twin.weight, module.weight)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("part", [lambda q: q, lambda q: q[1:]])
def test_a_qtensor_pickles(spec, part):
    q = part(moeq.quantize(random_weight(WHOLE_GROUPS, torch.bfloat16), spec))
    again = pickle.loads(pickle.dumps(q))
    assert (again.spec, again.shape, again.nbytes) == (q.spec, q.shape, q.copy().nbytes)
    assert torch.equal(torch.from_dlpack(again.dequantize()), torch.from_dlpack(q.dequantize()))
    again.requantize(random_weight(q.shape, torch.bfloat16, seed=4))  # whole, with memory of its own
    assert not torch.equal(torch.from_dlpack(again.dequantize()), torch.from_dlpack(q.dequantize()))
    empty = pickle.loads(pickle.dumps(moeq.empty((0, 3), "bf16")))
    assert (empty.shape, empty.dtype) == ((0, 3), "bf16")


def test_a_module_is_converted_in_place():
    module = Experts(quantized())
    weight, before = module.weight, quantized()
    assert module.to(torch.bfloat16).to("cpu").weight is weight
    assert weight.dtype == torch.bfloat16 and same_bytes(weight, before)
    assert module.to("meta").weight.is_meta


def test_an_accelerator_rebuilds_a_parameter_from_its_class():
    p = parameter(quantized())
    again = type(p)(p.data, requires_grad=False)
    assert same_bytes(again, p) and type(again) is MoeqTensor and isinstance(again, torch.nn.Parameter)


def test_meta_tensors_multiply():
    module = meta("nf4:nested").to(torch.bfloat16)
    result = module(torch.ones(2, COLUMNS, dtype=torch.bfloat16, device="meta"))
    assert result.is_meta and result.shape == (2, ROWS)
    assert MoeqTensor.quantize(torch.empty(SHAPE, device="meta"), "int8").is_meta


def test_inference_mode():
    module = Experts(quantized())
    x = torch.ones(2, COLUMNS)
    expected = module(x).detach()
    with torch.inference_mode():
        assert torch.equal(module(x), expected)
        inner = Experts(quantized())
        inner(x)
    assert torch.equal(module(x), expected)
    inner(x).sum().backward()


def test_threads_do_not_share_a_buffer():
    modules = [Experts(quantized(seed=seed)) for seed in range(4)]
    x = torch.randn(64, COLUMNS)
    expected = [module(x).detach() for module in modules]
    wrong = []

    def run(module, result):
        wrong.extend(turn for turn in range(100) if not torch.equal(module(x), result))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(modules, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_modules_break_their_graph_there(backend):
    module = Experts(quantized())
    x = torch.randn(2, COLUMNS, requires_grad=True)
    expected = module(x)
    gradient = torch.autograd.grad(expected.sum(), x)[0]
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error", moeq.torch.DensifyWarning)
        result = torch.compile(module, backend=backend)(x)
        assert torch.equal(result, expected)
        assert torch.equal(torch.autograd.grad(result.sum(), x)[0], gradient)
        torch._dynamo.reset()
        with pytest.raises(Exception, match="moeq.torch: quantized weights are decoded outside of the graphs"):
            torch.compile(module, backend=backend, fullgraph=True)(x)
    torch._dynamo.reset()


def test_a_compiled_module_moves():
    """torch swaps what its parameters hold: they stay the same objects, and the graphs find them."""
    module = Experts(quantized())
    x, weight, before = torch.randn(2, COLUMNS), module.weight, quantized()
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="aot_eager")
    compiled(x)
    for move in (
        lambda: module.to("cpu"),
        module.cpu,
        lambda: compiled.to(torch.bfloat16),
        lambda: module.to(torch.float32),
    ):
        move()
        assert module.weight is weight and same_bytes(weight, before)
        assert torch.equal(compiled(x.to(weight.dtype)), module(x.to(weight.dtype)))
    parts, context = weight.__tensor_flatten__()
    again = MoeqTensor.__tensor_unflatten__(
        {name: getattr(weight, name) for name in parts}, context, weight.shape, None
    )
    assert same_bytes(again, weight) and again.dtype == weight.dtype
    assert compiled.to("meta") is compiled and module.weight is weight and weight.is_meta
    torch._dynamo.reset()


def test_functional_call_and_swap():
    module = Experts(quantized())
    other = quantized(seed=4)
    x = torch.ones(2, COLUMNS)
    result = torch.func.functional_call(module, {"weight": other}, x)
    weight = module.weight
    torch.utils.swap_tensors(weight, parameter(other))
    assert module.weight is weight and same_bytes(weight, quantized(seed=4))
    assert torch.equal(module(x), result)


# ---- processes


def write_from_a_child(weight):
    weight.copy_(quantized("int8", seed=6))


def test_shared_memory_is_one_memory(tmp_path):
    module = Experts(quantized("int8"))
    before, handle = module.weight.clone(), module.weight.qtensor
    values = torch.from_dlpack(handle.dequantize(dtype="fp32")).clone()
    assert not module.weight.is_shared()
    module.share_memory()
    assert module.weight.is_shared() and same_bytes(module.weight, before)
    context = torch.multiprocessing.get_context("fork")
    child = context.Process(target=write_from_a_child, args=(module.weight,))
    child.start()
    child.join(60)
    assert child.exitcode == 0 and same_bytes(module.weight, quantized("int8", seed=6))
    assert torch.equal(torch.from_dlpack(handle.dequantize(dtype="fp32")), values)  # the old memory is whole


# ---- what FSDP2 does with a parameter


def test_shards_have_codes_and_scales_of_whole_experts(decoded):
    for spec in SPECS:
        p = parameter(quantized(spec))
        chunks = p.chunk(2)
        assert [tuple(chunk.shape) for chunk in chunks] == [(3, ROWS, COLUMNS), (2, ROWS, COLUMNS)]
        padded = p.data.new_zeros(chunks[0].size())
        padded.narrow(0, 0, 2).copy_(chunks[1])
        assert same_bytes(padded[:2], chunks[1]) and type(padded) is MoeqTensor
        flat = padded.view(-1)
        assert type(flat) is LazyWeight and flat.shape == (3 * ROWS * COLUMNS,)
        assert same_bytes(flat.view(padded.shape), padded)
        whole = torch.as_strided(p, p.shape, (ROWS * COLUMNS, COLUMNS, 1), 0)
        assert type(whole) is MoeqTensor and same_bytes(whole, p)
        first = torch.as_strided(p, (4, ROWS, COLUMNS), (ROWS * COLUMNS, COLUMNS, 1), 0)
        assert same_bytes(first, p[:4])
        assert [tuple(part.shape) for part in p.split([1, 4])] == [(1, ROWS, COLUMNS), (4, ROWS, COLUMNS)]
        assert not decoded
        assert padded.dequantize(experts=2).count_nonzero() == 0
        decoded.clear()
    assert type(p.new_zeros(3, 3)) is torch.Tensor and type(torch.empty_like(p, dtype=torch.int32)) is torch.Tensor


def test_slices_share_memory():
    t = quantized("int8")
    part = t[1:3]
    part.copy_(quantized("int8", seed=4)[1:3])
    expected = quantized("int8").dequantize()
    expected[1:3] = quantized("int8", seed=4).dequantize()[1:3]
    assert torch.equal(t.dequantize(), expected)


def test_gathering_moves_codes(decoded, tmp_path):
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("torch was built without gloo: there is no collective on a CPU")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        t = quantized("nf4:nested")
        name = distributed.group.WORLD.group_name
        gathered = torch.ops._c10d_functional.all_gather_into_tensor(t, 1, name)
        gathered = torch.ops._c10d_functional.wait_tensor(gathered)
        assert type(gathered) is MoeqTensor and same_bytes(gathered, t) and not decoded
    finally:
        distributed.destroy_process_group()
