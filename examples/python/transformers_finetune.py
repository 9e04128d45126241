"""Fine-tuning a model whose experts are quantized, with LoRA on them: ten steps, saved, loaded again, merged."""

import pathlib
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import moeq.peft
from moeq.transformers import MoeqConfig

logging.disable_progress_bar()
torch.manual_seed(1)
MODEL = pathlib.Path(__file__).parents[2] / "tests" / "data" / "tiny-moe"  # a small trained Qwen3-MoE
TEXT = torch.tensor([list(b"Experts are quantized, and adapters on them are trained.")])  # its tokens are bytes
folder = tempfile.TemporaryDirectory()
adapter, whole = (pathlib.Path(folder.name) / name for name in ("adapter", "whole"))

# [quote: adapters]
model = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=MoeqConfig("nf4"))
config = LoraConfig(r=8, lora_alpha=16, target_parameters=["experts.gate_up_proj", "experts.down_proj"])
model = get_peft_model(model, config)
# [end]
trainable, total = model.get_nb_trainable_parameters()
print(f"{trainable} of {total} parameters are trained")

optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-2)
losses = []
for _ in range(10):
    loss = model(input_ids=TEXT, labels=TEXT).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(float(loss.detach()))
print("the loss has halved:", losses[-1] < losses[0] / 2)

# [quote: adapter]
model.save_pretrained(adapter)  # the adapter only
base = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=MoeqConfig("nf4"))
again = PeftModel.from_pretrained(base, adapter)
# [end]
print("files:", sorted(file.name for file in adapter.glob("*.safetensors")))
result = model.eval()(input_ids=TEXT).logits
print("reloaded:", torch.equal(again(input_ids=TEXT).logits, result))

# [quote: merge]
dense = AutoModelForCausalLM.from_pretrained(MODEL)  # the 16-bit weights; model.dequantize() has those of the codes
merged = PeftModel.from_pretrained(dense, adapter).merge_and_unload()
merged.save_pretrained(whole)  # an ordinary checkpoint
# [end]
# [quote: quantized merge]
lost = moeq.peft.merge_error(model)  # what merging into the codes will lose, asked before
model.merge_adapter()
# [end]
print("of the adapters:", all(0.2 < one.of_adapter < 0.5 for one in lost.values()))
with torch.no_grad():
    for kind, found in (("16 bit", AutoModelForCausalLM.from_pretrained(whole)), ("the codes", model)):
        print(f"merged into {kind}:", float(found(input_ids=TEXT, labels=TEXT).loss) < losses[0] / 2)
folder.cleanup()
