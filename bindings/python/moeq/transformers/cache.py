"""The cache: quantized experts of a dense checkpoint in one native file, which the next load maps."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from transformers.utils import logging

import moeq

from .._errors import MoeqError
from .._reader import Reader
from .._reader import open as open_checkpoint
from .._spec import Spec
from .._writer import Writer
from ..torch import MoeqTensor
from ..torch.store import NESTED_GROUP, one_expert
from .native import EXPERT, Packed, parts_of
from .plan import Planned

logger = logging.get_logger("transformers.moeq")

KEY = "cache.key"  # in the metadata of an entry


def cache_key(files: Iterable[str], plan: dict[str, Planned]) -> str:
    """A digest of the files' headers, sizes and times, of what is to be made of them, and of moeq's version."""
    digest = hashlib.sha256(moeq.library_version().encode())
    for file in sorted(map(os.path.realpath, files)):
        about = os.stat(file)
        digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(length, about.st_size)))
    for name, one in plan.items():
        digest.update(json.dumps([name, str(one.spec), one.weight.shape, str(one.weight.dtype)]).encode())
    return digest.hexdigest()[:40]


class Cache:
    """One entry, to read where it is whole, else to write. Nothing that goes wrong with it stops the load.

    notes: what happened, for the report.
    """

    def __init__(self, folder: str, key: str, plan: dict[str, Planned]) -> None:
        self.notes: list[str] = []
        self._key = key
        self._plan = plan
        self._path = Path(folder).expanduser() / f"{key}.safetensors"
        self._partial = self._path.with_name(f"{key}.{os.getpid()}.{secrets.token_hex(4)}.partial")
        self._writer: Writer | None = None
        self._packed = self._read() if self._path.exists() else None
        if self._packed is None:
            self._begin()

    # ---- read

    def _read(self) -> Packed | None:
        try:
            reader = open_checkpoint(self._path, mmap=True)
            packed = Packed(reader)
            wrong = self._wrong(reader, packed)
        except (MoeqError, OSError) as error:
            wrong = f"it cannot be read: {error}"
        if wrong is None:
            self.notes.append(f"cache: experts are mapped from {self._path}")
            return packed
        self._warn(f"cache: {self._path} is made anew, {wrong}")
        return None

    def _wrong(self, reader: Reader, packed: Packed) -> str | None:
        metadata = reader.metadata()["files"][0].get("metadata") or {}
        if metadata.get(KEY) != self._key:
            return "it belongs to another source"
        for name, one in self._plan.items():
            if name not in packed.names() or packed.shape(name) != one.weight.shape:
                return f"{name} is not in it, or has another shape"
        return None

    def load(self, name: str) -> MoeqTensor | None:
        return None if self._packed is None else self._packed.load(name, self._plan[name].weight.dtype)

    # ---- write

    def _begin(self) -> None:
        """The file has a place for everything before the first is there, so what it declares is known from the plan."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = Writer(self._partial, "native", {KEY: self._key}, durable=False)
            for name, one in self._plan.items():
                for part, shape, spec in declared(name, one):
                    self._writer.declare(part, shape, spec=spec)
        except (MoeqError, OSError) as error:
            self._give_up(error)

    def put(self, name: str, tensor: MoeqTensor) -> None:
        if self._writer is None:
            return
        try:
            for part in parts_of(name, tensor):
                self._writer.put(part.name, part.q)
        except (MoeqError, OSError) as error:
            self._give_up(error)

    def finish(self) -> None:
        """Puts the entry in its place. Where two processes made it, the last one's stays: they are the same bytes."""
        if self._writer is None:
            return
        try:
            self._writer.commit()
            os.replace(self._partial, self._path)
            self.notes.append(f"cache: experts were written to {self._path}")
            self._writer = None
        except (MoeqError, OSError) as error:
            self._give_up(error)

    def abandon(self) -> None:
        """Leaves no trace of what was not finished."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._partial.unlink(missing_ok=True)

    def _give_up(self, error: Exception) -> None:
        self._warn(f"cache: the load goes on without it: {error}")
        self.abandon()

    def _warn(self, note: str) -> None:
        self.notes.append(note)
        logger.warning(f"moeq: {note}")


def declared(name: str, one: Planned) -> list[tuple[str, tuple[int, ...], Spec]]:
    """Name, shape and spec of the native weights that a parameter will be."""
    experts, rows, columns = one.weight.shape
    spec = one.spec.with_(logical_dtype=one.weight.dtype)
    statistics = math.prod(one_expert(one.spec, rows, columns)["scale"][1])
    if spec.nested and experts > 1 and statistics % NESTED_GROUP:
        return [(f"{name}{EXPERT}{e}", (1, rows, columns), spec) for e in range(experts)]
    return [(name, (experts, rows, columns), spec)]
