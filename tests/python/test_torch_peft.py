"""The test that decides: PEFT trains adapters on quantized experts as it trains them on the dense weights.

An experts module of transformers with both of its parameters targeted, against the same module with the dequantized
weights. The reference runs in fp64 with the plain loop over experts, so what differs is a rounding of fp64. Which PEFT:
the one on the path; test_torch_peft_versions.py runs this file with others.
"""

import copy
import os
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")
peft = pytest.importorskip("peft", reason="peft is not installed: there are no adapters to train")
pytest.importorskip("transformers", reason="transformers is not installed: there is no experts module")

from torch_weights import (  # noqa: E402, F401
    SPECS,
    decoded,
    one_thread,
    parameter,
    relative,
    same_bytes,
    strict,
)
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig  # noqa: E402
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts  # noqa: E402

import moeq.peft  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402
from moeq.torch.parametrize import dense_parameter, moeq_parameter, replace_parameter_4bit, replace_parameter_8bit  # noqa: E402

IMPLEMENTATIONS = ["eager", "grouped_mm", "batched_mm"]
NAMES = ["gate_up_proj", "down_proj"]
EXPERTS, HIDDEN, WIDTH, TOKENS = 8, 64, 32, 10
HIT = [0, 2, 3, 6]


class Layer(torch.nn.Module):
    """An experts module by itself, with a fixed routing to four of its eight experts."""

    def __init__(self, implementation):
        super().__init__()
        config = Qwen3MoeConfig(
            hidden_size=HIDDEN, moe_intermediate_size=WIDTH, num_experts=EXPERTS, num_experts_per_tok=2
        )
        config._experts_implementation = implementation
        self.experts = Qwen3MoeExperts(config)

    def forward(self, x):
        ids = torch.tensor([[HIT[token % 4], HIT[(token + 1) % 4]] for token in range(TOKENS)])
        return self.experts(x, ids, torch.full(ids.shape, 0.5, dtype=x.dtype))


def layers(implementation, spec, dtype):
    """The same experts quantized and dense."""
    torch.manual_seed(1)
    quantized, dense = Layer(implementation).to(dtype), Layer("eager").to(dtype)
    for name in NAMES:
        values = torch.randn(getattr(dense.experts, name).shape)
        weight = MoeqTensor.quantize(0.2 * values, spec, dtype=dtype)
        setattr(quantized.experts, name, parameter(weight))
        setattr(dense.experts, name, parameter(weight.dequantize()))
    return quantized, dense


def adapter_config(**fields):
    targets = [f"experts.{name}" for name in NAMES]
    return peft.LoraConfig(r=4, lora_alpha=6, target_parameters=targets, init_lora_weights=False, **fields)


def adapters(model):
    return {name: part for name, part in model.named_parameters() if "lora_" in name}


def adapted(implementation="eager", spec="nf4", dtype=torch.float64):
    """Both with equal adapters."""
    models = []
    for layer in layers(implementation, spec, dtype):
        torch.manual_seed(2)
        models.append(peft.get_peft_model(layer, adapter_config(), autocast_adapter_dtype=False))
    ours, theirs = (adapters(model) for model in models)
    assert list(ours) == list(theirs) and len(ours) == 4
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    return models


def tokens(dtype=torch.float64):
    return torch.randn(TOKENS, HIDDEN, generator=torch.Generator().manual_seed(3)).to(dtype)


def step(model, x):
    """Result and gradients of input and adapters, by name."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    result = model(x)
    result.square().sum().backward()
    return {"result": result.detach(), "input": x.grad} | {name: part.grad for name, part in adapters(model).items()}


def assert_close(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        assert wanted.count_nonzero() and relative(ours[name], wanted) <= tolerance, name


def wrapper_of(model, name):
    return next(module for module in model.modules() if getattr(module, "parameter_name", None) == name)


def base_weight(model, name):
    return wrapper_of(model, name).get_param()


def merged_values(model, name):
    """What merging means: the values and the adapter's change, in fp32."""
    wrapper = wrapper_of(model, name)
    return wrapper.get_param().dequantize(dtype=torch.float32) + wrapper.get_delta_weight("default").float()


