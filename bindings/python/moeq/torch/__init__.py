"""moeq.torch: quantized expert weights as parameters of ordinary torch modules.

    from moeq.torch import MoeqTensor

    weight = MoeqTensor.quantize(module.down_proj, "nf4")  # [experts, rows, columns]
    module.down_proj = torch.nn.Parameter(weight, requires_grad=False)

What operators do with such a parameter is in docs/torch.md.
"""

from . import collectives as _collectives  # noqa: F401
from . import operators as _operators  # noqa: F401
from . import pickling as _pickling  # noqa: F401
from . import sharding as _sharding  # noqa: F401
from .lazy import LazyWeight
from .policy import DensifyWarning, densify
from .tensor import MoeqTensor

__all__ = ["DensifyWarning", "LazyWeight", "MoeqTensor", "densify"]
