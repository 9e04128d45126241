"""A tiny random model of a type by its own class, what its experts are, and what it computes.

Values of experts have rows that differ by up to eleven times, so that scales along another axis show.
"""

import re
from dataclasses import dataclass

import torch

from . import catalog
from .configs import EXPERTS, HIDDEN, over, overrides

WORDS = slice(100, 400)  # token numbers of a text: none that a type gives a meaning
EMBEDDED = {"doge"}  # its experts are rows of an embedding: no weights to stack
# Its files have experts in modules of another name than the model has, which nobody renames for native weights: a
# transformers without moeq leaves them random, and lists them as missing.
UNGUARDED = {("step3p7", "hub")}

# Parameters of experts, by the names that modules have in memory; most are 3-D: [experts, ., .].
NAMES = re.compile(r"(^|\.)(experts\.(gate_up_proj|up_proj|down_proj)"
                   r"|(mlp|self_attention\.experts)\.(input|output)_linear\.weight"  # jetmoe
                   r"|experts\.mlp\.(w1|v1|w2)"  # dbrx
                   r"|experts\.(expert_)?\d+\.(wi|wo|fc1|fc2)\.weight|experts\.\d+\.weight)$")  # fmt: skip
DOWN = re.compile(r"down_proj$|output_linear\.weight$")

# Where what a checkpoint's text becomes can be seen, for classes that compute it from more than a text.
INNER = {"llama4": "language_model", "qwen3_omni_moe": "thinker"}


@dataclass
class Expert:
    """One parameter with weights of experts, and its vectors along the axis that is summed over."""

    name: str
    value: torch.Tensor
    transposed: bool  # [..., in, out]
    in_turns: bool = False  # gate, up, gate, up ... along the outputs

    def vectors(self):
        """[n, length]: what one output is computed from, for all outputs of all experts."""
        value = self.value.transpose(-1, -2) if self.transposed else self.value
        return value.reshape(-1, value.shape[-1])

    def put(self, vectors):
        """Replaces the weights by such vectors."""
        shape = list(self.value.shape)
        if self.transposed:
            shape[-1], shape[-2] = shape[-2], shape[-1]
        value = vectors.reshape(shape)
        self.value.copy_(value.transpose(-1, -2) if self.transposed else value)


def summed_axis_is_second_last(name, value):
    """Whether a weight is [in, out]. Linears are [out, in]; of others the extents tell, which are all unlike."""
    if name.endswith("experts.mlp.w2"):  # dbrx
        return True
    if value.ndim != 3:
        return False
    hidden_is_last = value.shape[-1] == HIDDEN
    return hidden_is_last if DOWN.search(name) else not hidden_is_last


def vectors_in(model, expert):
    """The vectors that another model has for a parameter; None if it has no such parameter.

    transformers replaces some modules of experts by lists of linears while it loads what is quantized.
    """
    own = dict(model.named_parameters())
    if expert.name in own:
        value = own[expert.name].data
        return Expert(expert.name, value.view(expert.value.shape), expert.transposed).vectors()
    module, _, name = expert.name.rpartition(".")
    parts = ("gate_proj", "up_proj") if name == "gate_up_proj" else (name,)
    linears = [f"{module}.{one}.{part}.weight" for one in range(expert.value.shape[0]) for part in parts]
    return torch.cat([own[linear] for linear in linears]) if all(linear in own for linear in linears) else None


def experts_of(model):
    found = []
    for name, value in model.named_parameters():
        if NAMES.search(name) and value.ndim > 1:
            data = value.data
            if re.search(r"experts\.mlp\.(w1|v1|w2)$", name):  # dbrx: all experts' rows in one matrix
                data = data.view(EXPERTS, -1, data.shape[-1])
            module = model.get_submodule(name.rpartition(".")[0])
            in_turns = not getattr(module, "is_concatenated", True)
            found.append(Expert(name, data, summed_axis_is_second_last(name, data), in_turns))
    return found


def class_of(model_type):
    import transformers

    return getattr(transformers, catalog.head(model_type))


def build(model_type):
    """A model in bf16 with weights that are the same every time."""
    from transformers import CONFIG_MAPPING

    known = CONFIG_MAPPING[model_type]
    config = known(**overrides(known(), over(model_type)))
    torch.manual_seed(1)
    model = class_of(model_type)._from_config(config, dtype=torch.bfloat16).eval()
    torch.manual_seed(2)
    for expert in experts_of(model):
        vectors = expert.vectors()
        rows = torch.rand(len(vectors), 1) * 3 + 0.3
        expert.put((torch.randn(vectors.shape) * rows / vectors.shape[-1] ** 0.5).bfloat16())
    return model


def inputs(model_type, model):
    torch.manual_seed(3)
    words = torch.randint(WORDS.start, WORDS.stop, (1, 16))
    if model_type == "vitpose_backbone":
        return {"pixel_values": torch.randn(1, 3, 32, 32).bfloat16(), "dataset_index": torch.tensor([1])}
    given = {"input_ids": words, "use_cache": False}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = words.flip(1)
    if model_type == "ernie4_5_vl_moe":  # whether a token is text or picture decides about its experts
        given["mm_token_type_ids"] = torch.zeros_like(words)
    return given


def weights_only(model):
    """Makes compressed-tensors decode its linears now, not in the first pass, and leaves activations as they are."""
    if hasattr(model, "ct_decompress_hook"):
        from compressed_tensors.quantization import disable_quantization

        for hook in list(model._forward_pre_hooks.values()):
            hook(model, ())
        model.apply(disable_quantization)


def compute(model_type, model):
    """Logits for a text, in fp32; the last hidden states of what has no head."""
    weights_only(model)
    if model_type in INNER:
        model = model.get_submodule(INNER[model_type])
    with torch.no_grad():
        out = model(**inputs(model_type, model))
    out = out.logits if "logits" in out else out[0]
    return (out[-1] if isinstance(out, tuple) else out).float()