def test_the_version_that_was_asked_for():
    assert peft.__version__ == os.environ.get("MOEQ_TEST_PEFT", peft.__version__)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("spec", ["nf4", "int8", "fp8_e4m3", "nf4:nested"])
def test_four_forwards_and_all_gradients(implementation, spec, strict):
    ours, dense = adapted(implementation, spec)
    x = tokens()
    for turn in range(4):
        assert_close(step(ours, x + turn), step(dense, x + turn), 1e-13)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_in_bf16_it_is_as_exact_as_dense(implementation, strict):
    """Against fp64 of the same bf16 values: not further away than one and a half times what dense is."""
    ours, dense = adapted(implementation, "int8", torch.bfloat16)
    exact = copy.deepcopy(dense).double()
    wanted, near, far = step(exact, tokens().bfloat16().double()), step(ours, tokens().bfloat16()), None
    far = step(dense, tokens().bfloat16())
    for name in wanted:
        errors = [relative(found[name].double(), wanted[name]) for found in (near, far)]
        assert errors[0] <= 1.5 * errors[1] + 1e-3, (name, errors)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_only_experts_that_were_hit_are_decoded(implementation, decoded, strict):
    ours, _ = adapted(implementation, "int8", torch.float32)
    decoded.clear()
    result = ours(tokens(torch.float32))
    assert sorted(decoded) == sorted(2 * HIT)  # each of the two parameters once, although PEFT looks at it twice
    decoded.clear()
    result.sum().backward()
    assert sorted(decoded) == HIT  # of down_proj: nobody asked for the gradient of the layer's input


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_three_steps_of_an_optimizer_move_every_matrix(implementation, strict):
    trained = []
    for model in adapted(implementation):
        before = {name: part.detach().clone() for name, part in adapters(model).items()}
        optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-2)
        for turn in range(3):
            step(model, tokens() + turn)
            optimizer.step()
        after = {name: part.detach().clone() for name, part in adapters(model).items()}
        assert all(relative(after[name], before[name]) > 1e-3 for name in before)
        trained.append(after)
    assert_close(*trained, 1e-11)


def test_two_active_adapters(strict):
    ours, dense = adapted()
    for model in (ours, dense):
        torch.manual_seed(5)
        try:
            model.add_adapter("second", adapter_config())
        except ValueError as error:
            pytest.skip(f"PEFT {peft.__version__} refuses a second adapter: {error}")
        model.base_model.set_adapter(["default", "second"])
        model.double()
    assert len(adapters(ours)) == 8
    assert_close(step(ours, tokens()), step(dense, tokens()), 1e-13)


def test_a_disabled_adapter_is_the_base(strict):
    ours, dense = adapted()
    base, _ = layers("eager", "nf4", torch.float64)
    step(ours, tokens())
    with ours.disable_adapter(), dense.disable_adapter():
        assert torch.equal(ours(tokens()), base(tokens()))
        assert relative(ours(tokens()), dense(tokens())) < 1e-14
    assert relative(ours(tokens()), base(tokens())) > 0.1


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_merging_quantizes_the_sum(safe, spec, strict):
    ours, _ = adapted("eager", spec, torch.float32)
    before = {name: base_weight(ours, name).clone() for name in NAMES}
    values = {name: merged_values(ours, name) for name in NAMES}
    merged = ours.merge_and_unload(safe_merge=safe)
    for name in NAMES:
        weight = getattr(merged.experts, name)
        assert isinstance(weight, torch.nn.Parameter) and type(weight) is MoeqTensor
        assert same_bytes(weight, MoeqTensor.quantize(values[name], spec))
        assert not torch.equal(weight.components()["codes"], before[name].components()["codes"])


