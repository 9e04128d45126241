"""Reads a sharded safetensors checkpoint with nothing but numpy and ml_dtypes."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from . import DemoError

# A header is read whole, so a damaged length must not make us allocate gigabytes.
MAX_HEADER_BYTES = 100 * 1024 * 1024

DTYPES = {"BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}

EXPERT_NAME = re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight")


@dataclass(frozen=True)
class StoredTensor:
    name: str
    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes from the beginning of the file

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """A fresh array: nothing is mapped, so memory that the process holds is memory that it asked for."""
        values = np.fromfile(self.file, self.dtype, math.prod(self.shape), offset=self.offset)
        if values.size != math.prod(self.shape):
            raise damaged(self.file, f"it ends inside {self.name}")
        return values.reshape(self.shape)


@dataclass(frozen=True)
class ExpertPiece:
    """One stored tensor and its place in the fused stacks: gate and up share one, gate first."""

    tensor: StoredTensor
    layer: int
    expert: int
    projection: str  # gate, up, down

    @property
    def stack(self) -> str:
        return "down" if self.projection == "down" else "gate_up"


class Checkpoint:
    """A checkpoint directory: its config, and its tensors in file order."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DemoError(f"MODEL={folder} is not a directory", "give the folder that holds config.json")
        self.config = read_json(self.folder / "config.json")
        self.tensors: dict[str, StoredTensor] = {}
        for file in self._shards():
            for tensor in read_header(file):
                if tensor.name in self.tensors:
                    raise damaged(file, f"{tensor.name} is in another shard too")
                self.tensors[tensor.name] = tensor
        self._check_index()

    def _shards(self) -> list[Path]:
        shards = sorted(self.folder.glob("*.safetensors"))
        if not shards:
            raise DemoError(f"MODEL={self.folder} has no .safetensors file",
                            "the demo reads safetensors only; download or convert the weights first")
        return shards

    def _check_index(self) -> None:
        path = self.folder / "model.safetensors.index.json"
        if not path.exists():
            return
        for name, shard in read_json(path).get("weight_map", {}).items():
            if name not in self.tensors or self.tensors[name].file.name != shard:
                raise DemoError(f"{path} says that {name} is in {shard}, and it is not",
                                "a shard is missing or stale: copy the folder again")

    def read(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise DemoError(f"MODEL={self.folder} has no tensor {name}", "the demo knows Qwen3-MoE's names only")
        return self.tensors[name].read()

    def expert_pieces(self) -> list[ExpertPiece]:
        """The expert weights in the order in which they lie in the files."""
        pieces = []
        for tensor in self.tensors.values():
            if match := EXPERT_NAME.fullmatch(tensor.name):
                pieces.append(ExpertPiece(tensor, int(match[1]), int(match[2]), match[3]))
        return pieces

    @property
    def parameters(self) -> int:
        return sum(math.prod(t.shape) for t in self.tensors.values())

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values())


def damaged(file: Path, problem: str) -> DemoError:
    return DemoError(f"{file} is damaged: {problem}", "copy or download the file again")


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


def read_header(path: Path) -> list[StoredTensor]:
    """The tensors of one file, by position. The data must be covered exactly: no gap, no overlap, nothing behind."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise damaged(path, f"a header of {length} bytes in a file of {size}")
        text = file.read(length)
    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
        entries.pop("__metadata__", None)
        tensors = [_entry(path, 8 + length, name, entry) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"its header does not parse: {error}") from None
    tensors.sort(key=lambda tensor: tensor.offset)
    end = 8 + length
    for tensor in tensors:
        if tensor.offset != end:
            raise damaged(path, f"{tensor.name} begins at byte {tensor.offset}, and byte {end} was to come")
        end += tensor.nbytes
    if end != size:
        raise damaged(path, f"its tensors end at byte {end} of {size}")
    return tensors


def _unique_keys(pairs: list[tuple]) -> dict:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _entry(path: Path, data_begin: int, name: str, entry: dict) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if entry["dtype"] not in DTYPES:
        raise DemoError(f"{name} in {path.name} is {entry['dtype']}", "the demo takes bf16, fp16 and fp32 checkpoints")
    if not all(type(extent) is int and extent >= 0 for extent in (*shape, begin, end)):
        raise ValueError(f"shape or offsets of {name}")
    tensor = StoredTensor(name, path, DTYPES[entry["dtype"]], shape, data_begin + begin)
    if end - begin != tensor.nbytes:
        raise ValueError(f"{name} has {end - begin} bytes, and its shape says {tensor.nbytes}")
    return tensor
