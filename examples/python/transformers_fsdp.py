"""Adapters on the quantized experts of a model that FSDP2 has cut for two processes: trained, saved and loaded again.

`python transformers_fsdp.py` starts both processes; with torchrun: `torchrun --nproc-per-node 2 transformers_fsdp.py
FOLDER`, where the folder is for its files.
"""

import os
import pathlib
import sys
import tempfile
from datetime import timedelta

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import moeq.distributed
from moeq.transformers import MoeqConfig

MODEL = pathlib.Path(__file__).parents[2] / "tests" / "data" / "tiny-moe"  # a small trained Qwen3-MoE
TEXTS = torch.tensor([list(f"Experts are quantized {how}. ".encode()) for how in ("once", "here")])  # tokens are bytes


def main(rank: int, folder: pathlib.Path) -> None:
    torch.set_num_threads(1)
    patience = timedelta(minutes=2)  # how long one rank waits for another
    if "RANK" in os.environ:  # of torchrun
        distributed.init_process_group("gloo", timeout=patience)
    else:
        meeting = f"file://{folder}/meeting"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)

    # [quote: load]
    with moeq.distributed.together("quantizing"):  # an error on one rank is an error on all
        if rank == 0:
            made = AutoModelForCausalLM.from_pretrained(MODEL, quantization_config=MoeqConfig("nf4"))
            made.save_pretrained(folder / "nf4")
    model = AutoModelForCausalLM.from_pretrained(folder / "nf4")  # codes are mapped, and not read yet
    # [end]
    torch.manual_seed(1)  # the same adapters on both ranks
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], target_parameters=experts))

    # [quote: shard]
    for layer in model.get_base_model().model.layers:
        fully_shard(layer)  # reads and keeps this rank's experts
    fully_shard(model)
    # [end]
    if rank == 1:
        shard = next(one for name, one in model.named_parameters() if name.endswith("gate_up_proj"))
        print("rank 1 holds", shard.to_local(), flush=True)

    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(10):
        loss = model(input_ids=TEXTS[rank : rank + 1], labels=TEXTS[rank : rank + 1]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if losses[-1] > 0.5 * losses[0]:
        raise SystemExit(f"the loss did not fall: {losses}")

    # [quote: save]
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    adapters = get_model_state_dict(model, options=options)  # on rank 0; every rank has to call it
    if rank == 0:
        model.save_pretrained(folder / "adapters", state_dict=adapters)
    # [end]
    with torch.no_grad():
        after = model(input_ids=TEXTS).logits  # of all ranks, too
    with moeq.distributed.together("loading again"):
        if rank == 0:
            again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "nf4"), folder / "adapters")
            same = torch.allclose(again(input_ids=TEXTS).logits, after, atol=1e-3)
            print("the loss has halved, and the adapters are", "the same" if same else "others", "when loaded")
    distributed.destroy_process_group()


logging.disable_progress_bar()
if __name__ == "__main__":
    if "RANK" in os.environ:
        main(int(os.environ["RANK"]), pathlib.Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            torch.multiprocessing.start_processes(main, (pathlib.Path(name),), nprocs=2, start_method="fork")