def test_a_broken_adapter_is_not_merged(strict):
    for safe in (False, True):
        ours, _ = adapted("eager", "int8", torch.float32)
        before = {name: base_weight(ours, name).clone() for name in NAMES}
        with torch.no_grad():
            for part in adapters(ours).values():
                part[0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN|nan"):
            ours.merge_adapter(safe_merge=safe)
        assert same_bytes(base_weight(ours, "gate_up_proj"), before["gate_up_proj"])
        assert same_bytes(base_weight(ours, "down_proj"), before["down_proj"])


def test_unmerging_comes_back_within_the_stated_error(strict):
    ours, _ = adapted("eager", "int8", torch.float32)
    values = {name: base_weight(ours, name).dequantize() for name in NAMES}
    stated = moeq.peft.merge_error(ours)
    ours.merge_adapter()
    ours.unmerge_adapter()
    for name in NAMES:
        error = stated[f"base_model.model.experts.{name}"]
        back = base_weight(ours, name).dequantize()
        assert 0 < float((back - values[name]).square().mean().sqrt()) < 2 * error.rmse


@pytest.mark.parametrize("spec", ["int8", "nf4", "fp8_e4m3"])
def test_the_error_of_a_merge_is_told_before(spec):
    ours, _ = adapted("eager", spec, torch.float32)
    values = {name: merged_values(ours, name) for name in NAMES}
    before = {name: base_weight(ours, name).clone() for name in NAMES}
    # [quote: merge error]
    told = moeq.peft.merge_error(ours)  # by parameter: rmse, of_weight, of_adapter; the model stays as it is
    # [end]
    assert list(told) == [f"base_model.model.experts.{name}" for name in reversed(NAMES)]
    assert all(same_bytes(base_weight(ours, name), before[name]) for name in NAMES)
    changes = {name: values[name] - before[name].dequantize() for name in NAMES}
    ours.merge_adapter()
    for name in NAMES:
        error = (base_weight(ours, name).dequantize() - values[name]).detach().double()
        norms = [float(part.detach().double().norm()) for part in (values[name], changes[name])]
        expected = (error.square().mean().sqrt(), error.norm() / norms[0], error.norm() / norms[1])
        assert told[f"base_model.model.experts.{name}"] == pytest.approx(tuple(map(float, expected)), rel=1e-4)
    with pytest.raises(moeq.NotFoundError, match="adapters on quantized experts"):
        moeq.peft.merge_error(Layer("eager"))


@pytest.mark.parametrize("spec, most", [("int8", 2.5), ("fp8_e4m3", 4.5), ("nf4", 10)])
def test_ten_merges_and_unmerges_drift(spec, most):
    """PEFT's cycles quantize twice each. The bounds are those of docs/torch.md, in errors of one merge."""
    ours, _ = adapted("eager", spec, torch.float32)
    first = {name: base_weight(ours, name).dequantize() for name in NAMES}
    stated = moeq.peft.merge_error(ours)
    for _ in range(10):
        ours.merge_adapter()
        ours.unmerge_adapter()
    for name in NAMES:
        drift = (base_weight(ours, name).dequantize() - first[name]).square().mean().sqrt()
        assert 1 < float(drift) / stated[f"base_model.model.experts.{name}"].rmse < most


@pytest.mark.parametrize("spec", ["int8", "nf4:nested"])
def test_merging_for_a_while_leaves_no_trace(spec):
    ours, _ = adapted("eager", spec, torch.float32)
    first = {name: base_weight(ours, name).clone() for name in NAMES}
    result = ours(tokens(torch.float32))
    for _ in range(10):
        # [quote: merged]
        with moeq.peft.merged(ours):  # merges; at the end of the block all codes are what they were
            merged_result = ours(tokens(torch.float32))
            # [end]
            assert not same_bytes(base_weight(ours, "down_proj"), first["down_proj"])
            assert 0 < relative(merged_result, result) < 0.3
        assert all(same_bytes(base_weight(ours, name), first[name]) for name in NAMES)
    assert torch.equal(ours(tokens(torch.float32)), result)
    with pytest.raises(KeyError, match="of the block"), moeq.peft.merged(ours):
        raise KeyError("of the block")
    assert all(same_bytes(base_weight(ours, name), first[name]) for name in NAMES)


def test_adapters_travel_between_dense_and_quantized(tmp_path, strict):
    models = adapted()
    for model, name in zip(models, ("quantized", "dense")):
        model.save_pretrained(tmp_path / name)
    from safetensors.torch import load_file

    saved = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("quantized", "dense")]
    assert saved[0].keys() == saved[1].keys() and len(saved[0]) == 4
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])
    expected = models[1](tokens())
    for base, folder in zip(layers("eager", "nf4", torch.float64), ("dense", "quantized")):
        loaded = peft.PeftModel.from_pretrained(base, tmp_path / folder, autocast_adapter_dtype=False)
        assert relative(loaded(tokens()), expected) < 1e-6  # the adapters were saved in the type that they have
        assert not any(part.requires_grad for part in loaded.parameters())


