"""Whole models of transformers with quantized experts: what their hosts do with parameters, on a small Qwen3-MoE."""

import copy
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: there is no model")
peft = pytest.importorskip("peft", reason="peft is not installed: there are no adapters to train")

from torch_weights import (  # noqa: E402, F401
    decoded,
    one_thread,
    parameter,
    quantized,
    relative,
    same_bytes,
    strict,
)

import moeq.torch  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")
NAMES = ["gate_up_proj", "down_proj"]


def small_model(dtype=torch.float32):
    torch.manual_seed(4)
    config = transformers.Qwen3MoeConfig(
        vocab_size=64, hidden_size=64, intermediate_size=64, moe_intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    return transformers.Qwen3MoeForCausalLM(config).to(dtype).eval()


def experts_of(model):
    return [module for name, module in model.named_modules() if name.endswith(".experts")]


def pair(spec="nf4", dtype=torch.float32):
    """A model with quantized experts, and one with their values."""
    model = small_model(dtype)
    dense = copy.deepcopy(model)
    for ours, theirs in zip(experts_of(model), experts_of(dense)):
        for name in NAMES:
            weight = MoeqTensor.quantize(getattr(ours, name), spec)
            setattr(ours, name, parameter(weight))
            getattr(theirs, name).data = weight.dequantize()
    return model, dense


def tokens():
    return torch.arange(12).view(2, 6) * 5 % 64


def test_every_experts_implementation_gives_the_logits_of_the_values(strict, decoded):
    model, dense = pair()
    with torch.no_grad():
        expected = dense(tokens()).logits
        for implementation in ("grouped_mm", "eager", "batched_mm", "grouped_mm"):
            model.set_experts_implementation(implementation)
            assert relative(model(tokens()).logits, expected) < 1e-5
        for fewer in (model, dense):
            fewer.generation_config.pad_token_id = 0
        ours, theirs = (each.generate(tokens(), max_new_tokens=5, do_sample=False) for each in (model, dense))
    assert torch.equal(ours, theirs)


def test_the_fallback_for_grouped_products(strict):
    import transformers.integrations.moe  # noqa: F401, which registers it

    t = quantized()
    ends = torch.tensor([2, 2, 7, 7, 8], dtype=torch.int32)
    x = torch.randn(8, t.shape[2], requires_grad=True)
    results = [torch.ops.transformers.grouped_mm_fallback(x, w.mT, offs=ends) for w in (t, t.dequantize())]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(result.square().sum(), x)[0] for result in results))


def test_counts_are_those_of_the_dense_model():
    model, dense = pair()
    assert model.num_parameters() == dense.num_parameters()
    adapted = [peft.get_peft_model(each, lora()) for each in (model, dense)]
    assert adapted[0].get_nb_trainable_parameters() == adapted[1].get_nb_trainable_parameters()


def lora():
    targets = [f"experts.{name}" for name in NAMES]
    return peft.LoraConfig(r=2, target_parameters=targets, target_modules=["q_proj"], init_lora_weights=False)


@pytest.mark.parametrize("reentrant", [False, True])
def test_adapters_train_with_gradient_checkpointing(reentrant, strict):
    losses, gradients = [], []
    for model in pair():
        torch.manual_seed(6)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model = peft.get_peft_model(model.train(), lora())
        model.enable_input_require_grads()
        loss = model(tokens(), labels=tokens()).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: part.grad for name, part in model.named_parameters() if part.requires_grad})
    torch.testing.assert_close(*losses)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) == 2 * 2 * 3
    for name, wanted in gradients[1].items():
        assert relative(gradients[0][name], wanted) < 1e-4, name


def test_preparing_for_training_keeps_the_codes(strict):
    model, dense = pair("int8", torch.bfloat16)
    before = [getattr(experts, name).clone() for experts in experts_of(model) for name in NAMES]
    model.is_loaded_in_8bit = True  # what makes PEFT cast the rest to fp32
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    after = [getattr(experts, name) for experts in experts_of(model) for name in NAMES]
    assert all(same_bytes(ours, old) for ours, old in zip(after, before))
    for ours, theirs in zip(experts_of(model), experts_of(dense.float())):
        for name in NAMES:
            getattr(theirs, name).data = getattr(ours, name).dequantize()  # of fp32 now, no longer rounded to bf16
    with torch.no_grad():
        assert relative(model(tokens()).logits.float(), dense(tokens()).logits) < 1e-5


def test_accelerate_sets_and_moves_parameters(strict):
    utils = pytest.importorskip("accelerate.utils", reason="accelerate is not installed: nothing moves parameters")
    model, _ = pair()
    experts = experts_of(model)[0]
    before = experts.down_proj.clone()
    utils.set_module_tensor_to_device(experts, "down_proj", "meta")
    assert experts.down_proj.is_meta
    utils.set_module_tensor_to_device(experts, "down_proj", "cpu", value=before)
    assert same_bytes(experts.down_proj, before) and isinstance(experts.down_proj, torch.nn.Parameter)


@pytest.mark.skipif(not LONG, reason="MOEQ_TEST_LONG is not set: hosts were not looked through for changed symbols")
def test_no_symbol_of_a_host_is_changed():
    """moeq is imported anew, and used, between two looks at what it could have replaced."""
    script = """
import sys
import torch, transformers, peft, peft.tuners.lora.layer, transformers.integrations.moe, torch.nn.functional
from transformers.models.qwen3_moe import modeling_qwen3_moe
assert "moeq" not in sys.modules
modules = [torch, torch.Tensor, torch.nn.functional, torch.nn.modules.module, torch.nn.utils.parametrize, peft,
           peft.tuners.lora.layer, transformers.integrations.moe, modeling_qwen3_moe]
def look():
    seen = {}
    for module in modules:
        for name, value in list(vars(module).items()):
            seen[module.__name__, name] = value
            if isinstance(value, type):
                seen.update({(module.__name__, name, part): inner for part, inner in vars(value).items()})
    return seen
peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), peft.LoraConfig(target_modules=["0"]))
before = look()
import moeq.torch, moeq.peft
weight = moeq.torch.MoeqTensor.quantize(torch.randn(2, 64, 64), "nf4")
torch.bmm(torch.ones(2, 3, 64), weight)
after = look()
changed = [name for name, value in before.items() if after.get(name, None) is not value]
assert not changed, changed
print(len(before))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 5000
