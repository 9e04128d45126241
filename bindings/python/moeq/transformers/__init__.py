"""moeq.transformers: models of transformers whose experts are quantized while they load.

    from moeq.transformers import MoeqConfig

    model = AutoModelForCausalLM.from_pretrained("Qwen3-30B-A3B", quantization_config=MoeqConfig("nf4"))

Importing it registers "moeq" with transformers, which is also what checkpoints that moeq made need. Nothing of
transformers is patched. docs/transformers.md says what a load does.
"""

from .config import MoeqConfig
from .quantizer import MoeqQuantizer
from .report import Report

__all__ = ["MoeqConfig", "MoeqQuantizer", "Report"]
