"""moeq.torch.parametrize against bitsandbytes: codes, statistics, values, names in files, and what a module does with
such a parameter. With PEFT: test_torch_peft.py.

4-bit shapes are such that bitsandbytes' CPU path decodes them rightly, see test_dialect_bitsandbytes.py.
"""

import copy
import functools
import io
import os
import pickle
import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")

from torch.nn.utils import parametrize  # noqa: E402
from torch_weights import one_thread  # noqa: E402, F401

import moeq  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402
from moeq.torch.parametrize import (  # noqa: E402
    Bnb4bitParametrization,
    Bnb8bitParametrization,
    dense_parameter,
    moeq_parameter,
    replace_parameter_4bit,
    replace_parameter_4bit_prequantized,
    replace_parameter_8bit,
)

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SHAPES = [(48, 64), (5, 24, 64), (2, 3, 8, 128)]


@pytest.fixture(scope="module")
def bnb():
    """One that does not compile its path for odd shapes."""
    found = pytest.importorskip(
        "bitsandbytes", reason="bitsandbytes is not installed: there is nothing to compare with"
    )
    pytest.importorskip("bitsandbytes.nn.parametrize", reason="this bitsandbytes has no parametrize")
    torch.compiler.set_stance("force_eager")
    yield found
    torch.compiler.set_stance("default")


class Experts(torch.nn.Module):
    def __init__(self, shape=(5, 24, 64), dtype=torch.bfloat16):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype))
        self.bias = torch.nn.Parameter(torch.ones(shape[-2], dtype=dtype))

    def forward(self, x):
        if x is None:
            raise KeyError("no tokens")
        return sum(x @ self.weight[expert].T for expert in range(len(self.weight))) + self.bias


REPLACE = {
    "8bit": replace_parameter_8bit,
    "4bit": replace_parameter_4bit,
    "4bit nested": functools.partial(replace_parameter_4bit, compress_statistics=True),
}


def replaced(form, **fields):
    module = Experts(**fields)
    REPLACE[form](module, "weight")
    return module


def codes_of(module):
    return module.parametrizations.weight.original


def statistics(module):
    return {name: part.clone() for name, part in module.parametrizations.weight[0].named_buffers()}


def same_statistics(a, b):
    mine, others = statistics(a), statistics(b)
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


@pytest.fixture
def decodes(monkeypatch):
    """How often each form has decoded."""
    seen = []
    for kind in (Bnb8bitParametrization, Bnb4bitParametrization):

        def forward(self, codes, whole=kind.forward):
            seen.append(tuple(codes.shape))
            return whole(self, codes)

        monkeypatch.setattr(kind, "forward", forward)
    return seen


# ---- values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_8bit_is_bitsandbytes_in_the_weights_own_type(bnb, shape, dtype):
    module = Experts(shape, dtype)
    rows = module.weight.detach().reshape(-1, shape[-1])
    codes, row_stats, _ = bnb.functional.int8_vectorwise_quant(rows.float() if dtype == torch.float64 else rows)
    replace_parameter_8bit(module, "weight")
    assert torch.equal(codes_of(module), codes.view(shape)) and not codes_of(module).requires_grad
    assert torch.equal(module.parametrizations.weight[0].row_stats, row_stats)
    values = bnb.functional.int8_vectorwise_dequant(codes, row_stats).view(shape)
    assert module.weight.dtype == dtype and torch.equal(module.weight, values.to(dtype))
    q = moeq.QTensor.adopt("int8", shape, {"codes": codes_of(module).data, "scale": row_stats.view(shape[:-1])})
    assert torch.equal(torch.from_dlpack(q.dequantize(dtype="fp32")).to(dtype), module.weight)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dtype", DTYPES[:3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind, block", [("nf4", None), ("fp4", 32)])
