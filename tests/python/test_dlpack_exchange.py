"""DLPack's C exchange table, which moeq uses where a producer's type has one: the same tensors as through __dlpack__."""

import numpy as np
import pytest

import moeq
from moeq._dlpack import exchange_function

torch = pytest.importorskip("torch")
if exchange_function(torch.Tensor) is None:
    pytest.skip("this torch has no C exchange table", allow_module_level=True)


@pytest.fixture
def q(weight):
    return moeq.quantize(torch.from_numpy(weight.copy()), "nf4")


def dense_of(q):
    return torch.from_dlpack(q.dequantize(dtype="fp32"))


class Exporter(torch.Tensor):
    """A subclass that counts what it exports."""

    asked = 0

    def __dlpack__(self, **keywords):
        Exporter.asked += 1
        return self.as_subclass(torch.Tensor).__dlpack__(**keywords)


def test_parameters_and_plain_subclasses_use_the_table():
    class Plain(torch.Tensor):
        pass

    assert exchange_function(torch.nn.Parameter) is not None
    assert exchange_function(Plain) is not None
    assert exchange_function(np.ndarray) is None
    assert exchange_function(int) is None


def test_a_subclass_with_an_export_of_its_own_is_asked(weight, q):
    source = torch.from_numpy(weight.copy()).as_subclass(Exporter)
    Exporter.asked = 0
    assert torch.equal(dense_of(moeq.quantize(source, "nf4")), dense_of(q))
    assert Exporter.asked == 1


def test_every_destination_gets_the_same_values(weight, q):
    right = dense_of(q)
    for out in (
        torch.empty(weight.shape),
        torch.empty(weight.shape).transpose(0, 1).contiguous().transpose(0, 1),
        torch.empty(*weight.shape[:2], 2 * weight.shape[2])[:, :, ::2],
        torch.empty(weight.size + 3)[3:].view(weight.shape),  # a storage offset
    ):
        assert q.dequantize(out=out) is out
        assert torch.equal(out, right)
    row = torch.empty(1, weight.shape[2])
    q.dequantize(experts=1, rows=(2, 3), out=row)
    assert torch.equal(row, right[1, 2:3])


def test_what_is_yet_to_be_negated_is_not_read_as_it_lies(weight):
    lazy = torch.complex(torch.from_numpy(weight), torch.from_numpy(weight)).conj().imag
    assert lazy.is_neg()
    with pytest.raises(moeq.LayoutError, match="resolve_neg"):
        moeq.quantize(lazy, "int8")
    right = dense_of(moeq.quantize(-torch.from_numpy(weight), "int8"))
    assert torch.equal(dense_of(moeq.quantize(lazy.resolve_neg(), "int8")), right)


def test_a_destination_that_needs_gradients_is_refused(weight, q):
    out = torch.zeros(weight.shape, requires_grad=True)
    with pytest.raises(BufferError, match="gradient"):
        q.dequantize(out=out)
    assert not out.detach().any()


def test_a_tensor_without_storage_is_refused_in_words(q, weight):
    with pytest.raises(BufferError, match="strided"):
        q.dequantize(out=torch.empty(weight.shape).to_sparse())


def test_scratch_structs_are_whole_again_after_an_error(weight, q):
    right = dense_of(q)
    out = torch.empty(1, weight.shape[2])
    with pytest.raises(moeq.RangeError):
        q.dequantize(experts=weight.shape[0] + 5, rows=(0, 1), out=out)
    with pytest.raises(moeq.ShapeError):
        q.dequantize(experts=0, out=torch.empty(3))
    q.dequantize(experts=2, rows=(1, 2), out=out)
    assert torch.equal(out, right[2, 1:2])
    assert torch.equal(torch.from_dlpack(q.dequantize(dtype="fp32")), right)