class Linears(torch.nn.Module):
    """The layout that engines have: a linear for each projection of each expert."""

    def __init__(self):
        super().__init__()
        shapes = {"gate_proj": (HIDDEN, WIDTH), "up_proj": (HIDDEN, WIDTH), "down_proj": (WIDTH, HIDDEN)}
        make = lambda: {name: torch.nn.Linear(*shape, bias=False) for name, shape in shapes.items()}  # noqa: E731
        self.experts = torch.nn.ModuleList(torch.nn.ModuleDict(make()) for _ in range(EXPERTS))


@pytest.mark.parametrize("interleaved", [False, True])
def test_an_adapter_is_exported_per_expert(tmp_path, interleaved):
    ours, _ = adapted("eager", "nf4", torch.float32)
    wrapper_of(ours, "gate_up_proj").get_base_layer().is_concatenated = not interleaved
    deltas = {name: wrapper_of(ours, name).get_delta_weight("default").detach() for name in NAMES}
    keys = moeq.peft.save_per_expert(ours, tmp_path)
    assert len(keys) == EXPERTS * 3 * 2
    loaded = peft.PeftModel.from_pretrained(Linears(), tmp_path)
    assert loaded.peft_config["default"].target_modules == {"gate_proj", "up_proj", "down_proj"}
    for expert in range(EXPERTS):
        linears = loaded.get_base_model().experts[expert]
        found = {name: linears[name].get_delta_weight("default").detach() for name in linears}
        gate_up = deltas["gate_up_proj"][expert]
        halves = (gate_up[0::2], gate_up[1::2]) if interleaved else gate_up.chunk(2)
        expected = dict(zip(("gate_proj", "up_proj", "down_proj"), (*halves, deltas["down_proj"][expert])))
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    with pytest.raises(moeq.NotFoundError, match="save_per_expert"):
        moeq.peft.save_per_expert(Layer("eager"), tmp_path)


def test_packing_of_before_0_19_is_refused():
    from moeq.peft.export import check_version

    check_version("0.19.0")
    with pytest.raises(moeq.UnsupportedError, match="got PEFT 0.18.1"):
        check_version("0.18.1")