def test_4bit_is_bitsandbytes(bnb, shape, dtype, nested, kind, block):
    ours, theirs = Experts(shape, dtype), Experts(shape, dtype)
    replace_parameter_4bit(ours, "weight", nested, kind, block)
    bnb.nn.parametrize.replace_parameter_4bit(theirs, "weight", nested, kind, block)
    assert torch.equal(codes_of(ours), codes_of(theirs))
    state, other = ours.state_dict(), theirs.state_dict()
    assert state.keys() == other.keys()
    if not nested:  # our rule for 8-bit statistics is another
        assert all(torch.equal(state[name], other[name]) for name in state)
        assert torch.equal(ours.weight, theirs.weight)
    values = bnb.functional.dequantize_4bit(codes_of(ours).data, ours.parametrizations.weight[0].quant_state)
    assert ours.weight.dtype == dtype and torch.equal(ours.weight, values)


@pytest.mark.parametrize("form", REPLACE)
@pytest.mark.parametrize("layout", ["transposed", "every other", "expanded"])
def test_any_layout_gives_what_a_contiguous_one_gives(form, layout):
    base = torch.randn(6, 64, 128)
    weight = {"transposed": base.transpose(1, 2), "every other": base[::2], "expanded": base[:1].expand(6, -1, -1)}
    found = []
    for value in (weight[layout], weight[layout].contiguous()):
        module = Experts((6, 128, 64) if layout == "transposed" else (6, 64, 128))
        module.weight = torch.nn.Parameter(value)
        assert module.weight.is_contiguous() == value.is_contiguous()
        REPLACE[form](module, "weight")
        found.append(module)
    assert torch.equal(codes_of(found[0]), codes_of(found[1])) and same_statistics(*found)
    assert torch.equal(found[0].weight, found[1].weight) and found[0].weight.shape == weight[layout].shape
    assert float((found[0].weight - weight[layout]).abs().max()) < (0.03 if form == "8bit" else 0.9)


def test_a_parametrization_by_itself_is_upstreams(bnb):
    codes, row_stats, _ = bnb.functional.int8_vectorwise_quant(torch.randn(12, 64))
    alone = Bnb8bitParametrization(row_stats)
    values = alone(codes.view(3, 4, 64))
    assert values.dtype == torch.float32 and values.shape == (3, 4, 64)
    assert torch.equal(values.view(12, 64), bnb.functional.int8_vectorwise_dequant(codes, row_stats))
    assert torch.equal(alone(codes.view(3, 4, 64)[:, ::1].transpose(0, 1).contiguous().transpose(0, 1)), values)
    packed, state = bnb.functional.quantize_4bit(torch.randn(3, 4, 64), quant_type="nf4", compress_statistics=True)
    assert torch.equal(Bnb4bitParametrization(state)(packed), bnb.functional.dequantize_4bit(packed, state))


@pytest.mark.large
@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: it takes 7 GB")
def test_more_than_2_to_the_31_elements():
    codes = torch.zeros(2, (1 << 15) + 1, 1 << 15, dtype=torch.int8)
    codes[-1, -1, -1], codes[1, 0, 0] = 127, -127
    row_stats = torch.zeros(codes.shape[:-1])
    row_stats[-1, -1], row_stats[1, 0] = 3, 5
    values = Bnb8bitParametrization(row_stats.view(-1), torch.bfloat16)(codes)
    assert (values[-1, -1, -1], values[1, 0, 0], int(values.count_nonzero())) == (3, -5, 2)


@pytest.mark.parametrize("experts", ["eager", "batched_mm", "grouped_mm"])
def test_a_model_in_bf16_computes_what_its_decoded_twin_computes(experts):
    pytest.importorskip("transformers", reason="transformers is not installed: there is no model")
    from families import models

    ours, twin = models.build("qwen3_moe"), models.build("qwen3_moe")
    for model in (ours, twin):
        model.set_experts_implementation(experts)
    for one, other in zip(ours.model.layers, twin.model.layers):
        replace_parameter_8bit(one.mlp.experts, "gate_up_proj")
        replace_parameter_4bit(one.mlp.experts, "down_proj")
        with torch.no_grad():
            for name in ("gate_up_proj", "down_proj"):
                value = getattr(one.mlp.experts, name)
                assert value.dtype == torch.bfloat16
                getattr(other.mlp.experts, name).copy_(value)
    assert torch.equal(models.compute("qwen3_moe", ours), models.compute("qwen3_moe", twin))


