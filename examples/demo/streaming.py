"""From a checkpoint on disk to quantized handles, one stored tensor at a time: the dense model is never in memory."""

import numpy as np

import moeq

from . import DemoError
from .checkpoint import Checkpoint, ExpertPiece
from .model import Config

# (layer, "gate_up") -> [E, 2 I, H], (layer, "down") -> [E, H, I]
Stacks = dict[tuple[int, str], "moeq.QTensor"]


def stack_shape(config: Config, stack: str) -> tuple[int, int, int]:
    if stack == "gate_up":
        return config.experts, 2 * config.expert_width, config.hidden
    return config.experts, config.hidden, config.expert_width


def stack_spec(spec_text: str, stack: str) -> "moeq.Spec":
    """The layout tag tells every later reader of the handle which rows are gate and which are up."""
    return moeq.Spec(spec_text, layout="gate_up" if stack == "gate_up" else "plain")


def first_row(piece: ExpertPiece, config: Config) -> int:
    return config.expert_width if piece.projection == "up" else 0


def stream(checkpoint: Checkpoint, spec_text: str, context: "moeq.Context") -> Stacks:
    """Reads the expert tensors in file order and writes each into the builder of its stack.

    At any time memory holds the quantized stacks and one stored tensor. A stack is finished, and its builder gone, as
    soon as its last piece has come; finish() itself refuses a stack with a gap.
    """
    config = Config.of(checkpoint)
    pieces = checkpoint.expert_pieces()
    left = {key: 0 for key in [(p.layer, p.stack) for p in pieces]}
    if len(left) != 2 * config.layers:
        raise DemoError(f"{checkpoint.folder} has {len(left)} expert stacks, and config.json says {2 * config.layers}",
                        "per-expert names are wanted: model.layers.N.mlp.experts.M.gate_proj.weight")
    for piece in pieces:
        left[piece.layer, piece.stack] += 1

    builders: dict[tuple[int, str], moeq.Builder] = {}
    stacks: Stacks = {}
    for piece in pieces:
        key = piece.layer, piece.stack
        if key not in builders:
            builders[key] = moeq.Builder(stack_spec(spec_text, piece.stack), stack_shape(config, piece.stack),
                                         context=context)
        builders[key].write(piece.tensor.read(), expert=piece.expert, row=first_row(piece, config))
        left[key] -= 1
        if left[key] == 0:
            stacks[key] = builders.pop(key).finish()
    return stacks


def dense_stack(checkpoint: Checkpoint, config: Config, layer: int, stack: str) -> np.ndarray:
    """The unquantized stack, in the type of the checkpoint, to measure errors against."""
    dense = None
    for piece in checkpoint.expert_pieces():
        if (piece.layer, piece.stack) != (layer, stack):
            continue
        values = piece.tensor.read()
        if dense is None:
            dense = np.empty(stack_shape(config, stack), values.dtype)
        begin = first_row(piece, config)
        dense[piece.expert, begin:begin + values.shape[0]] = values
    return dense


class QuantizedExperts:
    """Weights on access: the forward pass asks for one expert, and only that one is decoded."""

    def __init__(self, stacks: Stacks, config: Config):
        self._stacks = stacks
        self._buffers = {stack: np.empty((1, *stack_shape(config, stack)[1:]), np.float32)
                         for stack in ("gate_up", "down")}

    def _decode(self, layer: int, stack: str, expert: int) -> np.ndarray:
        self._stacks[layer, stack].dequantize(experts=[expert], out=self._buffers[stack])
        return self._buffers[stack][0]

    def gate_up(self, layer: int, expert: int) -> np.ndarray:
        return self._decode(layer, "gate_up", expert)

    def down(self, layer: int, expert: int) -> np.ndarray:
        return self._decode(layer, "down", expert)
