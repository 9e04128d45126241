"""Exceptions: class, place, text."""

import errno
import pickle

import numpy as np
import pytest

import moeq
from moeq import _errors
from moeq._cdef import ffi
from moeq._library import lib

BUILT_IN = {
    moeq.ArgumentError: ValueError,
    moeq.ShapeError: ValueError,
    moeq.DtypeError: TypeError,
    moeq.RangeError: IndexError,
    moeq.BadValueError: ValueError,
    moeq.StateError: RuntimeError,
    moeq.NotFoundError: KeyError,
    moeq.UnsupportedError: NotImplementedError,
    moeq.OutOfMemoryError: MemoryError,
    moeq.DeviceMemoryError: MemoryError,
    moeq.FileError: OSError,
    moeq.InternalError: RuntimeError,
}


def test_every_status_has_a_class_with_its_number_and_name():
    header_names = {name for name in dir(lib) if name.startswith("MOEQ_ERROR_")}
    assert header_names == {"MOEQ_ERROR_" + name for name in _errors.CLASS_OF_NAME}
    for name, kind in _errors.CLASS_OF_NAME.items():
        error = kind("text")
        assert error.status == ffi.integer_const("MOEQ_ERROR_" + name)
        assert error.status_name == "MOEQ_ERROR_" + name
        assert isinstance(error, moeq.MoeqError)


def test_classes_fit_python():
    for kind, built_in in BUILT_IN.items():
        assert issubclass(kind, built_in)


def test_an_error_survives_pickling_and_shows_its_message():
    for kind in (moeq.NotFoundError, moeq.FileError, moeq.BadValueError):
        error = kind("what happened", expert=3, row=4, column=5, os_error=errno.ENOENT, class_id="F07", argument=2)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and str(again) == "what happened"
        assert (again.expert, again.row, again.column, again.class_id, again.argument) == (3, 4, 5, "F07", 2)
    assert error.errno if hasattr(error, "errno") else True
    assert moeq.FileError("x", os_error=errno.ENOENT).errno == errno.ENOENT


def test_an_unknown_status_is_a_plain_error():
    err = ffi.new("moeq_error *")
    err.status, err.expert, err.row, err.column = -99, -1, -1, -1
    with pytest.raises(moeq.MoeqError) as caught:
        _errors.check(-99, err)
    assert type(caught.value) is moeq.MoeqError and caught.value.status == -99 and caught.value.expert is None


def test_a_bad_value_names_its_place(weight):
    weight[1, 2, 3] = np.nan
    with pytest.raises(moeq.BadValueError) as caught:
        moeq.quantize(weight, "int8")
    error = caught.value
    assert (error.expert, error.row, error.column) == (1, 2, 3)
    assert error.status_name == "MOEQ_ERROR_VALUE" and error.argument == 2
    assert "moeq_qtensor_quantize" in str(error)


def test_wrong_calls_say_function_argument_got_and_wanted(weight):
    with pytest.raises(moeq.DtypeError) as caught:
        moeq.quantize(weight.astype(np.int32), "int8")
    assert "moeq_qtensor_quantize" in str(caught.value) and caught.value.argument == 2
    assert "int32" in str(caught.value) and "source" in str(caught.value)

    with pytest.raises(moeq.ShapeError) as caught:
        moeq.quantize(np.zeros(4, np.float32), "int8")
    assert "source" in str(caught.value)

    q = moeq.quantize(weight, "int8")
    with pytest.raises(moeq.RangeError) as caught:
        q.dequantize(experts=[0, 7])
    assert "7" in str(caught.value) and isinstance(caught.value, IndexError)
    with pytest.raises(moeq.ShapeError):
        q.dequantize(out=np.zeros((3, 6, 127), np.float32))
    with pytest.raises(TypeError, match="wanted a tensor"):
        moeq.quantize("not a tensor", "int8")
    with pytest.raises(TypeError, match="wanted one of fp32"):
        q.dequantize(dtype="fp31")
    with pytest.raises(moeq.ArgumentError, match="cpu_tier: got 'sse9'"):
        moeq.Context(cpu_tier="sse9")


def test_failures_leave_no_half_made_handle(weight):
    context = moeq.Context()
    before = context.memory().host_live
    weight[2, 5, 127] = np.inf
    for spec in ("int8", "nf4", "nf4:64,nested", "fp8_e4m3", "fp8_e4m3:block128x128"):
        with pytest.raises(moeq.BadValueError):
            moeq.quantize(weight, spec, context=context)
    assert context.memory().host_live == before
