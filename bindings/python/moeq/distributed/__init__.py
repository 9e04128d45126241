"""moeq.distributed: models with quantized experts in several processes.

    model = load() if rank == 0 else on_meta()
    moeq.distributed.broadcast(model)  # codes and scales of rank 0, byte for byte

DistributedDataParallel and fully_shard take a MoeqTensor as it is. What is here loads a model on one rank for all
(`broadcast`, `load_state_dict`), reads a rank's own share of a file (`load_shares`), makes accelerate's preparation
work with `cpu_ram_efficient_loading` (`prepare`), and ends all ranks when one fails (`together`). docs/distributed.md
says what was tried.
"""

from .accelerate import prepare
from .copies import broadcast
from .files import load_shares
from .formats import take_formats
from .group import RankError
from .shards import load_state_dict
from .structure import check
from .together import together

__all__ = ["RankError", "broadcast", "check", "load_shares", "load_state_dict", "prepare", "take_formats", "together"]
