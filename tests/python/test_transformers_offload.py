"""accelerate's hooks on a loaded model: codes go where weights would, or a call is refused before it did anything."""

import pytest
from families import models
from torch_weights import strict  # noqa: F401
from transformers_models import (  # noqa: F401
    load,
    one_thread,
    quantized_in,
    same_bytes,
    torch,
)

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: nobody offloads")

import moeq  # noqa: E402
from moeq.torch import MoeqTensor  # noqa: E402

pytestmark = pytest.mark.usefixtures("strict")
SPECS = ["int8", "nf4:64,nested", "fp8_e4m3:block128x128"]
CPU = torch.device("cpu")


def weight_of(model):
    return model.model.layers[0].mlp.experts.down_proj


def wanted(spec):
    return models.compute("qwen3_moe", load("qwen3_moe", spec))


@pytest.mark.parametrize("spec", SPECS)
def test_offloaded_codes_come_back_for_each_forward(spec):
    model = accelerate.cpu_offload(load("qwen3_moe", spec), execution_device=CPU)
    result = wanted(spec)
    for _ in range(2):
        assert isinstance(weight_of(model), MoeqTensor) and weight_of(model).is_meta
        assert torch.equal(models.compute("qwen3_moe", model), result)
    accelerate.hooks.remove_hook_from_submodules(model)
    whole = quantized_in(load("qwen3_moe", spec))
    assert all(same_bytes(value, whole[name]) for name, value in quantized_in(model).items())


def test_a_model_is_dispatched_to_one_device_and_moved_as_a_whole():
    result = wanted("int8")
    model = accelerate.dispatch_model(load("qwen3_moe", "int8"), {"": "cpu"}, force_hooks=True)
    assert torch.equal(models.compute("qwen3_moe", model), result)
    model, hook = accelerate.cpu_offload_with_hook(load("qwen3_moe", "int8"), execution_device=CPU)
    assert torch.equal(models.compute("qwen3_moe", model), result)
    hook.offload()
    assert torch.equal(models.compute("qwen3_moe", model), result)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("how", ["disk_offload", "dispatch_model"])
def test_offload_to_disk_is_refused_and_leaves_the_model_as_it_was(how, dtype, tmp_path):
    model = load("qwen3_moe", "int8", dtype=dtype)
    result = models.compute("qwen3_moe", model)
    with moeq.torch.densify("allow"), pytest.raises(moeq.UnsupportedError, match="offloads a model to disk: save_pret"):
        if how == "disk_offload":
            accelerate.disk_offload(model, tmp_path, execution_device=CPU)
        else:
            names = ["model.embed_tokens", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"]
            places = dict.fromkeys(names, "cpu") | {"model.layers.0": "disk"}
            accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path)
    assert not any(hasattr(module, "_hf_hook") for module in model.modules())
    assert torch.equal(models.compute("qwen3_moe", model), result)


def test_a_weight_has_no_dense_bytes_to_look_at():
    weight = MoeqTensor.quantize(torch.randn(2, 8, 64), "int8")
    for look in (weight.numpy, lambda: weight.view(torch.int32), lambda: weight[0].numpy()):
        with moeq.torch.densify("allow"), pytest.raises(moeq.UnsupportedError, match="no dense bytes"):
            look()
    assert weight.view(torch.float32).shape == weight.shape
