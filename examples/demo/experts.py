"""Expert weights one at a time, for the forward pass: as stored in a dense checkpoint, or decoded."""

import numpy as np

import moeq

from .checkpoint import Checkpoint


def prefix(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts."


class StoredExperts:
    """The unquantized weights, read from the checkpoint at each access."""

    def __init__(self, checkpoint: Checkpoint):
        self._checkpoint = checkpoint

    def _read(self, layer: int, expert: int, projection: str) -> np.ndarray:
        return self._checkpoint.read(f"{prefix(layer)}{expert}.{projection}_proj.weight")

    def gate_up(self, layer: int, expert: int) -> np.ndarray:
        return np.concatenate([self._read(layer, expert, "gate"), self._read(layer, expert, "up")])

    def down(self, layer: int, expert: int) -> np.ndarray:
        return self._read(layer, expert, "down")


class QuantizedExperts:
    """Weights on access: the forward pass asks for one expert, and only that one is decoded.

    Gate and up are one stack, or two where the layout of the files keeps their scales apart.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.weights: dict[str, moeq.QTensor] = {
            name: checkpoint.reader.load(stack) for name, stack in checkpoint.stacks.items()
        }

    @property
    def nbytes(self) -> int:
        """Of all codes and scales."""
        return sum(weight.nbytes for weight in self.weights.values())

    def _decode(self, name: str, expert: int) -> np.ndarray:
        return self.weights[name].dequantize(experts=expert, dtype="fp32").numpy()

    def gate_up(self, layer: int, expert: int) -> np.ndarray:
        whole = prefix(layer) + "gate_up_proj"
        if whole in self.weights:
            return self._decode(whole, expert)
        return np.concatenate([self._decode(f"{prefix(layer)}{half}_proj", expert) for half in ("gate", "up")])

    def down(self, layer: int, expert: int) -> np.ndarray:
        return self._decode(prefix(layer) + "down_proj", expert)
