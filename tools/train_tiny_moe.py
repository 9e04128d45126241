#!/usr/bin/env python3
"""Trains tests/data/tiny-moe: a small Qwen3-MoE model of bytes, on the Python standard library's own sources.

    python tools/train_tiny_moe.py [--out DIR] [--steps N] [--threads N]

Needs torch, transformers and safetensors; takes about twelve minutes on two idle CPU cores. The seed is fixed, so the
same machine, thread count and package versions give the same weights; others give a model as good, but not the same.
The modules of heldout.json are kept out of the training text and read from the running Python for the evaluation.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

SEED = 20240229
SEQUENCE = 256
BATCH = 16
PEAK_RATE = 3e-3
WARM_UP_STEPS = 60

# In every CPython from 3.10 on. What other modules say about them stays in the training text.
HELDOUT_MODULES = ["textwrap", "heapq", "shlex", "fractions", "calendar", "queue", "graphlib", "cmd"]

# Tables and generated text teach nothing about code; tests and bundled packages are absent on some machines.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings",
                   "pydoc_data", "lib2to3", "ensurepip", "turtledemo", "lib-dynload"}


def model_config() -> Qwen3MoeConfig:
    """2.6 million parameters, 0.8 million of them at work for one byte."""
    return Qwen3MoeConfig(
        vocab_size=256, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, intermediate_size=256, moe_intermediate_size=192, num_experts=8, num_experts_per_tok=2,
        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], tie_word_embeddings=False,
        max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        router_aux_loss_coef=0.01, output_router_logits=True, bos_token_id=None, eos_token_id=None, pad_token_id=None)


def module_bytes(name: str) -> bytes:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise SystemExit(f"train_tiny_moe: module {name!r} has no source file in this Python")
    return Path(spec.origin).read_bytes()


def training_bytes() -> bytes:
    """Every source of the standard library but the held-out ones, in one fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    heldout = {f"{name}.py" for name in HELDOUT_MODULES}
    parts = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("config-"))
        parts += [(Path(folder) / name).read_bytes() for name in sorted(files) if name.endswith(".py")
                  and not (Path(folder) == root and (name in heldout or name.startswith("_sysconfigdata")))]
    return b"\n".join(parts)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to 2 % of the peak."""
    if step < WARM_UP_STEPS:
        return PEAK_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return PEAK_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def bits_per_byte(model: Qwen3MoeForCausalLM, text: np.ndarray, window: int = SEQUENCE) -> float:
    """Mean of -log2 p(byte | the bytes before it in its window), over whole windows."""
    windows = text[: len(text) // window * window].reshape(-1, window).astype(np.int64)
    total = 0.0
    with torch.no_grad():
        for rows in torch.from_numpy(windows).split(8):
            logits = model(input_ids=rows, output_router_logits=False).logits[:, :-1].float()
            total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(),
                                                       reduction="sum").item()
    return total / (windows.shape[0] * (window - 1)) / math.log(2)


def unigram_bits_per_byte(train: np.ndarray, text: np.ndarray) -> float:
    """What knowing only how often each byte occurs costs on the held-out text."""
    counts = np.bincount(train, minlength=256).astype(np.float64) + 1.0
    return float(-np.log2(counts / counts.sum())[text].mean())


def bigram_bits_per_byte(train: np.ndarray, text: np.ndarray) -> float:
    counts = np.zeros((256, 256)) + 0.1
    np.add.at(counts, (train[:-1], train[1:]), 1.0)
    return float(-np.log2(counts / counts.sum(axis=1, keepdims=True))[text[:-1], text[1:]].mean())


def train(model: Qwen3MoeForCausalLM, text: np.ndarray, steps: int) -> None:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  lr=PEAK_RATE, betas=(0.9, 0.95))
    random = np.random.default_rng(SEED)
    begun = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        starts = random.integers(0, len(text) - SEQUENCE, BATCH)
        rows = torch.from_numpy(np.stack([text[s:s + SEQUENCE] for s in starts]).astype(np.int64))
        loss = model(input_ids=rows, labels=rows).loss  # with the router's balancing loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item() / math.log(2):.3f} bits  {time.perf_counter() - begun:6.0f} s",
                  flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "tests/data/tiny-moe")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    text = np.frombuffer(training_bytes(), np.uint8)
    heldout = np.frombuffer(b"\n".join(module_bytes(name) for name in HELDOUT_MODULES), np.uint8)
    model = Qwen3MoeForCausalLM(model_config())
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters} parameters, {len(text)} bytes to learn from, {len(heldout)} held out", flush=True)

    train(model, text, arguments.steps)

    model.eval()
    model.to(torch.bfloat16)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out, max_shard_size="2MB")
    for shard in arguments.out.glob("*.safetensors"):
        shard.chmod(0o644)
    model.to(torch.float32)  # bf16 values, fp32 arithmetic: what the committed weights can do
    facts = {
        "modules": HELDOUT_MODULES,
        "parameters": parameters,
        "steps": arguments.steps,
        "training_bytes": len(text),
        "heldout_bytes": len(heldout),
        "bits_per_byte": {
            "model": round(bits_per_byte(model, heldout), 4),
            "unigram": round(unigram_bits_per_byte(text, heldout), 4),
            "bigram": round(bigram_bits_per_byte(text, heldout), 4),
            "uniform": 8.0,
        },
        "trained_with": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0],
                         "transformers": transformers.__version__, "threads": arguments.threads,
                         "seed": SEED},
    }
    (arguments.out / "heldout.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
