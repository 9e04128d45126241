"""One rank of test_torch_fsdp.py: FSDP2 over quantized experts and trainable adapters, against the whole model.

torch_fsdp_rank.py FOLDER RANK RANKS EXPERTS SPEC DTYPE
"""

import sys

import torch
import torch.distributed as distributed
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch_weights import parameter, random_weight, relative, same_bytes

from moeq.torch import MoeqTensor, densify

ROWS, COLUMNS, TOKENS = 24, 64, 20


class Layer(torch.nn.Module):
    def __init__(self, experts, spec):
        super().__init__()
        self.weight = parameter(MoeqTensor.quantize(random_weight((experts, ROWS, COLUMNS)), spec))
        generator = torch.Generator().manual_seed(8)
        self.lhs = torch.nn.Parameter(torch.randn(experts, ROWS, 2, generator=generator))
        self.rhs = torch.nn.Parameter(torch.randn(experts, 2, COLUMNS, generator=generator))
        torch.manual_seed(8)  # the bias, in both models
        self.out = torch.nn.Linear(ROWS, COLUMNS)
        torch.nn.init.constant_(self.out.weight, 2e-3)

    def forward(self, x):
        experts = self.weight.shape[0]
        ends = torch.tensor([min(TOKENS, 3 * (expert + 1)) for expert in range(experts)], dtype=torch.int32)
        weight = torch.baddbmm(self.weight, self.lhs, self.rhs)
        return self.out(torch._grouped_mm(x.to(weight.dtype), weight.mT, offs=ends))


class Model(torch.nn.Module):
    def __init__(self, experts, spec):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer(experts, spec) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def full(parameter):
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


def main():
    folder, rank, ranks, experts, spec, dtype = sys.argv[1:]
    rank, ranks, experts, dtype = int(rank), int(ranks), int(experts), getattr(torch, dtype)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    densify("error")
    whole, model = Model(experts, spec), Model(experts, spec)
    policy = MixedPrecisionPolicy(param_dtype=None if dtype == torch.float32 else dtype)
    for layer in model.layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    local = model.layers[0].weight.to_local()
    share = -(-experts // ranks)
    assert local.shape[0] == max(0, min(share, experts - rank * share)) and type(local) is MoeqTensor
    assert {len(part) for part in local.components().values()} == {local.shape[0]}
    assert same_bytes(local, whole.layers[0].weight[rank * share : rank * share + local.shape[0]])
    x = torch.randn(TOKENS, COLUMNS, generator=torch.Generator().manual_seed(9))
    bound = 1e-6 if dtype == torch.float32 else 0.05
    for turn in range(2):
        losses = []
        for each in (whole, model):
            each.zero_grad()
            loss = (each(x + turn).float() ** 2).sum()
            loss.backward()
            losses.append(loss.detach())
        assert relative(losses[1], losses[0]) < bound, losses
        for (name, ours), theirs in zip(model.named_parameters(), whole.parameters()):
            if theirs.requires_grad:
                error = relative(full(ours.grad), theirs.grad)
                assert error < bound, (turn, name, error)
    assert same_bytes(model.layers[1].weight.to_local(), local)
    gathered = model.layers[0].weight.full_tensor()
    assert type(gathered) is MoeqTensor and same_bytes(gathered, whole.layers[0].weight)
    distributed.destroy_process_group()
    print("rank", rank, "is right")


main()
