#!/usr/bin/env python3
"""Times an experts module of transformers with quantized weights beside the same module with dense ones.

    bench/torch_experts.py [--experts 16] [--hidden 1024] [--width 384] [--threads 1] [--out FILE]

Needs torch, transformers and peft (the environment of the Python tests), PYTHONPATH=bindings/python and MOEQ_LIBRARY.
A forward sends each token through four experts, out of a quarter of them or out of all; "whole" is the same after all
experts were dequantized, as a host does that cannot do better. A step is forward and backward with PEFT adapters on
both parameters, gradients of tokens and adapters. Times are of the processor, so that other work counts less, medians
of runs in turns; the last column is the median of the ratios to dense in the same turn. docs/torch.md quotes results.
"""

import argparse
import json
import os
import statistics
import time

import peft
import torch
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

import moeq
from moeq.torch import MoeqTensor, densify

TOP_K, RANK, RUNS = 4, 16, 7
KINDS = ("dense", "int8", "fp8_e4m3", "nf4")
IMPLEMENTATIONS = ("eager", "grouped_mm")
NAMES = ("gate_up_proj", "down_proj")


class Layer(torch.nn.Module):
    """Experts without a router: routing is an argument."""

    def __init__(self, kind, implementation, options):
        super().__init__()
        config = Qwen3MoeConfig(hidden_size=options.hidden, moe_intermediate_size=options.width,
                                num_experts=options.experts, num_experts_per_tok=TOP_K)
        config._experts_implementation = implementation
        torch.manual_seed(1)
        self.experts = Qwen3MoeExperts(config).to(torch.bfloat16)
        for name in NAMES:
            weight = torch.randn(getattr(self.experts, name).shape).mul_(0.05).to(torch.bfloat16)
            weight = weight if kind == "dense" else MoeqTensor.quantize(weight, kind)
            setattr(self.experts, name, torch.nn.Parameter(weight, requires_grad=False))

    def forward(self, x, ids, weights):
        return self.experts(x, ids, weights)


def routed(tokens, hit, options):
    """Tokens, and the experts below `hit` that they go to."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.stack([torch.randperm(hit, generator=generator)[:TOP_K] for _ in range(tokens)])
    x = torch.randn(tokens, options.hidden, generator=generator).to(torch.bfloat16)
    return x, ids, torch.full(ids.shape, 1 / TOP_K, dtype=torch.bfloat16)


def forward_of(kind, implementation, batch, options):
    layer = Layer(kind, implementation, options)
    return lambda: layer(*batch)


def whole_of(kind, implementation, batch, options):
    """The same forward of a host that dequantizes all experts first, into new tensors."""
    layer, dense = Layer(kind, implementation, options), Layer("dense", implementation, options)

    def run():
        for name in NAMES:
            getattr(dense.experts, name).data = getattr(layer.experts, name).dequantize()
        dense(*batch)

    return run


def step_of(kind, implementation, batch, options):
    targets = [f"experts.{name}" for name in NAMES]
    config = peft.LoraConfig(r=RANK, target_parameters=targets, init_lora_weights=False)
    model, (x, *routing) = peft.get_peft_model(Layer(kind, implementation, options), config), batch

    def run():
        model.zero_grad()
        model(x.clone().requires_grad_(), *routing).float().square().sum().backward()

    return run


def measured(calls):
    """Milliseconds of processor time of each call, run in turns."""
    times = {name: [] for name in calls}
    for turn in range(RUNS + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:  # the first one does not count
                times[name].append(1e3 * (time.process_time() - start))
    return times


def compare(rows, what, calls, **where):
    """Prints and keeps a row for each call, with its time as a multiple of the first one's in the same turn."""
    times = measured(calls)
    first = next(iter(times.values()))
    for kind, own in times.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(own, first))
        rows.append({"what": what, "kind": kind, **where, "ms": [round(ms, 2) for ms in own], "ratio": round(ratio, 3)})
        place = ", ".join(f"{name} {value}" for name, value in where.items())
        print(f"{what:8} {kind:16} {place:36} {statistics.median(own):9.1f} ms {ratio:6.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("experts", 16), ("hidden", 1024), ("width", 384), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["MOEQ_NUM_THREADS"] = str(options.threads)  # read when the first context is made
    print(f"moeq {moeq.__version__}, torch {torch.__version__}, peft {peft.__version__}, load {os.getloadavg()[0]:.1f}")
    rows = []
    with densify("error"):
        for implementation in IMPLEMENTATIONS:
            for tokens in (64, 256):
                for hit in (options.experts // 4, options.experts):
                    batch = routed(tokens, hit, options)
                    calls = {kind: forward_of(kind, implementation, batch, options) for kind in KINDS}
                    calls |= {f"{kind} whole": whole_of(kind, implementation, batch, options) for kind in KINDS[1:]}
                    with torch.no_grad():
                        compare(rows, "forward", calls, by=implementation, tokens=tokens, hit=hit)
                calls = {kind: step_of(kind, implementation, batch, options) for kind in KINDS}
                compare(rows, "step", calls, by=implementation, tokens=tokens, hit=options.experts)
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"options": vars(options), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
