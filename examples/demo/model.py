"""The forward pass of Qwen3-MoE in plain numpy, fp32: enough to score some thousands of bytes in seconds."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from . import DemoError
from .checkpoint import Checkpoint

# Windows that go through the model together: bounds the attention scores to a few MB.
BATCH = 16


class Experts(Protocol):
    """Where expert weights come from: a file, or quantized handles that decode what is asked for."""

    def gate_up(self, layer: int, expert: int) -> np.ndarray: ...  # fp32 [2 I, H], gate rows first
    def down(self, layer: int, expert: int) -> np.ndarray: ...  # fp32 [H, I]


@dataclass(frozen=True)
class Config:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    experts_per_token: int
    expert_width: int
    normalize_routing: bool
    epsilon: float
    rope_theta: float
    tied: bool

    @staticmethod
    def of(checkpoint: Checkpoint) -> "Config":
        """Reads config.json, and refuses what the forward pass below would get wrong."""
        c = checkpoint.config
        rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
        wanted = {
            "model_type": (c.get("model_type"), "qwen3_moe"),
            "vocab_size": (c.get("vocab_size"), 256),
            "hidden_act": (c.get("hidden_act"), "silu"),
            "attention_bias": (bool(c.get("attention_bias")), False),
            "decoder_sparse_step": (c.get("decoder_sparse_step", 1), 1),
            "mlp_only_layers": (c.get("mlp_only_layers") or [], []),
            "use_sliding_window": (bool(c.get("use_sliding_window")), False),
            "rope_type": (rope.get("rope_type", "default"), "default"),
        }
        for key, (got, want) in wanted.items():
            if got != want:
                raise DemoError(f"{checkpoint.folder}/config.json has {key} = {got!r}, and the demo wants {want!r}",
                                "it runs byte-level Qwen3-MoE models, such as tests/data/tiny-moe")
        try:
            return Config(
                hidden=c["hidden_size"], layers=c["num_hidden_layers"], heads=c["num_attention_heads"],
                kv_heads=c["num_key_value_heads"],
                head_dim=c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"],
                experts=c["num_local_experts"] if "num_local_experts" in c else c["num_experts"],
                experts_per_token=c["num_experts_per_tok"], expert_width=c["moe_intermediate_size"],
                normalize_routing=bool(c.get("norm_topk_prob")), epsilon=c["rms_norm_eps"],
                rope_theta=float(rope.get("rope_theta", c.get("rope_theta", 10000.0))),
                tied=bool(c.get("tie_word_embeddings")))
        except KeyError as error:
            raise DemoError(f"{checkpoint.folder}/config.json lacks {error}", "is it a Qwen3-MoE model?") from None


class Model:
    def __init__(self, checkpoint: Checkpoint, experts: Experts):
        self.config = Config.of(checkpoint)
        self._experts = experts
        self._dense = {name: checkpoint.read(name) for name in checkpoint.dense}
        head = "model.embed_tokens.weight" if self.config.tied else "lm_head.weight"
        for name in (head, "model.embed_tokens.weight", "model.norm.weight"):
            if name not in self._dense:
                raise DemoError(f"{checkpoint.folder} has no tensor {name}", "the demo knows Qwen3-MoE's names only")
        self._head = self._dense[head]

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """tokens [B, T] -> fp32 [B, T, 256]."""
        x = self._dense["model.embed_tokens.weight"][tokens]
        rotation = rotary_angles(tokens.shape[1], self.config.head_dim, self.config.rope_theta)
        for layer in range(self.config.layers):
            prefix = f"model.layers.{layer}."
            x = x + self._attention(prefix + "self_attn.", self._norm(x, prefix + "input_layernorm.weight"), rotation)
            x = x + self._mixture(layer, self._norm(x, prefix + "post_attention_layernorm.weight"))
        return self._norm(x, "model.norm.weight") @ self._head.T

    def log_probabilities(self, windows: np.ndarray) -> np.ndarray:
        """windows [W, T] -> natural logarithms, fp32 [W, T - 1, 256]: position t predicts byte t + 1."""
        parts = []
        for begin in range(0, len(windows), BATCH):
            logits = self.logits(windows[begin:begin + BATCH])[:, :-1].astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            parts.append((logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32))
        return np.concatenate(parts)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        scale = 1.0 / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(self.config.epsilon))
        return x * scale * self._dense[name]

    def _attention(self, prefix: str, x: np.ndarray, rotation: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        c = self.config
        batch, length, _ = x.shape

        def heads(name: str, count: int) -> np.ndarray:
            return (x @ self._dense[prefix + name].T).reshape(batch, length, count, c.head_dim)

        q = self._norm(heads("q_proj.weight", c.heads), prefix + "q_norm.weight").transpose(0, 2, 1, 3)
        k = self._norm(heads("k_proj.weight", c.kv_heads), prefix + "k_norm.weight").transpose(0, 2, 1, 3)
        v = heads("v_proj.weight", c.kv_heads).transpose(0, 2, 1, 3)
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        # Query heads share key and value heads in groups; a group's queries stand one under the other in one product.
        q = q.reshape(batch, c.kv_heads, -1, c.head_dim) * np.float32(c.head_dim ** -0.5)
        scores = (q @ k.swapaxes(-1, -2)).reshape(batch, c.heads, length, length)
        scores[..., np.triu(np.ones((length, length), bool), 1)] = -np.inf
        mixed = softmax(scores).reshape(batch, c.kv_heads, -1, length) @ v
        mixed = mixed.reshape(batch, c.heads, length, c.head_dim).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        return mixed @ self._dense[prefix + "o_proj.weight"].T

    def _mixture(self, layer: int, x: np.ndarray) -> np.ndarray:
        """Each token goes through its best experts; an expert is asked for once per call, and only when it is hit."""
        c = self.config
        flat = x.reshape(-1, c.hidden)
        routing = softmax(flat @ self._dense[f"model.layers.{layer}.mlp.gate.weight"].T)
        chosen = np.argpartition(-routing, c.experts_per_token - 1, axis=-1)[:, :c.experts_per_token]
        weights = np.take_along_axis(routing, chosen, axis=-1)
        if c.normalize_routing:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        out = np.zeros_like(flat)
        for expert in range(c.experts):
            token, slot = np.nonzero(chosen == expert)
            if token.size == 0:
                continue
            gate, up = np.split(flat[token] @ self._experts.gate_up(layer, expert).T, 2, axis=-1)
            with np.errstate(over="ignore"):  # exp(-gate) may be Inf: then silu is -0, as it should
                hidden = gate / (1.0 + np.exp(-gate)) * up
            # A token meets an expert once, so plain indexing adds right.
            out[token] += (hidden @ self._experts.down(layer, expert).T) * weights[token, slot, None]
        return out.reshape(x.shape)


def softmax(x: np.ndarray) -> np.ndarray:
    """Overwrites x and returns it."""
    np.subtract(x, x.max(axis=-1, keepdims=True), out=x)
    np.exp(x, out=x)
    return np.divide(x, x.sum(axis=-1, keepdims=True), out=x)


def rotary_angles(length: int, head_dim: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin, fp32 [T, D / 2]."""
    frequency = (1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)).astype(np.float32)
    angle = np.arange(length, dtype=np.float32)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Channel i turns together with channel i + D / 2."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def bits_per_byte(log_probabilities: np.ndarray, windows: np.ndarray) -> float:
    """Mean of -log2 p over every predicted byte."""
    picked = np.take_along_axis(log_probabilities, windows[:, 1:, None].astype(np.int64), axis=-1)
    return float(-picked.astype(np.float64).mean() / np.log(2))


def divergence(reference: np.ndarray, other: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence KL(reference || other) per predicted byte, in bits."""
    reference = reference.astype(np.float64)
    per_byte = np.sum(np.exp(reference) * (reference - other), axis=-1)
    return float(per_byte.mean() / np.log(2))


def agreement(reference: np.ndarray, other: np.ndarray) -> float:
    """Share of predictions whose likeliest byte is the same."""
    return float(np.mean(reference.argmax(axis=-1) == other.argmax(axis=-1)))
