#!/usr/bin/env python3
"""Peak memory and time of from_pretrained for a Mixture-of-Experts model, by moeq.transformers and by what else there is.

    bench/loads.py [--folder DIR] [--runs 3] [--only nf4,plain] [--out FILE]

Needs torch, transformers, accelerate and bitsandbytes (the environment of the Python tests), PYTHONPATH=bindings/python
and MOEQ_LIBRARY. The model is a Qwen3-MoE of four layers with 64 experts of 1024 and 768, 1.125 GiB of bf16 experts; it
is made once, in DIR or in a folder that is removed. Each load has a process of its own with one thread: a tiny model is
loaded the same way first, so that what is imported late does not count, then private memory (RssAnon) is sampled each
millisecond. Mapped files are no private memory. The file is read once before, so that times are of a warm page cache.
The time of the processor counts other work of the machine less.

"parametrized" is how Axolotl's documents describe their way, with bitsandbytes' functions, written for this comparison:
each stacked parameter is quantized when the host sets it, and decoded whenever somebody looks at it. It puts a function
in a host's place, in that process alone; nothing of moeq does. Its 4-bit codes are bitsandbytes'; for its int8 codes
weights are laid flat first, as bitsandbytes' function for CPUs takes matrices only.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

EXPERTS, WIDTH, HIDDEN, LAYERS = 64, 768, 1024, 4
LARGEST = EXPERTS * 2 * WIDTH * HIDDEN * 2  # bytes of a layer's gate and up in bf16
PUBLIC = {  # experts, width, hidden size, layers that have experts
    "GLM-4.7-Flash": (64, 1536, 2048, 46),
    "Qwen3-30B-A3B": (128, 768, 2048, 48),
    "gpt-oss-120b": (128, 2880, 2880, 36),
    "Qwen3-235B-A22B": (128, 1536, 4096, 94),
    "DeepSeek-V3": (256, 2048, 7168, 58),
    "Kimi-K2": (384, 2048, 7168, 60),
}
WAYS = ["plain", "bitsandbytes 4-bit", "bitsandbytes 8-bit", "parametrized 4-bit", "parametrized 8-bit",
        "moeq int8", "moeq nf4", "moeq nf4:64,nested"]  # fmt: skip


def model_of(folder, experts, width, hidden, layers):
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(hidden_size=hidden, moe_intermediate_size=width, num_experts=experts, head_dim=64,
                            num_hidden_layers=layers, num_attention_heads=hidden // 64, num_key_value_heads=4,
                            vocab_size=512, num_experts_per_tok=2, intermediate_size=64)  # fmt: skip
    torch.manual_seed(1)
    Qwen3MoeForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


# ---- in a process of its own


def anonymous():
    text = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon")) * 1024


class Decoded:
    """What a parametrized int8 weight is to whoever looks."""

    @staticmethod
    def of(module, name, weight):
        import torch
        from bitsandbytes import functional
        from torch.nn.utils import parametrize

        class RowWise(torch.nn.Module):
            def __init__(self, statistics):
                super().__init__()
                self.register_buffer("statistics", statistics)

            @torch.no_grad()
            def forward(self, codes):
                flat = codes.reshape(-1, codes.shape[-1])
                return functional.int8_vectorwise_dequant(flat, self.statistics).reshape(codes.shape)

        flat = weight.data.to(torch.float16).reshape(-1, weight.shape[-1])
        codes, statistics, _ = functional.int8_vectorwise_quant(flat)
        setattr(module, name, torch.nn.Parameter(codes.reshape(weight.shape), requires_grad=False))
        parametrize.register_parametrization(module, name, RowWise(statistics), unsafe=True)


def parametrize_while_loading(bits):
    """The host's function that sets a parameter, followed by the quantization of what it set."""
    import torch
    from bitsandbytes.nn.parametrize import replace_parameter_4bit
    from transformers import core_model_loading

    of_host = core_model_loading.set_param_for_module

    def set_and_quantize(model, target_name, param_value, *others, **more):
        of_host(model, target_name, param_value, *others, **more)
        holder, _, name = target_name.rpartition(".")
        if param_value.ndim < 3 or "expert" not in target_name:
            return
        module = model.get_submodule(holder)
        if bits == 4:
            replace_parameter_4bit(module, name, compress_statistics=True, quant_type="nf4")
        else:
            Decoded.of(module, name, getattr(module, name))
        param_value.data = torch.empty(0)

    core_model_loading.set_param_for_module = set_and_quantize