# ---- the time that decoded values live


@pytest.mark.parametrize("form", REPLACE)
def test_a_forward_decodes_once_and_keeps_nothing(form, decodes):
    module = replaced(form)
    module(torch.randn(3, 64).bfloat16())
    assert len(decodes) == 1
    with pytest.raises(KeyError):
        module(None)
    listed = module.parametrizations.weight
    assert (listed.window.depth, listed.window.value) == (0, None)
    module.register_forward_pre_hook(lambda *_: 1 / 0, prepend=True)
    with pytest.raises(ZeroDivisionError):
        module(torch.randn(3, 64).bfloat16())
    assert (listed.window.depth, listed.window.value) == (0, None)
    assert module.weight is not module.weight
    assert parametrize._cache_enabled == 0 and not parametrize._cache


def test_threads_do_not_see_each_others_forwards():
    module = replaced("8bit")
    x = torch.randn(3, 64).bfloat16()
    wanted = module(x)
    failures = []

    def work():
        for _ in range(50):
            if not torch.equal(module(x), wanted):
                failures.append("another result")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and module.parametrizations.weight.window.value is None


def test_gradients_pass_and_a_checkpoint_gives_the_same():
    module = replaced("4bit", dtype=torch.float32)
    dense = Experts(dtype=torch.float32)
    dense.weight = torch.nn.Parameter(module.weight.clone())
    found = []
    for run in (
        module, dense, *(lambda x, kind=kind: torch.utils.checkpoint.checkpoint(module, x, use_reentrant=kind)
                         for kind in (True, False)),
    ):  # fmt: skip
        x = torch.ones(3, 64, requires_grad=True)
        run(x).square().sum().backward()
        found.append(x.grad)
    assert all(torch.equal(one, found[0]) for one in found)
    assert module.parametrizations.weight.window.value is None


@pytest.mark.parametrize("form", REPLACE)
@torch.compiler.set_stance("default")
def test_a_compiled_module_decodes_outside_of_its_graphs(form):
    torch._dynamo.reset()
    module = replaced(form)
    x = torch.randn(3, 64).bfloat16()
    compiled = torch.compile(module, backend="aot_eager")
    for turn in range(3):
        assert torch.equal(compiled(x + turn), module(x + turn))
    module.weight = torch.ones(module.weight.shape)
    assert torch.equal(compiled(x), module(x)) and module.parametrizations.weight.window.value is None
    torch._dynamo.reset()
    with pytest.raises(Exception, match="moeq.torch: quantized weights are decoded outside of graphs"):
        torch.compile(module, backend="aot_eager", fullgraph=True)(x)


