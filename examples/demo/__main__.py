"""python examples/demo [--model DIR] [--out DIR] [--formats LIST] [--bytes N] [--text FILE]"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a folder: python examples/demo
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    __package__ = Path(__file__).resolve().parent.name
    __import__(__package__)

# Before numpy is imported, and for the children too: the products here are small, and one BLAS thread does them with
# less time than several that wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from . import DemoError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# Name in the table -> spec as moeq spells it, and the layout of the files.
FORMATS = {
    "int8 row": ("int8", "compressed-tensors"),
    "FP8 E4M3 row": ("fp8_e4m3", "native"),
    "NF4 64": ("nf4:64", "bitsandbytes"),
    "NF4 64 nested": ("nf4:64,nested", "native"),
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Quantizes a checkpoint into moeq's formats and measures "
                                                              "size, memory, error, loss and divergence.")
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-moe"), help="checkpoint folder")
    parser.add_argument("--out", type=Path, default=ROOT / "build/demo", help="where demo.png and demo.json go")
    parser.add_argument("--formats", help="specs separated by spaces, such as 'int8 nf4:64,nested', in moeq's own "
                                          "layout; default: four, in three layouts")
    parser.add_argument("--bytes", type=int, default=16384, help="how many bytes of held-out text to score")
    parser.add_argument("--text", help="file to score; default: held-out modules of Python's own library")
    return parser.parse_args(arguments)


def chosen_formats(options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Name -> spec and layout; proves on the way that moeq is there and knows the specs."""
    try:
        import moeq

        moeq.Spec("int8")
        moeq.Context()
    except Exception as error:  # whatever the reason, the cure is the same
        raise DemoError(f"moeq cannot be used: {' '.join(str(error).split())}",
                        "build it with 'make' and run 'make demo', or set MOEQ_LIBRARY and PYTHONPATH") from None
    given = {spec: (spec, "native") for spec in options.formats.split()} if options.formats else None
    for spec in given or ():
        try:
            moeq.Spec(spec)
        except moeq.MoeqError as error:
            raise DemoError(f"--formats {spec}: {' '.join(str(error).split())}",
                            f"for example --formats '{' '.join(spec for spec, _ in FORMATS.values())}'") from None
    return given or FORMATS


def gather(arguments: argparse.Namespace, formats: dict[str, tuple[str, str]], folder: Path) -> dict:
    """Runs everything and returns every figure. folder: where quantized checkpoints go."""
    from .checkpoint import Checkpoint
    from .commands import moeq, moeq_json
    from .experts import StoredExperts
    from .model import Config, Model, bits_per_byte
    from .text import heldout_text, windows

    checkpoint = Checkpoint(arguments.model)
    config = Config.of(checkpoint)
    text, description = heldout_text(checkpoint.folder, arguments.text)
    scored = windows(text, arguments.bytes)
    reference = Model(checkpoint, StoredExperts(checkpoint)).log_probabilities(scored)
    spec, layout = next(iter(formats.values()))
    print(moeq("plan", str(checkpoint.folder), "--spec", spec, "--dialect", layout), flush=True)
    known = moeq_json("inspect", str(checkpoint.folder))
    stacks = known["stacks"]
    facts = {
        "model": checkpoint.folder.resolve().name, "text": description,
        "scored_bytes": reference.shape[0] * reference.shape[1],
        "stored": {
            "name": f"{stacks[0]['dtype']} as stored", "parameters": known["parameters"],
            "layers": config.layers, "experts": config.experts, "model_bytes": known["bytes"],
            "expert_bytes": sum(stack["bytes"] for stack in stacks),
            "bits_per_byte": bits_per_byte(reference, scored),
        },
        "formats": [],
    }
    for name, (spec, layout) in formats.items():
        target = folder / "".join(c if c.isalnum() else "-" for c in f"{spec}-{layout}")
        facts["formats"].append({"name": name, **measure(checkpoint, target, spec, layout, scored, reference)})
    return facts


def measure(checkpoint, target: Path, spec: str, layout: str, scored, reference) -> dict:
    """The figures of one format."""
    import numpy as np

    from .checkpoint import Checkpoint
    from .commands import error_map, quantize
    from .experts import QuantizedExperts
    from .model import Model, agreement, bits_per_byte, divergence

    done = quantize(checkpoint.folder, target, spec, layout)
    made = Checkpoint(target)
    experts = QuantizedExperts(made)
    got = Model(made, experts).log_probabilities(scored)
    sizes = {weight["name"]: experts.weights[weight["name"]].shape for weight in done["errors"]}
    noise, signal = error_map(done["errors"], {name: rows * columns for name, (_, rows, columns) in sizes.items()})
    facts = {
        "spec": spec, "layout": layout,
        "expert_bytes": experts.nbytes, "model_bytes": made.reader.nbytes,
        "context_peak_bytes": done["made"]["library_peak_memory"],
        "process_peak_bytes": done["made"]["peak_memory"],
        "seconds": done["made"]["seconds"], "read_bytes": done["made"]["bytes_in"],
        "relative_rms": float(np.sqrt(noise.sum() / signal.sum())),
        "relative_rms_map": np.sqrt(noise / signal).tolist(),  # [layer][expert]
        "bits_per_byte": bits_per_byte(got, scored),
        "divergence_bits": divergence(reference, got),
        "agreement": agreement(reference, got),
    }
    made.reader.close()
    return facts


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    begun = time.perf_counter()
    try:
        formats = chosen_formats(options)
        from . import report  # needs numpy, as all that follows

        with tempfile.TemporaryDirectory() as folder:
            facts = gather(options, formats, Path(folder))
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "demo.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(report.headline(facts), report.error_maps(facts), report.table(facts), sep="\n\n")
        report.draw(facts, options.out / "demo.png")
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(f"\n{options.out / 'demo.png'} and demo.json written; {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
