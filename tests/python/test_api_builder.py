"""Builder: pieces in any order, exact coverage, abandoning."""

import threading

import numpy as np
import pytest

import moeq

FORMATS = ["int8", "nf4", "nf4:64,nested", "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e5m2"]


def same(q, weight, spec):
    expected = moeq.quantize(weight, spec)
    for name, tensor in expected.components.items():
        assert q.components[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def place_of(block):
    return (
        slice(block.expert_begin, block.expert_end),
        slice(block.row_begin, block.row_end),
        slice(block.column_begin, block.column_end),
    )


@pytest.mark.parametrize("spec", FORMATS)
def test_rows_in_any_order(spec, weight, rng):
    with moeq.Builder(spec, weight.shape) as builder:
        for place in rng.permutation(3 * 6):
            expert, row = divmod(int(place), 6)
            builder.write(weight[expert, row : row + 1], expert=expert, row=row)
        assert builder.missing() == [] and builder.state.missing_elements == 0
        q = builder.finish()
    same(q, weight, spec)


@pytest.mark.parametrize("spec", FORMATS)
def test_ragged_pieces(spec, weight):
    with moeq.Builder(spec, weight.shape) as builder:
        builder.write(weight[:, :, 100:], column=100)
        builder.write(weight[:, 4:, :100], row=4)
        builder.write(weight[0:2, :4, :37])
        builder.write(weight[2, :4, :37], expert=2)
        builder.write(weight[:, :4, 37:100].copy(), column=37)
        same(builder.finish(), weight, spec)


def test_state_and_what_is_missing(weight):
    builder = moeq.Builder("int8", weight.shape)
    assert builder.state == (weight.size, 0, 0)
    assert builder.missing() == [(0, 3, 0, 6, 0, 128)]
    builder.write(weight[1], expert=1)
    builder.write(weight[0, :2, :64])
    state = builder.state
    assert state.missing_elements == weight.size - 6 * 128 - 2 * 64 and state.complete_experts == 1
    assert state.staged_bytes >= 2 * 64 * 4
    blocks = builder.missing()
    covered = np.zeros(weight.shape, bool)
    for block in blocks:
        part = covered[place_of(block)]
        assert part.size and not part.any()
        part[:] = True
    assert covered.sum() == state.missing_elements
    assert len(builder.missing(limit=1)) == 1 and builder.missing(limit=1) == blocks[:1]
    with pytest.raises(moeq.IncompleteError) as caught:
        builder.finish()
    assert (caught.value.expert, caught.value.row, caught.value.column) == (0, 0, 64)
    for block in blocks:
        builder.write(weight[place_of(block)], block.expert_begin, block.row_begin, block.column_begin)
    same(builder.finish(), weight, "int8")
    for use in (builder.finish, builder.missing, lambda: builder.state, lambda: builder.write(weight)):
        with pytest.raises(moeq.StateError, match="finished or closed"):
            use()


def test_overlap_outside_and_bad_values(weight):
    builder = moeq.Builder("int8", weight.shape)
    builder.write(weight[0, 1:3], row=1)
    with pytest.raises(moeq.DuplicateError) as caught:
        builder.write(weight[0, 2:4], row=2)
    assert (caught.value.expert, caught.value.row, caught.value.column) == (0, 2, 0)
    with pytest.raises(IndexError):
        builder.write(weight[0], row=1)
    with pytest.raises(IndexError):
        builder.write(weight[0], expert=3)
    with pytest.raises(IndexError):
        builder.write(weight[0], expert=-1)
    bad = weight[1].copy()
    bad[3, 7] = np.nan
    with pytest.raises(moeq.BadValueError) as caught:
        builder.write(bad, expert=1)
    assert (caught.value.expert, caught.value.row, caught.value.column) == (1, 3, 7)
    builder.write(weight[1], expert=1)  # may be sent again
    with pytest.raises(moeq.DtypeError):
        builder.write(weight[2].astype(np.int8), expert=2)


def test_abandoning_frees_everything(weight):
    context = moeq.Context(threads=1)
    before = context.memory().host_live
    with pytest.raises(ZeroDivisionError):
        with moeq.Builder("nf4", weight.shape, context=context) as builder:
            builder.write(weight[0, :, :5])
            raise ZeroDivisionError
    assert context.memory().host_live == before
    builder.close()


def test_a_given_amax_stages_nothing(weight):
    spec = moeq.Spec("fp8_e4m3", granularity="expert")
    amax = np.abs(weight).max(axis=(1, 2))
    builder = moeq.Builder(spec, weight.shape, amax=amax)
    builder.write(weight[:, :, :50])
    assert builder.state.staged_bytes == 0
    builder.write(weight[:, :, 50:], column=50)
    same(builder.finish(), weight, spec)
    with pytest.raises(moeq.LimitError):
        limited = moeq.Builder(spec, weight.shape, staging_limit=100)
        limited.write(weight[:, :, :50])


def test_storage_of_the_callers(weight):
    codes, scale = np.zeros(weight.shape, np.int8), np.zeros((3, 6), np.float32)
    builder = moeq.Builder("int8", weight.shape, storage={"codes": codes, "scale": scale})
    builder.write(weight)
    builder.finish()
    np.testing.assert_array_equal(codes, moeq.quantize(weight, "int8").components["codes"].numpy())


def test_threads_write_at_the_same_time(weight):
    big = np.tile(weight, (8, 1, 1))
    builder, errors = moeq.Builder("nf4", big.shape), []

    def write(first):
        try:
            for expert in range(first, len(big), 4):
                for row in range(6):
                    builder.write(big[expert, row : row + 1], expert=expert, row=row)
                    assert builder.state.missing_elements >= 0
        except BaseException as error:  # an assertion in a thread must not get lost
            errors.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    same(builder.finish(), big, "nf4")


def test_a_builder_that_could_not_be_made():
    with pytest.raises(moeq.MoeqError):
        moeq.Builder("nf4", (4,))
    with pytest.raises(moeq.ArgumentError):
        moeq.Builder("nf9", (2, 64))
