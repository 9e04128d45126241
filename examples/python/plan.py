"""A conversion in units: what it would do, then done here and there, and the end."""

import json
import tempfile
from pathlib import Path

import numpy as np

import moeq

EXPERTS, INNER, HIDDEN = 4, 32, 64


def checkpoint(folder):
    """Stands for a model of two layers with experts."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_moe"}))
    shapes = {"gate_proj": (INNER, HIDDEN), "up_proj": (INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}
    with moeq.Writer(folder / "model.safetensors", durable=False) as writer:
        rng = np.random.default_rng(1)
        weights = {
            f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight": rng.standard_normal(shape, np.float32)
            for layer in range(2)
            for expert in range(EXPERTS)
            for name, shape in shapes.items()
        }
        for name, weight in weights.items():
            writer.declare(name, weight.shape, "fp32")
        for name, weight in weights.items():
            writer.put(name, weight)
    return folder


with tempfile.TemporaryDirectory() as folder:
    source, target = checkpoint(Path(folder) / "model"), Path(folder) / "out"
    # [quote: plan]
    plan = moeq.plan(source, target, spec="nf4", rules={"**.down_proj": "int8"})
    for unit in plan.units:
        print(unit.unit, [(weight.name, weight.spec) for weight in unit.weights])
    print(f"{plan.totals.bytes_in} bytes become {plan.totals.bytes_out}")

    plan.run(units=(0, 2), finish=False)  # anywhere that has the same files; the others likewise
    print("finished:", plan.again().finished)
    plan.run()  # what is missing, and the end
    # [end]
    with moeq.open(target) as made:
        print({stack.name: str(stack.spec) for stack in made.stacks})
