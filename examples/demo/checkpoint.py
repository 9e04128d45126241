"""A checkpoint folder: its config.json, and its tensors as fp32 arrays."""

import json
from pathlib import Path

import numpy as np

import moeq

from . import DemoError


class Checkpoint:
    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DemoError(f"MODEL={folder} is not a directory", "give the folder that holds config.json")
        self.config = read_json(self.folder / "config.json")
        if not any(self.folder.glob("*.safetensors")):
            raise DemoError(f"MODEL={self.folder} has no .safetensors file",
                            "the demo reads safetensors only; download or convert the weights first")
        try:
            self.reader = moeq.open(self.folder)
        except moeq.MoeqError as error:
            raise DemoError(" ".join(str(error).split()), "copy or download the folder again") from None
        self.stacks = {stack.name: stack for stack in self.reader.stacks}
        self.dense = {tensor.name: tensor for tensor in self.reader.tensors if tensor.stack is None}
        if not self.stacks:
            raise DemoError(f"MODEL={self.folder} has no expert weights", "moeq inspect shows what it has")

    def read(self, name: str) -> np.ndarray:
        """fp32 values of a tensor that is stored dense."""
        try:
            return self.reader.read(name).numpy().astype(np.float32)
        except moeq.NotFoundError:
            raise DemoError(f"MODEL={self.folder} has no tensor {name}",
                            "the demo knows Qwen3-MoE's names only") from None


def read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DemoError(f"{path} is missing", "MODEL must be a checkpoint folder as on the Hugging Face hub") from None
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read: {error}", "copy or download the file again") from None
    if not isinstance(value, dict):
        raise DemoError(f"{path} does not hold a JSON object", "copy or download the file again")
    return value
