"""The text to score: sources of the running Python's standard library, so that no text has to be shipped."""

import importlib.util
from pathlib import Path

import numpy as np

from . import DemoError
from .checkpoint import read_json

WINDOW = 256  # bytes, what the tiny model was trained on; each window begins with an empty context

# For models that do not say what was kept out of their training: fair for comparing formats, not for judging the model.
DEFAULT_MODULES = ["textwrap", "heapq", "shlex", "fractions", "calendar", "queue", "graphlib", "cmd"]


def heldout_text(model_folder: Path, text_file: str | None = None) -> tuple[bytes, str]:
    """The bytes, and a description of them for the report."""
    if text_file:
        try:
            return Path(text_file).read_bytes(), Path(text_file).name
        except OSError as error:
            raise DemoError(f"--text {text_file} cannot be read: {error.strerror}", "give a readable file") from None
    listed = model_folder / "heldout.json"
    if listed.exists():
        modules, kind = read_json(listed)["modules"], "held-out modules of Python's library"
    else:
        modules, kind = DEFAULT_MODULES, "modules of Python's library"
    return b"\n".join(module_source(name) for name in modules), f"{kind}: {', '.join(modules)}"


def module_source(name: str) -> bytes:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise DemoError(f"this Python has no source of its module {name!r}", "give a text of your own with --text FILE")
    return Path(spec.origin).read_bytes()


def windows(text: bytes, wanted_bytes: int) -> np.ndarray:
    """Windows [W, 256] spread evenly over the text; the same ones at each run."""
    available = len(text) // WINDOW
    count = min(available, max(1, wanted_bytes // WINDOW))
    if count == 0:
        raise DemoError(f"the text has {len(text)} bytes", f"give one of at least {WINDOW}")
    values = np.frombuffer(text, np.uint8)[:available * WINDOW].reshape(available, WINDOW)
    return values[np.arange(count) * available // count]
