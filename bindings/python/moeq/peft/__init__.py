"""Adapters of PEFT on quantized experts. Training needs nothing from here: a MoeqTensor is a parameter like others.

`merge_error` tells what a merge would lose, `merged` merges for a while, `save_per_expert` writes an adapter under the
names that serving engines read.
"""

from .export import save_per_expert
from .merging import MergeError, merge_error, merged

__all__ = ["MergeError", "merge_error", "merged", "save_per_expert"]