def loader_of(way, cache):
    """load(folder), and held(model): the bytes that the result has to take."""
    import torch
    from transformers import BitsAndBytesConfig, Qwen3MoeForCausalLM

    if way.startswith("moeq "):
        from moeq.transformers import MoeqConfig

        config = MoeqConfig(way.removeprefix("moeq "), cache=cache)
        return lambda folder: Qwen3MoeForCausalLM.from_pretrained(folder, quantization_config=config)
    if way.startswith("parametrized"):
        parametrize_while_loading(4 if "4" in way else 8)
    bits = "load_in_4bit" if "4" in way else "load_in_8bit"
    options = {} if way == "plain" else {"quantization_config": BitsAndBytesConfig(**{bits: True})}
    if "4" in way:
        options["quantization_config"].bnb_4bit_quant_type = "nf4"
    return lambda folder: Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **options)


def measure(way, folder, tiny, cache):
    import gc

    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    load = loader_of(way, cache)
    load(tiny)
    gc.collect()
    before, peak, stop = anonymous(), 0, False

    def watch():
        nonlocal peak
        while not stop:
            peak = max(peak, anonymous())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    begin, worked = time.perf_counter(), time.process_time()
    model = load(folder)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    gc.collect()
    end = anonymous()
    stop = True
    thread.join()
    held = model.hf_quantizer.footprint(model) if way.startswith("moeq") else None
    return {"peak": max(peak, end) - before, "end": end - before, "held": held, "seconds": seconds, "cpu_seconds": worked}


# ---- over all of them


def in_process(way, folder, tiny, cache):
    command = [sys.executable, __file__, "--one", way, str(folder), str(tiny), str(cache or "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MOEQ_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def row(way, runs):
    """Medians; the overhead is what the peak has above the result."""
    middle = {key: statistics.median(run[key] for run in runs) for key in ("peak", "end", "seconds", "cpu_seconds")}
    result = {"way": way, **middle, "overhead": middle["peak"] - middle["end"], "runs": runs}
    if way.startswith("moeq "):
        result["experts"] = codes_of(way.split()[1].rstrip(","), EXPERTS, WIDTH, HIDDEN, LAYERS)
    shown = [f"{value / 2**20:8.0f}" for value in (middle["peak"], middle["end"], result["overhead"])]
    times = f"{middle['seconds']:8.2f} s {middle['cpu_seconds']:8.2f} s"
    print(f"{way:28}", *shown, f"MiB {result['overhead'] / LARGEST:7.2f} {times}", flush=True)
    return result


def run(options, work):
    folder = options.folder or work / "model"
    if not (folder / "config.json").exists():
        model_of(folder, EXPERTS, WIDTH, HIDDEN, LAYERS)
    tiny = work / "tiny"
    model_of(tiny, 2, 64, 128, 1)
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                pass
    print(f"{'':28} {'peak':>8} {'end':>8} {'above':>8}     {'largest':>7} {'time':>10} {'of the CPU':>10}")
    for way in options.only.split("|") if options.only else WAYS:
        caches = [work / f"cache-{turn}" for turn in range(options.runs)] if way.startswith("moeq") else []
        yield row(way, [in_process(way, folder, tiny, None) for _ in range(options.runs)])
        if caches:
            yield row(f"{way}, writes a cache", [in_process(way, folder, tiny, cache) for cache in caches])
            yield row(f"{way}, from a cache", [in_process(way, folder, tiny, cache) for cache in caches])
        for cache in caches:
            shutil.rmtree(cache)


def computed():
    """GiB of all experts of public models, from their configurations: nothing was loaded."""
    print(f"{'':28} {'bf16':>8} {'largest':>8} {'int8':>8} {'nf4':>8} {'nested':>8}")
    for name, (experts, width, hidden, layers) in PUBLIC.items():
        sizes = [6 * experts * width * hidden * layers, 4 * experts * width * hidden]
        sizes += [codes_of(text, *PUBLIC[name]) for text in ("int8", "nf4", "nf4:64,nested")]
        print(f"{name:28}", *[f"{size / 2**30:8.1f}" for size in sizes])


def codes_of(text, experts, width, hidden, layers):
    """Bytes of all experts in a format, codes and scales."""
    from moeq import Spec

    return experts * layers * sum(Spec(text).nbytes((1, *shape)) for shape in ((2 * width, hidden), (hidden, width)))


def main():
    if sys.argv[1:2] == ["--one"]:
        way, folder, tiny, cache = sys.argv[2:]
        print(json.dumps(measure(way, folder, tiny, cache or None)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="where the model is, or will be")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="ways, parted by |")
    parser.add_argument("--out", help="where the JSON goes")
    parser.add_argument("--computed", action="store_true", help="what public models take, computed; nothing is loaded")
    options = parser.parse_args()
    if options.computed:
        computed()
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "bitsandbytes")}
    shape = {"experts": EXPERTS, "width": WIDTH, "hidden": HIDDEN, "layers": LAYERS, "largest": LARGEST}
    rows = []
    with tempfile.TemporaryDirectory(prefix="moeq-loads-") as work:
        for one in run(options, pathlib.Path(work)):
            rows.append(one)
            if options.out:  # what is there is kept, whatever becomes of the rest
                pathlib.Path(options.out).write_text(json.dumps(versions | {"model": shape, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