def test_a_load_that_replaces_decodes_nothing(decodes, tmp_path):
    """As patches of the load do it: parameters are replaced when they are there, and the host goes on."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: nothing loads")
    from transformers_models import dense_model, folder_of

    class Replacing(transformers.Qwen3MoeForCausalLM):
        __module__ = transformers.Qwen3MoeForCausalLM.__module__  # for code of others the host is more careful

        def _initialize_missing_keys(self, *args, **kwargs):
            for layer in self.model.layers:
                replace_parameter_8bit(layer.mlp.experts, "gate_up_proj")
                replace_parameter_4bit(layer.mlp.experts, "down_proj")
            super()._initialize_missing_keys(*args, **kwargs)

    model = Replacing.from_pretrained(folder_of("qwen3_moe"))
    assert not decodes
    for one, other in zip(model.model.layers, dense_model("qwen3_moe").model.layers):
        for name in ("gate_up_proj", "down_proj"):
            wanted = getattr(other.mlp.experts, name).detach()
            assert float((getattr(one.mlp.experts, name) - wanted).norm() / wanted.norm()) < 0.11
    assert len(decodes) == 4


def test_transformers_initializes_what_is_missing_and_decodes_nothing(decodes):
    """`initialize_weights` is what a load ends with; modules whose parameters are all there are skipped."""
    pytest.importorskip("transformers", reason="transformers is not installed: nothing initializes")
    from families import models

    model = models.build("gpt_oss")
    experts = model.model.layers[0].mlp.experts
    for module in model.modules():
        module._is_hf_initialized = module is not experts
    experts.__dict__.pop("_is_hf_initialized")
    for name in ("gate_up_proj", "down_proj"):
        replace_parameter_8bit(experts, name)
    before = [part.clone() for part in experts.parameters()]
    for name in ("gate_up_proj_bias", "down_proj_bias"):
        getattr(experts, name)._is_hf_initialized = True
    model.initialize_weights()
    assert not decodes and all(torch.equal(one, other) for one, other in zip(experts.parameters(), before))

    experts.down_proj_bias._is_hf_initialized = False  # as after a load of files that have no such tensor
    experts.__dict__.pop("_is_hf_initialized", None)
    experts.down_proj_bias.data.fill_(7)
    model.initialize_weights()
    assert not experts.down_proj_bias.any()
    assert all(torch.equal(one, other) for one, other in zip(experts.parameters(), before) if one.dtype == torch.int8)


# ---- files


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("form", REPLACE)
def test_a_state_dict_loads_again(form, assign):
    module = replaced(form)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    if form == "8bit":
        assert {"parametrizations.weight.original", "parametrizations.weight.0.row_stats", "bias"} == state.keys()
    other = replaced(form)
    other.weight = torch.zeros(other.weight.shape)
    assert not torch.equal(codes_of(other), codes_of(module))
    assert not any(other.load_state_dict(state, assign=assign))
    assert torch.equal(codes_of(other), codes_of(module)) and same_statistics(other, module)
    assert torch.equal(other.weight, module.weight)
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    assert safetensors.load(safetensors.save(module.state_dict())).keys() == state.keys()


@pytest.mark.parametrize("nested", [False, True])
def test_files_are_exchanged_with_bitsandbytes(bnb, nested):
    form = "4bit nested" if nested else "4bit"
    theirs, ours = Experts(), replaced(form)
    bnb.nn.parametrize.replace_parameter_4bit(theirs, "weight", nested)
    state = theirs.state_dict()
    ours.weight = torch.zeros(ours.weight.shape)
    assert not any(ours.load_state_dict(dict(state)))
    assert torch.equal(ours.weight, theirs.weight)

    for taker, module in ((bnb.nn.parametrize, replaced(form)), (None, theirs)):
        saved = {name: value for name, value in module.state_dict().items() if name != "bias"}
        twin = Experts()
        twin.weight = torch.nn.Parameter(saved.pop("weight"), requires_grad=False)
        take = taker.replace_parameter_4bit_prequantized if taker else replace_parameter_4bit_prequantized
        take(twin, "weight", {name.removeprefix("weight."): value for name, value in saved.items()}, "cpu")
        assert torch.equal(twin.weight, module.weight) and twin.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("form", REPLACE)
def test_dense_values_and_moeqs_own_names_load(form):
    module, other = replaced(form), replaced(form)
    dense = Experts().state_dict()
    other.weight = torch.zeros(other.weight.shape)
    assert not any(other.load_state_dict(dense))
    assert torch.equal(codes_of(other), codes_of(module)) and same_statistics(other, module)
    if form == "8bit":  # as `moeq convert --dialect bitsandbytes` writes
        other.weight = torch.zeros(other.weight.shape)
        state = {"weight": codes_of(module).data, "weight.row_stats": statistics(module)["row_stats"]}
        assert not any(other.load_state_dict({**state, "bias": module.bias}))
        assert torch.equal(other.weight, module.weight)


def test_state_that_does_not_fit_is_refused_and_changes_nothing():
    module = replaced("4bit")
    before = copy.deepcopy(module)
    bad = [
        (replaced("4bit", shape=(4, 24, 64)).state_dict(), r"weight: got codes \[3072, 1\]; wanted \[3840, 1\]"),
        (replaced("4bit", shape=(5, 64, 24)).state_dict(), r"\[5, 64, 24\]"),
        (replaced("4bit nested").state_dict(), "nested"),
        ({"weight": codes_of(module).data, "bias": module.bias}, "wanted quant_type, absmax"),
    ]
    for state, message in bad:
        with pytest.raises(RuntimeError, match=message):
            module.load_state_dict(state)
        assert torch.equal(codes_of(module), codes_of(before)) and same_statistics(module, before)
    module = replaced("8bit")
    with pytest.raises(RuntimeError, match="row_stats beside them"):
        module.load_state_dict({"weight": codes_of(module).data, "bias": module.bias})
    with pytest.raises(RuntimeError, match="NaN"):
        module.load_state_dict({"weight": torch.full((5, 24, 64), torch.nan), "bias": module.bias})


@pytest.mark.parametrize("form", REPLACE)
def test_a_module_on_meta_is_loaded(form):
    module = replaced(form)
    with torch.device("meta"):
        empty = Experts()
    REPLACE[form](empty, "weight")
    assert empty.weight.is_meta and empty.weight.shape == (5, 24, 64) and empty.weight.dtype == torch.bfloat16
    for assign in (True, False):
        twin = copy.deepcopy(empty)
        if not assign:
            twin.to_empty(device="cpu")
        assert not any(twin.load_state_dict(module.state_dict(), assign=assign))
        assert torch.equal(twin.weight, module.weight)


# ---- copies and casts


@pytest.mark.parametrize("form", REPLACE)
def test_casts_change_the_type_of_the_values_only(form):
    module = replaced(form)
    before, values = copy.deepcopy(module), module.weight.float()
    for cast in ("half", "float", "double", "bfloat16"):
        getattr(module, cast)()
        assert module.weight.dtype == module.bias.dtype == getattr(torch, {"half": "float16"}.get(cast, cast))
        assert torch.equal(codes_of(module), codes_of(before)) and same_statistics(module, before)
    assert torch.equal(module.weight, values.bfloat16()) and torch.equal(module.to("cpu").weight, module.weight)
    module.share_memory()
    assert codes_of(module).is_shared() and all(
        part.is_shared() for part in module.parametrizations.weight[0].buffers()
    )
    assert torch.equal(module.weight, values.bfloat16())


@pytest.mark.parametrize("form", REPLACE)
def test_copies_are_apart_and_pickles_come_back(form):
    module = replaced(form)
    values = module.weight
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    x = torch.randn(3, 64).bfloat16()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)):
        assert isinstance(twin, Experts) and type(twin) is not type(module)
        assert torch.equal(twin.weight, values) and torch.equal(twin(x), module(x))
        assert twin.parametrizations.weight.window.value is None and codes_of(twin) is not codes_of(module)
        twin.weight = torch.zeros(values.shape)
        assert not twin.weight.any() and torch.equal(module.weight, values)
        dense_parameter(twin, "weight")
        assert type(twin) is Experts and torch.equal(module.weight, values)


@pytest.mark.parametrize("form", REPLACE)
def test_dense_again(form):
    module, plain = replaced(form), Experts()
    value = module.weight.clone()
    found = dense_parameter(module, "weight", requires_grad=True)
    assert found is module.weight and type(found) is torch.nn.Parameter and found.requires_grad
    assert type(module) is Experts and torch.equal(found, value)
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")
    assert not any(getattr(module, name) for name in hooks)
    assert not any(module.load_state_dict(plain.state_dict()))
    replace_parameter_8bit(module, "weight")
    replace_parameter_8bit(plain, "weight")
    assert torch.equal(module.weight, plain.weight)


@pytest.mark.parametrize("form", REPLACE)
def test_a_tensor_of_the_same_codes(form):
    module = replaced(form, shape=(3, 256, 64))  # 256 blocks in each expert, as nested statistics need
    codes, values = codes_of(module).clone(), module.weight.clone()
    found = moeq_parameter(module, "weight")
    assert found is module.weight and type(found.data) is MoeqTensor and type(module) is Experts
    assert found.dtype == torch.bfloat16 and torch.equal(found.dequantize(), values)
    assert torch.equal(found.components()["codes"].reshape(-1), codes.reshape(-1))
    found.data += torch.ones_like(values)  # in memory of its own
    assert float((found.dequantize() - values - 1).abs().max()) < (0.1 if form == "8bit" else 1)


def test_what_a_tensor_cannot_have_is_refused():
    cases = [
        ("8bit", (24, 64), moeq.ShapeError, r"got shape \[24, 64\]"),
        ("4bit", (3, 5, 20), moeq.UnsupportedError, "got 100 elements in an expert"),
        ("4bit nested", (3, 24, 64), moeq.UnsupportedError, "multiple of 256"),
    ]
    for form, shape, kind, message in cases:
        module = replaced(form, shape=shape)
        values = module.weight.clone()
        with pytest.raises(kind, match=message):
            moeq_parameter(module, "weight")
        assert parametrize.is_parametrized(module, "weight") and torch.equal(module.weight, values)
    with pytest.raises(AttributeError, match="moeq_parameter: param_name: got 'weight'"):
        moeq_parameter(Experts(), "weight")


def test_two_parameters_of_one_module_and_a_foreign_parametrization():
    module = Experts(shape=(5, 64, 64))
    module.other = torch.nn.Parameter(module.weight.detach().clone())
    parametrize.register_parametrization(module, "bias", torch.nn.Identity())
    replace_parameter_8bit(module, "weight")
    replace_parameter_4bit(module, "other")
    values = module.other.clone()
    twin = pickle.loads(pickle.dumps(module))
    dense_parameter(module, "weight")
    assert torch.equal(module.other, values) and torch.equal(twin.other, values) and twin.bias.all()
    parametrize.register_parametrization(module, "other", torch.nn.Identity())
    with pytest.raises(moeq.StateError, match="Identity"):
        dense_parameter(module, "other")
    assert torch.equal(module.other, values)


# ---- writes


def test_assigning_quantizes_and_a_write_into_decoded_values_raises():
    module, fresh = replaced("8bit"), Experts()
    value = torch.linspace(-1, 1, 5 * 24 * 64).view(5, 24, 64).bfloat16()
    memory = codes_of(module).data_ptr()
    module.weight = value
    fresh.weight.data.copy_(value)
    replace_parameter_8bit(fresh, "weight")
    assert torch.equal(module.weight, fresh.weight) and codes_of(module).data_ptr() == memory
    with pytest.raises(moeq.ShapeError, match=r"got shape \[24, 64\]; wanted \[5, 24, 64\]"):
        module.weight = value[0]
    with pytest.raises(moeq.BadValueError, match="NaN"):
        module.weight = torch.full_like(value, torch.nan)

    def add(weight):
        weight += 1

    def put(weight):
        weight[0] = 0

    def set_data(weight):
        weight.data = value

    writes = [add, put, set_data, lambda w: add(w.data), lambda w: w.detach().mul_(2), lambda w: w.copy_(value),
              lambda w: torch.add(value, 1, out=w), torch.nn.init.zeros_]  # fmt: skip
    for write in writes:
        with torch.no_grad(), pytest.raises(moeq.ReadOnlyError, match="forget it"):
            write(module.weight)
    assert type(module.weight + 1) is type(module.weight[0]) is type(module.weight.clone()) is torch.Tensor
    assert torch.zeros_like(value).copy_(module.weight).any() and torch.equal(module.weight, fresh.weight)


# ---- refusals


def test_what_cannot_be_replaced_is_named_and_left():
    module = Experts()
    module.register_buffer("statistic", torch.ones(3, 4))
    module.ids = torch.nn.Parameter(torch.ones(3, 4, dtype=torch.int32), requires_grad=False)
    module.quantized = torch.nn.Parameter(MoeqTensor.quantize(torch.ones(2, 4, 64), "nf4"), requires_grad=False)
    module.eighth = torch.nn.Parameter(torch.ones(3, 4).to(torch.float8_e4m3fn), requires_grad=False)
    module.nothing = torch.nn.Parameter(torch.ones(0, 4))
    bad = [
        ("missing", AttributeError, r"replace_parameter_.bit: param_name: got 'missing', which Experts does not have"),
        ("statistic", TypeError, "got Tensor; wanted a parameter"),
        ("ids", moeq.DtypeError, "got torch.int32; wanted floating point"),
        ("quantized", moeq.StateError, "got a MoeqTensor"),
        ("eighth", moeq.DtypeError, "float8_e4m3fn; wanted one of float32"),
        ("bias", moeq.ShapeError, r"got shape \[24\]; wanted two axes"),
        ("nothing", moeq.ShapeError, r"got shape \[0, 4\]"),
    ]
    for replace in (replace_parameter_8bit, replace_parameter_4bit):
        for name, kind, message in bad:
            with pytest.raises(kind, match=message):
                replace(module, name)
        with pytest.raises(moeq.ArgumentTypeError, match="module: got dict"):
            replace({}, "weight")
    for options, message in [
        ({"quant_type": "int4"}, "quant_type: got 'int4'; wanted 'nf4' or 'fp4'"),
        ({"blocksize": 48}, "48"),
        ({"compress_statistics": "nf4"}, "compress_statistics: got 'nf4'"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace_parameter_4bit(module, "weight", **options)
    with torch.no_grad():
        module.weight[3, 7, 11] = torch.inf
    for replace in (replace_parameter_8bit, replace_parameter_4bit):
        with pytest.raises(moeq.BadValueError) as caught:
            replace(module, "weight")
        assert (caught.value.expert, caught.value.row, caught.value.column) == (3, 7, 11)
    assert type(module) is Experts and type(module.weight) is torch.nn.Parameter
    module = replaced("8bit")
    for replace in (replace_parameter_8bit, replace_parameter_4bit):
        with pytest.raises(moeq.StateError, match="parametrized already"):
            replace(module, "weight")
    with pytest.raises(AttributeError, match="not parametrized in ParametrizedExperts"):
        dense_parameter(module, "bias")


def test_parts_that_do_not_fit_are_named():
    with pytest.raises(moeq.DtypeError, match="row_stats: got torch.float16; wanted a tensor of float32"):
        Bnb8bitParametrization(torch.ones(4).half())
    with pytest.raises(moeq.ShapeError, match=r"row_stats: got 4 for codes \[3, 4, 8\]; wanted 12"):
        Bnb8bitParametrization(torch.ones(4))(torch.ones(3, 4, 8, dtype=torch.int8))
    with pytest.raises(moeq.ShapeError, match="got torch.uint8"):
        Bnb8bitParametrization(torch.ones(4))(torch.ones(4, 8, dtype=torch.uint8))
    module = replaced("4bit")
    with pytest.raises(moeq.ShapeError, match="wanted 3840 uint8"):
        module.parametrizations.weight[0](codes_of(module)[:-1])
    state = {name.removeprefix("weight."): value for name, value in module.state_dict().items() if "." in name}
    for drop, message in [("absmax", "wanted absmax as well"), ("quant_state.bitsandbytes__nf4", "wanted quant_type")]:
        twin = Experts()
        twin.weight = torch.nn.Parameter(codes_of(module).data, requires_grad=False)
        with pytest.raises(moeq.FormatError, match=message):
            part = {name: value for name, value in state.items() if name != drop}
            replace_parameter_4bit_prequantized(twin, "weight", part, "cpu")
        assert type(twin) is Experts
    twin.weight = torch.nn.Parameter(codes_of(module).data[:-2], requires_grad=False)
    with pytest.raises(moeq.ShapeError, match="wanted 3840 uint8"):
        replace_parameter_4bit_prequantized(twin, "weight", dict(state), "cpu")
    assert type(twin) is Experts


def test_as_the_page_has_it():
    module = Experts()
    before = module.weight.detach().clone()
    # [quote: replace]
    replace_parameter_8bit(module, "weight")
    assert module.weight.dtype == torch.bfloat16  # decoded for this line, and forgotten
    print(module.parametrizations.weight.original.dtype, module.parametrizations.weight[0].row_stats.shape)
    # [end]
    assert float((module.weight - before).abs().max()) <= float(before.abs().max()) / 127
    counts = [sum(part.numel() for part in one.parameters()) for one in (module, replaced("4bit"), Experts())]
    assert counts[0] == counts[2] and counts[1] == counts[2] - before.numel() // 2
