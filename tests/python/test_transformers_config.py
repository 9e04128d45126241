"""MoeqConfig: what it takes, what config.json keeps of it, and that importing it changes nothing of the hosts."""

import pytest
from transformers_models import run_python

import moeq
from moeq.transformers import MoeqConfig
from moeq.transformers.globs import matches


def test_a_config_survives_the_dictionary_that_it_is_saved_as():
    config = MoeqConfig("nf4:64,nested", formats={"**.down_proj": "int8"}, skip=["model.layers.0.**"])
    saved = config.to_dict()
    assert saved["quant_method"] == "moeq" and saved["version"] == "1" and saved["moeq_version"] == moeq.__version__
    assert MoeqConfig.from_dict(saved) == config
    assert MoeqConfig.from_dict(saved) != MoeqConfig("int8")


def test_a_config_shows_what_it_says():
    assert repr(MoeqConfig("nf4", skip=["a.**"])) == "MoeqConfig('nf4', skip=['a.**'])"


def test_the_folder_of_the_cache_is_not_saved():
    assert "cache" not in MoeqConfig("nf4", cache="/somewhere").to_dict()


@pytest.mark.parametrize(
    "change, error, text",
    [
        ({"bits": 4}, moeq.ArgumentError, "got the key 'bits'"),
        ({"version": "2", "moeq_version": "9.1.0"}, moeq.VersionError, "got version '2', of moeq 9.1.0; wanted '1'"),
        ({"quant_method": "fp8"}, moeq.ArgumentError, "got 'fp8'; wanted 'moeq'"),
        ({"format": "nf5"}, moeq.MoeqError, "nf5"),
    ],
)
def test_what_a_config_json_says_wrongly_is_named(change, error, text):
    with pytest.raises(error, match=text):
        MoeqConfig.from_dict(MoeqConfig("nf4").to_dict() | change)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"format": "int9"}, "int9"),
        ({"format": "nf4", "formats": {"**": "nf4:3"}}, "block_columns 3"),
        ({"format": "nf4", "skip": "model.**"}, "wanted a list of globs"),
        ({"formats": {"**": "nf4"}}, "wanted format="),
        ({"format": "nf4", "formats": ["int8"]}, "formats: got list; wanted formats by glob"),
        ({"format": "nf4", "skip": 5}, "skip: got 5; wanted a list of globs"),
        ({"format": 7}, "got int; wanted a string"),
    ],
)
def test_wrong_arguments_are_refused_when_the_config_is_made(arguments, text):
    with pytest.raises(moeq.MoeqError, match=text.replace("*", r"\*")):
        MoeqConfig(**arguments)


def test_the_first_exception_that_matches_counts():
    config = MoeqConfig("nf4", formats={"**.layers.0.**": "dense", "**.down_proj": "int8"}, skip=["**.layers.3.**"])
    name = "model.layers.{}.mlp.experts.{}".format
    assert config.spec_text(name(0, "down_proj")) is None
    assert config.spec_text(name(1, "down_proj")) == "int8"
    assert config.spec_text(name(1, "gate_up_proj")) == "nf4"
    assert config.spec_text(name(3, "down_proj")) is None


@pytest.mark.parametrize(
    "glob, name, does",
    [
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.b.c", False),
        ("**.c", "a.b.c", True),
        ("**.c", "c", True),
        ("a.**", "a.b.c", True),
        ("a.{b,c}", "a.c", True),
        ("a.{b,c}", "a.d", False),
        ("a.b", "axb", False),
    ],
)
def test_globs_are_those_of_the_command(glob, name, does):
    assert matches(glob, name) is does


def test_importing_moeq_imports_no_framework():
    found = run_python("""
import json, sys, moeq
print(json.dumps([name for name in ("torch", "transformers", "peft", "accelerate") if name in sys.modules]))""")
    assert found == []


def test_no_attribute_of_the_hosts_changes_by_importing_and_loading():
    """Every attribute of their modules and classes is the object that it was; the registries have one entry more."""
    from transformers_models import folder_of

    changed = run_python(SNAPSHOT, folder_of("qwen3_moe"))
    assert changed == []


SNAPSHOT = """
import json, sys
import torch, transformers, accelerate, peft
from transformers.models.qwen3_moe import modeling_qwen3_moe
import transformers.quantizers.auto, transformers.core_model_loading, transformers.conversion_mapping
import transformers.integrations.moe, transformers.integrations.accelerate, peft.tuners.lora.layer
from transformers import Qwen3MoeForCausalLM
Qwen3MoeForCausalLM.from_pretrained(sys.argv[1])  # what the hosts load when they are first used

def attributes():
    found = {}
    for name, module in list(sys.modules.items()):
        if not name.split(".")[0] in ("transformers", "accelerate", "peft") and not name.startswith("torch.nn"):
            continue
        for key, value in list(vars(module).items()):
            found[name, key] = value
            if isinstance(value, type) and value.__module__ == name:
                for member, inner in list(vars(value).items()):
                    if not member.startswith("_abc_"):
                        found[name, key, member] = inner
    return found

before = attributes()
import moeq.transformers
from moeq.transformers import MoeqConfig
model = Qwen3MoeForCausalLM.from_pretrained(sys.argv[1], quantization_config=MoeqConfig("nf4"))
model(input_ids=torch.tensor([[5, 6, 7]]))
after = attributes()
print(json.dumps([key for key, value in before.items() if key not in after or after[key] is not value]))
"""
