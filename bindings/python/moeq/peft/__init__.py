"""Adapters of PEFT on quantized experts. Training needs nothing from here: a MoeqTensor is a parameter like others.

`merge_error` tells what a merge would lose, `merged` merges for a while, `save_per_expert` writes an adapter under the
names that serving engines read, `parameter_names` finds what target_parameters needs for parametrized experts.
"""

from .export import save_per_expert
from .merging import MergeError, merge_error, merged
from .names import parameter_names

__all__ = ["MergeError", "merge_error", "merged", "parameter_names", "save_per_expert"]
