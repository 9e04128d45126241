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

import numpy as np  # noqa: E402

from . import DemoError, report  # noqa: E402
from .checkpoint import Checkpoint  # noqa: E402
from .measure import measure_in_child  # noqa: E402
from .model import Config, Model, StoredExperts, bits_per_byte  # noqa: E402
from .text import heldout_text, windows  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

# Name in the table -> spec as moeq spells it.
FORMATS = {"int8 row": "int8", "FP8 E4M3 row": "fp8_e4m3", "NF4 64": "nf4:64", "NF4 64 nested": "nf4:64,nested"}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Streams a checkpoint into moeq's formats and measures "
                                                              "size, memory, error, loss and divergence.")
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-moe"), help="checkpoint folder")
    parser.add_argument("--out", type=Path, default=ROOT / "build/demo", help="where demo.png and demo.json go")
    parser.add_argument("--formats", help="specs separated by spaces, such as 'int8 nf4:64,nested'; default: four")
    parser.add_argument("--bytes", type=int, default=16384, help="how many bytes of held-out text to score")
    parser.add_argument("--text", help="file to score; default: held-out modules of Python's own library")
    return parser.parse_args(arguments)


def chosen_formats(options: argparse.Namespace) -> dict[str, str]:
    """Name -> spec; proves on the way that moeq is there and knows the specs."""
    try:
        import moeq

        moeq.Spec("int8")
        moeq.Context()
    except Exception as error:  # whatever the reason, the cure is the same
        raise DemoError(f"moeq cannot be used: {' '.join(str(error).split())}",
                        "build it with 'make' and run 'make demo', or set MOEQ_LIBRARY and PYTHONPATH") from None
    formats = {spec: spec for spec in options.formats.split()} if options.formats else FORMATS
    for spec in formats.values():
        try:
            moeq.Spec(spec)
        except moeq.MoeqError as error:
            raise DemoError(f"--formats {spec}: {' '.join(str(error).split())}",
                            f"for example --formats '{' '.join(FORMATS.values())}'") from None
    return formats


def gather(arguments: argparse.Namespace, formats: dict[str, str]) -> dict:
    """Runs everything and returns every figure."""
    checkpoint = Checkpoint(arguments.model)
    config = Config.of(checkpoint)
    text, description = heldout_text(checkpoint.folder, arguments.text)
    scored = windows(text, arguments.bytes)
    reference = Model(checkpoint, StoredExperts(checkpoint)).log_probabilities(scored)
    pieces = checkpoint.expert_pieces()
    facts = {
        "model": checkpoint.folder.resolve().name, "text": description,
        "scored_bytes": reference.shape[0] * reference.shape[1],
        "stored": {
            "name": f"{pieces[0].tensor.dtype.name} as stored", "parameters": checkpoint.parameters,
            "layers": config.layers, "experts": config.experts, "model_bytes": checkpoint.nbytes,
            "expert_bytes": sum(piece.tensor.nbytes for piece in pieces),
            "bits_per_byte": bits_per_byte(reference, scored),
        },
        "formats": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/windows.npy", scored)
        np.save(f"{folder}/reference.npy", reference)
        for name, spec in formats.items():
            print(f"  {name} ...", file=sys.stderr, flush=True)
            facts["formats"].append({"name": name, **measure_in_child(
                model=str(checkpoint.folder), spec=spec, windows=f"{folder}/windows.npy",
                reference=f"{folder}/reference.npy")})
    return facts


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    begun = time.perf_counter()
    try:
        facts = gather(options, chosen_formats(options))
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "demo.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(report.headline(facts), report.table(facts), report.error_maps(facts), sep="\n\n")
        report.draw(facts, options.out / "demo.png")
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(f"\n{options.out / 'demo.png'} and demo.json written; {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
