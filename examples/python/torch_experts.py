"""Quantized experts as a parameter of an ordinary torch module: a product, gradients, a merge, a checkpoint."""

import io

import torch

import moeq.torch
from moeq.torch import MoeqTensor

torch.manual_seed(1)
EXPERTS, ROWS, COLUMNS, RANK = 8, 64, 128, 4


class Experts(torch.nn.Module):
    """Tokens, sorted by expert, through the weights of their experts."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(EXPERTS, ROWS, COLUMNS))

    def forward(self, tokens, ends):
        return torch.nn.functional.grouped_mm(tokens, self.weight.mT, offs=ends)


module = Experts()
# [quote: quantize]
weight = MoeqTensor.quantize(module.weight, "nf4")
module.weight = torch.nn.Parameter(weight, requires_grad=False)
print(module.weight)
# [end]

moeq.torch.densify("error")  # from here on nothing may make the whole weight dense
tokens = torch.randn(12, COLUMNS, requires_grad=True)
ends = torch.tensor([0, 5, 5, 5, 12, 12, 12, 12], dtype=torch.int32)  # experts 1 and 4 are hit, and decoded
result = module(tokens, ends)
result.sum().backward()
dense = weight.dequantize(experts=[1, 4])
print("as dense:", torch.allclose(result[:5], tokens[:5] @ dense[0].T, atol=1e-4))
print("gradient of a token:", torch.allclose(tokens.grad[0], dense[0].sum(0), atol=1e-4))

# [quote: adapter]
lhs = torch.zeros(EXPERTS, ROWS, RANK, requires_grad=True)
rhs = torch.randn(EXPERTS, RANK, COLUMNS, requires_grad=True)
adapted = torch.baddbmm(module.weight, lhs, rhs, alpha=2.0)  # a description: nothing is computed here
torch.nn.functional.linear(tokens, adapted[4]).sum().backward()  # expert 4 is decoded, and forgotten
# [end]
print("the adapter has gradients of expert", lhs.grad.abs().sum((1, 2)).nonzero().flatten().tolist())

# [quote: merge]
with torch.no_grad():
    module.weight += 2.0 * (lhs + 0.01) @ rhs  # in fp32, quantized again expert by expert
# [end]
print("still", module.weight.spec)

# [quote: save]
file = io.BytesIO()
torch.save(module.state_dict(), file)
file.seek(0)
state = torch.load(file, weights_only=True)  # `import moeq.torch` has to come first
twin = Experts().requires_grad_(False)  # codes have no gradient, and torch keeps the flag of what it replaces
twin.load_state_dict(state, assign=True)
# [end]
print("reloaded:", torch.equal(twin.weight.components()["codes"], module.weight.components()["codes"]))
print(f"{file.getbuffer().nbytes / (4 * EXPERTS * ROWS * COLUMNS):.2f} of the dense bytes on disk")

# [quote: policy]
with moeq.torch.densify("error"):
    try:
        torch.sin(module.weight)
    except moeq.UnsupportedError as error:
        print(error)
# [end]
