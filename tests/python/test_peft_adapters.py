"""Adapters from files: of other PEFT versions, other bases, other sizes. tests/data/peft-0.18.1 was written by that
version on weights of zeros, with the change that it makes beside it."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")
peft = pytest.importorskip("peft", reason="peft is not installed: there are no adapters")

from conftest import ROOT  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch_weights import one_thread, parameter  # noqa: E402, F401

import moeq.peft  # noqa: E402
from moeq.peft.wrappers import wrappers  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402
from moeq.torch.parametrize import replace_parameter_8bit  # noqa: E402

OLD = ROOT / "tests" / "data" / "peft-0.18.1"
TARGETS = ["experts.gate_up_proj", "experts.down_proj"]
BASES = ["dense", "MoeqTensor", "parametrized"]

pytestmark = pytest.mark.filterwarnings("ignore:Could not find any LoRA parametrization")


class Experts(torch.nn.Module):
    def __init__(self, shapes, transposed):
        super().__init__()
        self.is_transposed = transposed
        for name, shape in shapes.items():
            setattr(self, name, torch.nn.Parameter(torch.zeros(shape)))


class Model(torch.nn.Module):
    """Its experts' weights are zeros, so that with an adapter they are its change."""

    def __init__(self, base="dense", gate_up=(3, 8, 6), down=(3, 6, 4), transposed=False):
        super().__init__()
        self.q_proj = torch.nn.Linear(6, 5)
        self.experts = Experts({"gate_up_proj": gate_up, "down_proj": down}, transposed)
        for name, value in list(self.experts.named_parameters()):
            if base == "MoeqTensor":
                setattr(self.experts, name, parameter(MoeqTensor.quantize(value.detach(), "int8")))
            elif base == "parametrized":
                replace_parameter_8bit(self.experts, name)

    def forward(self, x):
        return x


def changes(model):
    return {name.rpartition(".")[2]: one.get_delta_weight("default").detach() for name, one in wrappers(model).items()}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-6)


def saved(folder, base="dense", targets=TARGETS, change=None, **shapes):
    """An adapter of the installed PEFT in files, and its changes. change: of the files' tensors and config."""
    model = Model(base, **shapes)
    config = peft.LoraConfig(r=2, target_parameters=moeq.peft.parameter_names(model, targets), init_lora_weights=False,
                             target_modules=["q_proj"])  # fmt: skip
    model = peft.get_peft_model(model, config)
    for name, part in model.named_parameters():
        if "q_proj.lora" in name:
            torch.nn.init.normal_(part)
    model.save_pretrained(folder)
    if change is not None:
        tensors = load_file(folder / "adapter_model.safetensors")
        about = json.loads((folder / "adapter_config.json").read_text())
        change(tensors, about)
        save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(about))
    return changes(model)


def untouched(model):
    return not any(isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer) for module in model.modules())


@pytest.mark.parametrize("base", BASES)
def test_adapters_of_0_18_make_the_change_that_it_made(base):
    wanted = load_file(OLD / "changes.safetensors")
    model = moeq.peft.load_adapter(Model(base), OLD)
    same(changes(model), wanted)
    assert isinstance(model, peft.PeftModel) and not any(part.requires_grad for part in model.parameters())
    trained = moeq.peft.load_adapter(Model(base), OLD, is_trainable=True)
    assert sum(part.requires_grad for part in trained.parameters()) == 4
    with pytest.raises(RuntimeError, match="size mismatch"):  # if not: load_adapter is not needed any more
        peft.PeftModel.from_pretrained(Model(), OLD)


@pytest.mark.parametrize("of", BASES)
@pytest.mark.parametrize("base", BASES)
def test_adapters_of_any_base_load_on_any_other(tmp_path, of, base):
    wanted = saved(tmp_path, of)
    model = moeq.peft.load_adapter(Model(base), tmp_path)
    same(changes(model), wanted)
    linear = load_file(tmp_path / "adapter_model.safetensors")["base_model.model.q_proj.lora_A.weight"]
    assert torch.equal(model.base_model.model.q_proj.lora_A["default"].weight, linear)


@pytest.mark.parametrize("base", BASES)
def test_weights_in_the_other_direction_are_the_same_in_both_versions(tmp_path, base):
    shapes = {"gate_up": (3, 6, 8), "down": (3, 4, 6), "transposed": True}

    def older(tensors, about):
        about["peft_version"] = "0.18.1"

    for number, change in enumerate((None, older)):
        wanted = saved(tmp_path / str(number), change=change, **shapes)
        same(changes(moeq.peft.load_adapter(Model(base, **shapes), tmp_path / str(number))), wanted)


def test_one_parameter_of_two_and_routers_of_two_axes(tmp_path):
    shapes = {"gate_up": (8, 6), "down": (3, 6, 4)}
    for number, targets in enumerate((["experts.down_proj"], TARGETS)):
        wanted = saved(tmp_path / str(number), targets=targets, **shapes)
        same(changes(moeq.peft.load_adapter(Model("dense", **shapes), tmp_path / str(number))), wanted)


def forget_version(tensors, about):
    about["peft_version"] = None


