"""SourceFiles: tensors of the dense checkpoint, of which only the part that is asked for is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safetensors import safe_open


class SourceFiles:
    """The .safetensors files of a load. Others have no parts, and are read by the host as a whole."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = [path for path in paths if path.endswith(".safetensors")]
        self._open: dict[str, Any] | None = None

    def slice(self, name: str) -> Any:
        """Something to index along the first axis; None where no file has the tensor."""
        file = self.names().get(name)
        return None if file is None else file.get_slice(name)

    def tensor(self, name: str) -> Any:
        return self.names()[name].get_tensor(name)

    def names(self) -> dict[str, Any]:
        """The tensors, and the open file of each."""
        if self._open is None:
            self._open = {}
            for path in self.paths:
                file = safe_open(path, framework="pt", device="cpu")
                self._open |= dict.fromkeys(file.keys(), file)
        return self._open
