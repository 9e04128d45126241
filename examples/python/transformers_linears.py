"""A model of transformers with experts by moeq and linears by bitsandbytes; saved and loaded again."""

import pathlib
import tempfile

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging

from moeq.transformers import MoeqConfig

logging.disable_progress_bar()
MODEL = pathlib.Path(__file__).parents[2] / "tests" / "data" / "tiny-moe"  # a small trained Qwen3-MoE
TEXT = torch.tensor([list(b"def quantize(")])  # its tokens are bytes
folder = tempfile.TemporaryDirectory()

# [quote: linears]
config = MoeqConfig("nf4", linears=BitsAndBytesConfig(load_in_8bit=True))
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=config)
# [end]
print(model.hf_quantizer.report().line())
print(type(model.model.layers[0].self_attn.q_proj).__name__)
model.save_pretrained(folder.name)
again = AutoModelForCausalLM.from_pretrained(folder.name)
print("reloaded:", torch.equal(again(input_ids=TEXT).logits, model(input_ids=TEXT).logits))
folder.cleanup()
