"""moeq.torch.parametrize: parameters that are decoded whenever they are read, under the names of bitsandbytes and Axolotl.

    from moeq.torch.parametrize import replace_parameter_8bit

    replace_parameter_8bit(experts, "down_proj")  # experts.down_proj is a dense tensor of the old type again and again

For code that was written for those names; new code is better off with `moeq.torch.MoeqTensor`. What differs, and what
PEFT does with such parameters, is in docs/torch.md.
"""

from .forms import Bnb4bitParametrization, Bnb8bitParametrization
from .quant_state import QuantState
from .replace import (
    dense_parameter,
    moeq_parameter,
    replace_parameter_4bit,
    replace_parameter_4bit_prequantized,
    replace_parameter_8bit,
)

__all__ = [
    "Bnb4bitParametrization",
    "Bnb8bitParametrization",
    "QuantState",
    "dense_parameter",
    "moeq_parameter",
    "replace_parameter_4bit",
    "replace_parameter_4bit_prequantized",
    "replace_parameter_8bit",
]
