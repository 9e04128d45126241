"""What the tests of moeq.torch share: weights, a count of decoded experts, and the specs that differ in kind."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: moeq.torch has nothing to stand on")

import moeq.torch  # noqa: E402
from moeq.torch.store import Store  # noqa: E402

SPECS = ["int8", "int8:axis=-2", "nf4", "nf4:64,nested", "nf4:blocking=row", "fp4:128", "fp8_e4m3", "fp8_e5m2:expert"]
SHAPE = (5, 24, 64)  # 24 blocks of 64 in an expert: nested experts share no scale
WHOLE_GROUPS = (3, 256, 64)  # 256 blocks in an expert


def random_weight(shape=SHAPE, dtype=torch.float32, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def quantized(spec="nf4", shape=SHAPE, dtype=torch.float32, seed=3):
    return moeq.torch.MoeqTensor.quantize(random_weight(shape, dtype, seed), spec)


def parameter(weight):
    return torch.nn.Parameter(weight, requires_grad=False)


def same_bytes(a, b):
    """Whether two weights have the same codes and scales."""
    ours, others = a.components(), b.components()
    return ours.keys() == others.keys() and all(
        torch.equal(ours[name].view(torch.uint8), others[name].view(torch.uint8)) for name in ours
    )


def relative(a, b):
    return float((a - b).detach().norm() / b.detach().norm())


@pytest.fixture(autouse=True)
def one_thread():
    """Small products are quicker without a pool, by far where other work has the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def decoded(monkeypatch):
    """The experts that were decoded, in order."""
    seen = []
    whole = Store.decode

    def decode(self, expert, out, rows=None):
        seen.append(expert)
        return whole(self, expert, out, rows)

    monkeypatch.setattr(Store, "decode", decode)
    return seen


@pytest.fixture
def strict():
    """Operators that would make a dense stack raise."""
    with moeq.torch.densify("error"):
        yield
