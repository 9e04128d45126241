"""Adapters of PEFT on quantized experts. Training needs nothing from here: a MoeqTensor is a parameter like others.

`merge_error` tells what a merge would lose, `merged` merges for a while; `load_adapter` loads files of any PEFT,
`save_per_expert` writes the names that serving engines read; `parameter_names` finds what target_parameters needs for
parametrized experts, `check` tells what is likely not meant.
"""

from .checking import check
from .export import save_per_expert
from .loading import load_adapter
from .merging import MergeError, merge_error, merged
from .names import parameter_names

__all__ = ["MergeError", "check", "load_adapter", "merge_error", "merged", "parameter_names", "save_per_expert"]
