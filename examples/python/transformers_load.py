"""A model of transformers whose experts are quantized while it loads; saved, loaded again, and made dense again."""

import pathlib
import tempfile

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from moeq.transformers import MoeqConfig

logging.disable_progress_bar()
MODEL = pathlib.Path(__file__).parents[2] / "tests" / "data" / "tiny-moe"  # a small trained Qwen3-MoE
TEXT = torch.tensor([list(b"def quantize(")])  # its tokens are bytes
folder = tempfile.TemporaryDirectory()
saved, cache, dense = (pathlib.Path(folder.name) / name for name in ("saved", "cache", "dense"))

# [quote: load]
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=MoeqConfig("nf4"))
print(model.hf_quantizer.report().line())
# [end]
print(f"{model.hf_quantizer.footprint(model)} bytes are held")
result = model(input_ids=TEXT).logits

# [quote: formats]
config = MoeqConfig("nf4:64,nested", formats={"**.down_proj": "int8"}, skip=["**.layers.0.**"], cache=cache)
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=config)
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=config)  # experts are mapped from the cache
# [end]
for one in model.hf_quantizer.report().quantized[:2]:
    print(one.name, one.spec, one.source)
for one in model.hf_quantizer.report().skipped[:1]:
    print(one.name, "stays dense:", one.reason)

# [quote: save]
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=MoeqConfig("nf4"))
model.save_pretrained(saved)
again = AutoModelForCausalLM.from_pretrained(saved)  # `import moeq.transformers` has to come first
# [end]
print("reloaded:", torch.equal(again(input_ids=TEXT).logits, result))

# [quote: dense]
model.dequantize().save_pretrained(dense)  # an ordinary checkpoint
# [end]
plain = AutoModelForCausalLM.from_pretrained(dense)
print(
    "dense:", hasattr(plain, "hf_quantizer"), torch.allclose(plain(input_ids=TEXT).logits, result, rtol=0.05, atol=0.2)
)
folder.cleanup()
