"""transformers' Trainer on a quantized base with adapters on its experts, start to end: what it learns, writes, resumes
and reads again. The judge is the dense model that has the values of the codes."""

import os
import pathlib
import warnings

import pytest
from families import models
from transformers_models import (  # noqa: F401
    decoded_twin,
    load,
    one_thread,
    quantized_in,
    same_bytes,
    tensors_of,
    torch,
    transformers,
)

peft = pytest.importorskip("peft", reason="peft is not installed: there are no adapters to train")
pytest.importorskip("accelerate", reason="accelerate is not installed: the Trainer needs it")

import moeq.peft  # noqa: E402
from moeq.peft.wrappers import wrappers  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402
from moeq.torch.parametrize import replace_parameter_8bit  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # the host's, about names that it will change

KIND, STEPS = "qwen3_moe", 8
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
TEXTS = [[100 + (7 * text + 3 * place) % 50 for place in range(12)] for text in range(8)]
DATA = [{"input_ids": torch.tensor(text), "labels": torch.tensor(text)} for text in TEXTS]


def adapted(model=None, spec="nf4", **options):
    """With adapters on experts and attention; seeded, so that each call gives the same."""
    if model is None:
        model = load(KIND, spec, **options)
    torch.manual_seed(2)
    config = peft.LoraConfig(
        r=4, lora_alpha=16, target_parameters=EXPERTS, target_modules=["q_proj"], init_lora_weights=False,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return peft.get_peft_model(model, config)


def dense_twin(model, kind=KIND):
    """In fp32, with the values of the codes in fp32."""
    twin = decoded_twin(kind, model).float()
    with torch.no_grad():
        for name, value in quantized_in(model).items():
            twin.get_parameter(name).copy_(value.dequantize(dtype=torch.float32))
    return twin


class Gradients(transformers.TrainerCallback):
    """Those of the first step."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.found:
            own = model.named_parameters()
            self.found = {name: part.grad.clone() for name, part in own if part.grad is not None}


def trainer(model, folder, callbacks=None, **options):
    arguments = {
        "max_steps": STEPS, "save_steps": STEPS // 2, "logging_steps": 1, "per_device_train_batch_size": 4,
        "learning_rate": 2e-2, "report_to": [], "use_cpu": True, "seed": 3, "disable_tqdm": True, **options,
    }  # fmt: skip
    arguments = transformers.TrainingArguments(output_dir=str(folder), **arguments)
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=callbacks
    )  # fmt: skip


def losses(run):
    return {entry["step"]: entry["loss"] for entry in run.state.log_history if "loss" in entry}


def adapter_file(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


BEST = {"eval_strategy": "steps", "eval_steps": STEPS // 2, "load_best_model_at_end": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training without interruption, and the codes that its base had before."""
    model = adapted()
    before = {name: value.clone() for name, value in quantized_in(model).items()}
    run = trainer(model, tmp_path_factory.mktemp("trained"), **BEST)
    run.train()
    return run, before


def folder_of(run, step):
    return pathlib.Path(run.args.output_dir) / f"checkpoint-{step}"


def test_the_loss_falls_and_no_code_changes(trained):
    run, before = trained
    found = losses(run)
    assert len(found) == STEPS and found[STEPS] < 0.9 * found[1]
    assert run.evaluate()["eval_loss"] < 0.9 * found[1]
    after = quantized_in(run.model)
    assert len(before) == 4 and all(same_bytes(after[name], before[name]) for name in before)
    moved = [name for name, part in run.model.named_parameters() if part.requires_grad]
    first = dict(adapted().named_parameters())
    own = dict(run.model.named_parameters())
    assert len(moved) == 12 and not any(torch.equal(own[name], first[name]) for name in moved)


def test_a_checkpoint_has_the_adapter_and_nothing_of_the_base(trained):
    folder = folder_of(trained[0], STEPS // 2)
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth",
            "trainer_state.json"} <= files.keys()  # fmt: skip
    assert not [name for name in files if name.startswith(("model", "pytorch_model"))]
    saved = tensors_of(folder / "adapter_model.safetensors")
    assert len(saved) == 12 and all(".lora_" in name for name in saved)
    state = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    assert len(state) == 12  # of Adam: two numbers for each of the adapters'
    trainable = sum(part.numel() for part in saved.values())
    assert sum(files.values()) < 4 * (3 * trainable) + 100_000


def test_resuming_gives_the_same_losses_and_the_same_bytes(trained, tmp_path):
    whole, _ = trained
    resumed = trainer(adapted(), tmp_path, **BEST)
    resumed.train(resume_from_checkpoint=str(folder_of(whole, STEPS // 2)))
    assert resumed.state.global_step == STEPS
    assert losses(resumed) == losses(whole)  # those of before the checkpoint are in its state
    assert adapter_file(tmp_path / f"checkpoint-{STEPS}") == adapter_file(folder_of(whole, STEPS))


def test_the_best_adapter_is_loaded_at_the_end(tmp_path):
    """With a rate that spoils what was learned, the best one is not the last one."""
    run = trainer(adapted(), tmp_path, lr_scheduler_type="constant", learning_rate=0.02, max_steps=4, eval_steps=2,
                  save_steps=2, **{name: BEST[name] for name in ("eval_strategy", "load_best_model_at_end")},
                  metric_for_best_model="eval_loss", greater_is_better=True)  # fmt: skip
    run.train()
    assert run.state.best_global_step == 2 and run.state.global_step == 4
    saved = tensors_of(tmp_path / "checkpoint-2" / "adapter_model.safetensors")
    found = peft.get_peft_model_state_dict(run.model)
    assert all(torch.equal(found[name], saved[name]) for name in saved)


@pytest.mark.parametrize("options", [{}, {"bf16": True}], ids=["plain", "bf16"])
def test_gradients_of_the_first_step_are_those_of_the_dense_model(tmp_path, options):
    ours = load(KIND, "nf4", dtype=torch.float32)
    found = []
    for model in (ours, dense_twin(ours)):
        gradients = Gradients()
        trainer(adapted(model), tmp_path, [gradients], max_steps=1, save_strategy="no", **options).train()
        found.append(gradients.found)
    assert found[0].keys() == found[1].keys() and len(found[0]) == 12
    for name, wanted in found[1].items():
        assert wanted.any()
        error = float((found[0][name] - wanted).norm() / wanted.norm())
        assert error < (0.03 if options else 1e-5), (name, error)


@pytest.mark.parametrize("kind", ["nemotron_h", "qwen3_vl_moe", "gpt_oss", "llama4"])
def test_adapters_learn_in_every_layout(kind):
    """Without gates, below a vision tower, transposed and interleaved: results and gradients are the dense model's."""
    ours = load(kind, "nf4", dtype=torch.float32)
    targets = sorted(quantized_in(ours))
    found = []
    for model in (ours, dense_twin(ours, kind)):
        if kind == "qwen3_vl_moe":
            tower = [value for name, value in model.named_parameters() if "visual" in name]
            assert tower and not any(isinstance(value, MoeqTensor) for value in tower)
        torch.manual_seed(2)
        config = peft.LoraConfig(r=4, target_parameters=targets, init_lora_weights=False)
        model = peft.get_peft_model(model, config).eval()
        body = model.get_base_model()
        body = body.get_submodule(models.INNER[kind]) if kind in models.INNER else body
        out = body(**models.inputs(kind, body))
        result = out.logits if "logits" in out else out[0]
        result.float().square().mean().backward()
        gradients = {name: value.grad for name, value in model.named_parameters()
                     if value.requires_grad and ".experts." in name}  # fmt: skip
        found.append((result.detach(), gradients))
    (result, gradients), (wanted, of_dense) = found
    torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == of_dense.keys() and len(gradients) == 2 * len(targets)
    for name, one in of_dense.items():
        assert one.any() and float((gradients[name] - one).norm() / one.norm()) < 1e-3, name


def test_transposed_experts_are_exported_per_expert(tmp_path):
    """gpt-oss': [in, out], gate and up in turns. Every change is rebuilt from what was written."""
    model = load("gpt_oss", "nf4", dtype=torch.float32)
    torch.manual_seed(2)
    config = peft.LoraConfig(r=4, target_parameters=sorted(quantized_in(model)), init_lora_weights=False)
    model = peft.get_peft_model(model, config)
    written, scaling = moeq.peft.save_per_expert(model, tmp_path), 8 / 4
    rebuilt = 0
    for name, wrapper in wrappers(model).items():
        module, _, parameter = name.rpartition(".")
        for expert, change in enumerate(wrapper.get_delta_weight("default").detach()):
            change = change.T
            parts = (
                {"gate_proj": change[0::2], "up_proj": change[1::2]} if "gate_up" in parameter else {parameter: change}
            )
            for linear, wanted in parts.items():
                a, b = (written[f"{module}.{expert}.{linear}.lora_{side}.weight"] for side in "AB")
                torch.testing.assert_close(scaling * b @ a, wanted, rtol=1e-5, atol=1e-6)
                rebuilt += 1
    assert rebuilt == 2 * 3 * 3


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing_and_recomputes(tmp_path, reentrant):
    found, calls = [], []
    for checkpointed in (False, True):
        gradients, model = Gradients(), adapted()
        model.get_base_model().model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
        options = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": reentrant}}
        if "activation_checkpointing" not in transformers.TrainingArguments.__dataclass_fields__:
            options = {name.replace("activation", "gradient"): value for name, value in options.items()}
        run = trainer(
            model, tmp_path, [gradients], max_steps=2, save_strategy="no", **(options if checkpointed else {})
        )
        run.train()
        found.append((gradients.found, losses(run), len(calls)))
        calls.clear()
    (plain, loss, once), (again, other_loss, twice) = found
    assert (once, twice) == (2, 4) and loss == other_loss
    assert plain.keys() == again.keys() and all(torch.equal(plain[name], again[name]) for name in plain)


def test_prepare_model_for_kbit_training_keeps_the_codes(tmp_path):
    plain = load(KIND, "nf4")
    prepared = peft.prepare_model_for_kbit_training(load(KIND, "nf4"))
    quantized = quantized_in(prepared)
    assert len(quantized) == 4 and all(
        same_bytes(value, quantized_in(plain)[name]) for name, value in quantized.items()
    )
    assert {part.dtype for part in prepared.parameters()} == {torch.float32}  # codes stand for fp32 now
    assert not any(part.requires_grad for part in prepared.parameters())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in prepared.modules())
    twin = dense_twin(plain)
    tokens = torch.tensor(TEXTS[:2])
    torch.testing.assert_close(prepared(tokens).logits, twin(tokens).logits, rtol=1e-5, atol=1e-5)
    run = trainer(adapted(prepared), tmp_path, max_steps=4, save_strategy="no")
    run.train()
    assert losses(run)[4] < losses(run)[1]


def test_what_the_trainer_saves_loads_on_quantized_and_dense_bases(trained, tmp_path):
    run, _ = trained
    run.save_model(str(tmp_path))
    assert adapter_file(tmp_path) == adapter_file(folder_of(run, run.state.best_global_step))
    assert not any(name.startswith("model") for name in os.listdir(tmp_path))
    tokens = torch.tensor(TEXTS)
    quantized = load(KIND, "nf4")
    results = {}
    for name, base in (("quantized", quantized), ("dense", decoded_twin(KIND, quantized))):
        results[name] = peft.PeftModel.from_pretrained(base, tmp_path)(tokens).logits.detach().float()
    wanted = run.model.eval()(tokens).logits.detach().float()
    assert torch.equal(results["quantized"], wanted)
    error = float((results["dense"] - wanted).norm() / wanted.norm())
    untrained = load(KIND, "nf4")(tokens).logits.detach().float()
    assert error < 0.02 and float((untrained - wanted).norm() / wanted.norm()) > 0.3


def test_a_base_without_adapters_is_not_trained(tmp_path):
    with pytest.raises(ValueError, match="attach trainable adapters"):
        trainer(load(KIND, "nf4"), tmp_path)


def test_adapters_that_leave_the_experts_out_are_told_once(tmp_path):
    texts, linears = torch.tensor(TEXTS[:2]), {"target_modules": ["q_proj", "v_proj"]}
    model = peft.get_peft_model(load(KIND, "nf4"), peft.LoraConfig(**linears, task_type="CAUSAL_LM"))
    with pytest.warns(UserWarning) as told:
        trainer(model, tmp_path, max_steps=2, save_strategy="no").train()
    (text,) = [str(one.message) for one in told if "quantized weights of experts" in str(one.message)]
    assert "None of 4" in text and "target_parameters=['experts.down_proj', 'experts.gate_up_proj']" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load(KIND, "nf4").train()(texts)  # without adapters there is nothing to tell
        adapted().train()(texts)
        other = peft.get_peft_model(load(KIND, "nf4"), peft.LoraConfig(**linears)).eval()
        other(texts)  # nor where nothing is trained


@pytest.mark.skipif(peft.__version__ < "0.21", reason=f"PEFT {peft.__version__} gives linears only adapters")
def test_all_linear_includes_the_experts():
    model = peft.get_peft_model(load(KIND, "nf4"), peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    found = {name.removeprefix("base_model.model.") for name in wrappers(model)}
    assert found >= set(quantized_in(load(KIND, "nf4"))) and moeq.peft.check(model) == []


def test_a_merged_folder_is_a_model(tmp_path):
    """Merged into codes and into dense weights: the generation configuration stays, and nothing is the base's any more."""
    tokens = torch.tensor(TEXTS[:2])
    base = load(KIND, "nf4")
    for name, one in (("codes", base), ("dense", decoded_twin(KIND, base))):
        one.generation_config.max_new_tokens, one.generation_config.pad_token_id = 7, 0
        before = {key: value.detach().clone() for key, value in one.named_parameters() if "experts" in key}
        merged = adapted(one).merge_and_unload(safe_merge=True)
        wanted = merged(tokens).logits
        merged.save_pretrained(tmp_path / name)
        again = load(KIND, None, tmp_path / name)
        assert (again.generation_config.max_new_tokens, again.generation_config.pad_token_id) == (7, 0)
        assert torch.equal(again(tokens).logits, wanted)
        assert bool(quantized_in(again)) == (name == "codes") and len(before) >= 4
        for key, value in before.items():
            pairs = zip(again.get_parameter(key), value)
            if name == "codes":
                pairs = ((one.dequantize(), other.dequantize()) for one, other in pairs)
            assert not any(torch.equal(*pair) for pair in pairs), key


def test_the_hosts_own_way_to_add_an_adapter():
    model = load(KIND, "nf4")
    config = peft.LoraConfig(target_parameters=EXPERTS, task_type="CAUSAL_LM")
    try:
        model.add_adapter(config)
    except ValueError as error:
        pytest.skip(f"transformers {transformers.__version__} with PEFT {peft.__version__}: {error}")
    assert len([part for part in model.parameters() if part.requires_grad]) == 8
    assert torch.isfinite(model(torch.tensor(TEXTS)).logits).all()


@pytest.mark.filterwarnings("ignore:Could not find any LoRA parametrization")  # PEFT 0.21's, see docs/torch.md
def test_parametrized_experts_train_in_it_too(tmp_path):
    """As code under Axolotl's names has them: replaced after a load, adapted by whole names."""
    dense, ours = dense_twin(load(KIND, "int8")), dense_twin(load(KIND, "int8"))
    with torch.no_grad():
        for one, other in zip(ours.model.layers, dense.model.layers):
            for name in ("gate_up_proj", "down_proj"):
                replace_parameter_8bit(one.mlp.experts, name)
                getattr(other.mlp.experts, name).copy_(getattr(one.mlp.experts, name))
    models = []
    for model in (ours, dense):
        torch.manual_seed(2)
        config = peft.LoraConfig(
            r=4, init_lora_weights=False, target_parameters=moeq.peft.parameter_names(model, EXPERTS)
        )
        models.append(peft.get_peft_model(model, config))
    ours, dense = (wrappers(model) for model in models)
    for name, wrapper in dense.items():  # PEFT wraps parametrized ones in another order
        for part in ("lora_A", "lora_B"):
            getattr(wrapper, part)["default"].weight.data.copy_(getattr(ours[name], part)["default"].weight)
    found = []
    for model in models:
        run = trainer(model, tmp_path, max_steps=4, save_steps=4)
        run.train()
        found.append(losses(run))
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0][4] < found[0][1]
    assert not list((tmp_path / "checkpoint-4").glob("model*"))
    models[0].save_pretrained(tmp_path / "own")  # PEFT's keys for parametrized experts
    other = wrappers(moeq.peft.load_adapter(load(KIND, "int8", dtype=torch.float32), tmp_path / "own"))
    assert other.keys() == ours.keys() and len(other) == 4
    assert all(torch.equal(one.get_delta_weight("default"), ours[name].get_delta_weight("default"))
               for name, one in other.items())  # fmt: skip
