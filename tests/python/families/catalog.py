"""Which model types of transformers have experts, found in its own sources, so that a new one is not overlooked.

A type has experts when a class that its heads are made of speaks of experts. Reading the text of the modeling files
takes a second; importing them all would take minutes. Heads of other packages' making (`AutoModel.from_config` of a
nested configuration) are followed by the model type that the configuration has by default.
"""

import re
from functools import cache
from pathlib import Path

# In this order: what generates text first, as what is published does.
HEADS = ["MODEL_FOR_IMAGE_TEXT_TO_TEXT", "MODEL_FOR_CAUSAL_LM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
         "MODEL_FOR_MULTIMODAL_LM", "MODEL_FOR_PRETRAINING", "MODEL_FOR_TOKEN_CLASSIFICATION",
         "MODEL_FOR_BACKBONE"]  # fmt: skip
BASE = "MODEL"

# Types whose classes speak of experts and have none.
NOT_EXPERTS = {
    "bamba": "its one local variable num_experts is 1",
    "qwen3_vl_moe_vision": "it would record the router's outputs, and has no router",
}


def mapping(task):
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, task + "_MAPPING_NAMES", None) or {}


def head(model_type):
    """The class that stands for a type: what its checkpoints name as their architecture."""
    for task in [*HEADS, BASE]:
        found = mapping(task).get(model_type)
        if found:
            return found if isinstance(found, str) else found[0]
    raise LookupError(f"transformers has no model class for {model_type}")


def top_level(text):
    """Name and text of every class, function and assignment of a file."""
    parts = re.split(r"^(?:class |def )?(\w+)(?=[(:]| *=)", text, flags=re.M)
    return zip(parts[1::2], parts[2::2], strict=True)


@cache
def expert_classes():
    """Names of the classes of transformers that are made with experts."""
    import transformers

    speaks, mentions = set(), {}
    for file in sorted((Path(transformers.__file__).parent / "models").glob("*/modeling_*.py")):
        words = {}
        text = re.sub(r'""".*?"""|#[^\n]*', "", file.read_text("utf-8"), flags=re.S)
        for name, body in top_level(text):
            if name.endswith("PreTrainedModel"):
                continue  # knows how to initialize whatever the file has
            words[name] = set(re.findall(r"\w+", body))
            if "experts" in body:
                speaks.add(name)
        mentions |= {name: found & words.keys() - {name} for name, found in words.items()}
    grown = True
    while grown:
        reached = {name for name, found in mentions.items() if not speaks.isdisjoint(found)} - speaks
        speaks |= reached
        grown = bool(reached)
    return speaks


def nested_types(config):
    """Model types of the configurations inside of one."""
    for value in vars(config).values():
        if hasattr(value, "to_dict"):
            if getattr(value, "model_type", ""):
                yield value.model_type
            yield from nested_types(value)


def has_experts(model_type):
    classes = expert_classes()
    tasks = [task for task in [*HEADS, BASE] if model_type in mapping(task)]
    names = [mapping(task)[model_type] for task in tasks]
    return any(name in classes for found in names for name in ([found] if isinstance(found, str) else found))


def may_hold(model_type, others):
    """Whether the file of a type's configuration names one of the others, or its configuration's class."""
    import transformers
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES
    from transformers.models.auto.configuration_auto import model_type_to_module_name

    if model_type not in CONFIG_MAPPING_NAMES:
        return False
    folder = Path(transformers.__file__).parent / "models" / model_type_to_module_name(model_type)
    words = {
        word for file in folder.glob("configuration_*.py") for word in re.findall(r"[\w-]+", file.read_text("utf-8"))
    }
    return any(other in words or CONFIG_MAPPING_NAMES.get(other) in words for other in others)


@cache
def families():
    """The types with experts: {type: its class}."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    types = {name for task in [*HEADS, BASE] for name in mapping(task)}
    own = {name for name in types if has_experts(name)} - NOT_EXPERTS.keys()
    for name in sorted(types - own - NOT_EXPERTS.keys()):
        if not may_hold(name, own):
            continue
        try:
            nested = set(nested_types(CONFIG_MAPPING[name]()))
        except (
            StrictDataclassError
        ):  # its defaults contradict each other: nobody makes one without saying what is inside
            continue
        if not own.isdisjoint(nested):
            own.add(name)
    return {name: head(name) for name in sorted(own)}