def test_a_parametrized_weight_trains_wrong_today():
    """Why the weight is a tensor and no parametrization: with two targets the inner adapter gets no gradient. A host
    that passes this differently has changed, and docs/torch.md with it."""
    _, dense = layers("eager", "int8", torch.float64)
    for name in NAMES:
        torch.nn.utils.parametrize.register_parametrization(dense.experts, name, torch.nn.Identity())
    model = peft.get_peft_model(dense, adapter_config(), autocast_adapter_dtype=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0.21.2 says that it could not take its parametrization away
        model(tokens()).square().sum().backward()
    assert [part.grad is None for part in adapters(model).values()].count(True) == 2


REFUSED = {"lora_dropout": 0.1, "use_dora": True, "lora_bias": True, "fan_in_fan_out": True}


@pytest.mark.parametrize("option", REFUSED)
def test_what_peft_cannot_do_for_parameters_is_refused_by_name(option):
    """Its own restrictions, for dense parameters as well; the model stays as it was."""
    ours, _ = layers("eager", "nf4", torch.float32)
    before, experts = {name: getattr(ours.experts, name).clone() for name in NAMES}, ours.experts
    with pytest.raises(ValueError, match=option):
        peft.get_peft_model(ours, adapter_config(**{option: REFUSED[option]}))
    assert ours.experts is experts and all(same_bytes(getattr(experts, name), before[name]) for name in NAMES)


def test_quantized_experts_cannot_be_trained_as_a_whole():
    ours, _ = layers("eager", "nf4", torch.float32)
    ours.other = torch.nn.Linear(4, 4)
    with pytest.raises(moeq.ArgumentError, match="codes have no gradient.*train adapters"):
        peft.get_peft_model(ours, peft.LoraConfig(target_modules=["other"], modules_to_save=["experts"]))


# ---- moeq's own parametrizations, which these hosts' ways are built for

REPLACE = {"8bit": replace_parameter_8bit, "4bit": replace_parameter_4bit}


def parametrized(implementation="eager", form="8bit", dtype=torch.float64):
    """A layer with parametrized experts and the dense one that has their values, adapters equal by parameter."""
    torch.manual_seed(1)
    ours, dense = Layer(implementation).to(dtype), Layer("eager").to(dtype)
    with torch.no_grad():
        for name in NAMES:
            weight = 0.2 * torch.randn(getattr(dense.experts, name).shape)
            setattr(ours.experts, name, torch.nn.Parameter(weight.to(dtype), requires_grad=False))
            REPLACE[form](ours.experts, name)
            setattr(dense.experts, name, parameter(getattr(ours.experts, name).clone()))
    models = [peft.get_peft_model(one, adapter_config(), autocast_adapter_dtype=False) for one in (ours, dense)]
    for name in NAMES:
        for part in ("lora_A", "lora_B"):
            one, other = (getattr(wrapper_of(model, name), part)["default"].weight for model in models)
            other.data.copy_(one)
    return models


def step_by_parameter(model, x):
    """As `step`; PEFT wraps parametrized parameters in another order, so names are of parameters."""
    found = step(model, x)
    result = {name: found[name] for name in ("result", "input")}
    for name in NAMES:
        for part in ("lora_A", "lora_B"):
            result[f"{name}.{part}"] = getattr(wrapper_of(model, name), part)["default"].weight.grad
    return result


@pytest.fixture
def one_warning():
    """PEFT 0.21 says at each forward that it could not take its parametrization away; moeq does it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Could not find any LoRA parametrization")
        yield


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("form", REPLACE)
def test_parametrized_weights_train_as_dense_ones(implementation, form, one_warning):
    dtype = torch.float32 if implementation == "grouped_mm" else torch.float64  # torch's has no fp64
    ours, dense = parametrized(implementation, form, dtype)
    x, tolerance = tokens(dtype), 100 * torch.finfo(dtype).eps
    for turn in range(4):
        assert_close(step_by_parameter(ours, x + turn), step_by_parameter(dense, x + turn), tolerance)
    with ours.disable_adapter(), dense.disable_adapter():
        base = ours(x)
        assert relative(base, dense(x)) < tolerance
    assert relative(ours(x), base) > 0.1
    experts = wrapper_of(ours, "down_proj").get_base_layer()
    assert all(part.window.value is None for part in experts.parametrizations.values())


def test_parametrized_weights_train_through_checkpoints_and_errors(one_warning):
    ours, dense = parametrized()
    wanted = step_by_parameter(dense, tokens())
    for reentrant in (False, True):

        def run(x, reentrant=reentrant):
            return torch.utils.checkpoint.checkpoint(ours, x, use_reentrant=reentrant)

        x = tokens().requires_grad_()
        ours.zero_grad()
        run(x).square().sum().backward()
        assert relative(x.grad, wanted["input"]) < 1e-13
        found = wrapper_of(ours, "gate_up_proj").lora_A["default"].weight.grad
        assert relative(found, wanted["gate_up_proj.lora_A"]) < 1e-13
    with pytest.raises(RuntimeError):
        ours(tokens()[:, :7])
    with ours.disable_adapter(), dense.disable_adapter():
        assert relative(ours(tokens()), dense(tokens())) < 1e-14
    assert_close(step_by_parameter(ours, tokens()), wanted, 1e-13)
    assert not torch.nn.utils.parametrize._cache_enabled and not torch.nn.utils.parametrize._cache


@pytest.mark.parametrize("back", [dense_parameter, moeq_parameter])
@pytest.mark.parametrize("safe", [False, True])
def test_merging_into_a_parametrized_weight_raises(safe, back, one_warning):
    ours, _ = parametrized("eager", "8bit", torch.float32)
    before = ours(tokens(torch.float32))
    with pytest.raises(moeq.ReadOnlyError, match="PEFT's merge"):
        ours.merge_adapter(safe_merge=safe)
    assert torch.equal(ours(tokens(torch.float32)), before)
    experts = wrapper_of(ours, "down_proj").get_base_layer()
    values = {name: getattr(experts, name) + wrapper_of(ours, name).get_delta_weight("default") for name in NAMES}
    for name in NAMES:
        back(experts, name)
    merged = ours.merge_and_unload(safe_merge=safe).experts
    for name in NAMES:
        if back is dense_parameter:
            assert torch.equal(getattr(merged, name), values[name])
        else:
            assert same_bytes(getattr(merged, name), MoeqTensor.quantize(values[name], "int8"))


def test_parametrized_weights_are_named_as_a_whole(one_warning):
    ours, dense = (torch.nn.ModuleDict({"layer": model.unload()}) for model in parametrized())
    names = [f"layer.experts.{name}" for name in NAMES]
    for model in (ours, dense):
        assert moeq.peft.parameter_names(model, ["experts.down_proj", "experts.gate_up_proj"]) == names
        assert moeq.peft.parameter_names(model, ["layer.experts.down_proj"]) == names[1:]
        with pytest.raises(moeq.NotFoundError, match="got 'mlp.down_proj'.*such as layer.experts.down_proj"):
            moeq.peft.parameter_names(model, ["mlp.down_proj"])
    short = peft.LoraConfig(target_parameters=["experts.down_proj"])
    with pytest.raises(ValueError, match="no `target_parameters` found"):  # if not: docs/torch.md says so
        peft.get_peft_model(ours, short)
    whole = peft.LoraConfig(target_parameters=moeq.peft.parameter_names(ours, short.target_parameters))
    assert len(adapters(peft.get_peft_model(ours, whole))) == 2


def test_a_second_adapter_of_parametrized_weights_is_not_found(tmp_path, one_warning):
    """PEFT 0.21 says so; older ones go on without it, and check() says so. If not: docs/torch.md has it otherwise."""
    ours, _ = parametrized("eager", "8bit", torch.float32)
    ours.save_pretrained(tmp_path)
    result = ours(tokens(torch.float32))
    try:
        ours.load_adapter(str(tmp_path), "second")
    except ValueError as error:
        assert "no `target_parameters` found" in str(error)
    else:
        assert any("'second' has target_parameters and is on none" in told for told in moeq.peft.check(ours))
    assert torch.equal(ours(tokens(torch.float32)), result)


def test_adapters_of_parametrized_weights_leave_under_the_right_names(tmp_path, one_warning):
    """PEFT wraps parametrized parameters by the alphabet and others as they are defined, so its own keys are swapped."""
    ours, dense = parametrized("eager", "8bit", torch.float32)
    keys = [peft.get_peft_model_state_dict(model) for model in (ours, dense)]
    assert keys[0].keys() == keys[1].keys() and any(keys[0][key].shape != keys[1][key].shape for key in keys[0])
    saved = [moeq.peft.save_per_expert(model, tmp_path / str(number)) for number, model in enumerate((ours, dense))]
    assert saved[0].keys() == saved[1].keys() and len(saved[0]) == EXPERTS * 3 * 2
    assert all(torch.equal(saved[0][key], saved[1][key]) for key in saved[0])