def test_a_square_weight_needs_the_version(tmp_path):
    square = {"targets": ["experts.down_proj"], "down": (3, 6, 6)}
    wanted = saved(tmp_path / "told", **square)
    same(changes(moeq.peft.load_adapter(Model(down=(3, 6, 6)), tmp_path / "told")), wanted)

    saved(tmp_path / "not", change=forget_version, **square)
    model = Model(down=(3, 6, 6))
    with pytest.raises(moeq.ArgumentError, match="layout='0.19' with .*layout='0.18' .*wanted layout="):
        moeq.peft.load_adapter(model, tmp_path / "not")
    assert untouched(model)
    model = moeq.peft.load_adapter(model, tmp_path / "not", layout="0.18")
    tensors = load_file(tmp_path / "not" / "adapter_model.safetensors")
    a = tensors["base_model.model.experts.lora_A.weight"].view(3, 2, 6)
    b = tensors["base_model.model.experts.lora_B.weight"].view(6, 2, 3)
    same(changes(model), {"down_proj": 4 * torch.einsum("ore,eri->eio", b, a)})  # as 0.18 has it; alpha / r is 4


def test_without_a_version_unlike_sides_tell(tmp_path):
    wanted = saved(tmp_path, change=forget_version)
    same(changes(moeq.peft.load_adapter(Model(), tmp_path)), wanted)


def test_two_squares_need_the_order(tmp_path):
    shapes = {"gate_up": (3, 6, 6), "down": (3, 6, 6)}
    wanted = saved(tmp_path, "parametrized", **shapes)
    model = Model(**shapes)
    with pytest.raises(moeq.ArgumentError, match="order='defined', .*order='alphabet'"):
        moeq.peft.load_adapter(model, tmp_path)
    assert untouched(model)
    same(changes(moeq.peft.load_adapter(model, tmp_path, order="alphabet")), wanted)
    swapped = changes(moeq.peft.load_adapter(Model(**shapes), tmp_path, order="defined"))
    same(swapped, {"gate_up_proj": wanted["down_proj"], "down_proj": wanted["gate_up_proj"]})


def test_what_does_not_fit_is_named_and_nothing_is_half_made(tmp_path):
    down = "base_model.model.experts.lora_A.weight"

    def without(tensors, about):
        del tensors[down]

    def other_linear(tensors, about):
        tensors["base_model.model.k_proj.lora_A.weight"] = torch.zeros(2, 6)

    def wider(tensors, about):
        tensors["base_model.model.q_proj.lora_B.weight"] = torch.zeros(7, 2)

    def other_target(tensors, about):
        about["target_parameters"] = ["mlp.experts.w2"]

    bad = [
        ({"down": (3, 6, 5)}, None, moeq.MismatchError,
         r"experts.down_proj: got lora_A \[6, 5\] and lora_B \[6, 6\] for a weight \[3, 6, 4\]; wanted lora_A \[3\*r, 4\]"),
        ({"gate_up": (4, 8, 6)}, None, moeq.MismatchError, r"gate_up_proj: got lora_A \[8, 6\].*wanted lora_A \[3\*r, 6\]"),
        ({}, without, moeq.MismatchError, "experts.down_proj: got lora_A None"),
        ({}, other_linear, moeq.NotFoundError, "k_proj, which the model does not have"),
        ({}, wider, moeq.MismatchError, "q_proj.lora_B.weight: got a width of 7; wanted 5"),
        ({}, other_target, moeq.NotFoundError, "got 'mlp.experts.w2'"),
    ]  # fmt: skip
    for number, (shapes, change, kind, message) in enumerate(bad):
        saved(tmp_path / str(number), change=change, **shapes)
        for base in BASES:
            model = Model(base)
            with pytest.raises(kind, match=message):
                moeq.peft.load_adapter(model, tmp_path / str(number))
            assert untouched(model)
    with pytest.raises(moeq.NotFoundError, match="without adapter_config.json"):
        moeq.peft.load_adapter(Model(), tmp_path)
    with pytest.raises(moeq.ArgumentError, match="layout: got '0.17'; wanted '0.19' or '0.18'"):
        moeq.peft.load_adapter(Model(), OLD, layout="0.17")
    with pytest.raises(moeq.ArgumentError, match="model: got a PeftModel"):
        moeq.peft.load_adapter(moeq.peft.load_adapter(Model(), OLD), OLD)
    moeq.peft.save_per_expert(moeq.peft.load_adapter(Model(), OLD), tmp_path / "apart")
    with pytest.raises(moeq.UnsupportedError, match="such as one of linears"):
        moeq.peft.load_adapter(Model(), tmp_path / "apart")


def test_check_tells_what_is_likely_not_meant():
    config = peft.LoraConfig(target_modules=["q_proj"])
    assert moeq.peft.check(peft.get_peft_model(Model(), config)) == []  # nothing is quantized
    for base in BASES[1:]:
        (told,) = moeq.peft.check(peft.get_peft_model(Model(base), config))
        assert "None of 2 quantized weights" in told and "['experts.down_proj', 'experts.gate_up_proj']" in told
    fine = peft.LoraConfig(target_parameters=TARGETS)
    assert moeq.peft.check(peft.get_peft_model(Model("MoeqTensor"), fine)) == []
    (told,) = moeq.peft.check(peft.get_peft_model(Model("parametrized"), fine))
    assert "on such a base only" in told
    (told,) = moeq.peft.check(moeq.peft.load_adapter(Model("MoeqTensor"), OLD))
    assert "Adapters of 2 parameters are frozen" in told
