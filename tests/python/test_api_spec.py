"""Spec: a value with words, a text and sizes."""

import pickle

import pytest

import moeq

TEXTS = ["int8", "nf4", "nf4:64,nested", "fp4:128", "fp8_e4m3", "fp8_e5m2", "fp8_e4m3:block128x128"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(text):
    spec = moeq.Spec(text)
    assert moeq.Spec(str(spec)) == spec
    assert text in repr(moeq.Spec(text)) or str(spec) in repr(spec)


def test_text_and_keywords_are_the_same_spec():
    assert moeq.Spec("nf4:64,nested") == moeq.Spec(format="nf4", block=64, nested=True, granularity="block") or (
        moeq.Spec("nf4:64,nested").resolve((2, 64)) == moeq.Spec(format="nf4", block=64, nested=True).resolve((2, 64))
    )
    tiled = moeq.Spec(format="fp8_e4m3", granularity="block", block=(128, 128))
    assert tiled.resolve((256, 256)) == moeq.Spec("fp8_e4m3:block128x128").resolve((256, 256))
    assert moeq.Spec("fp8_e4m3", granularity="block", block=128) == tiled


def test_keywords_change_a_text():
    spec = moeq.Spec("nf4", layout="gate_up", nonfinite="saturate", profile="bnb_cpu", logical_dtype="bf16")
    assert (spec.format, spec.layout, spec.nonfinite, spec.profile) == ("nf4", "gate_up", "saturate", "bnb_cpu")
    assert spec.logical_dtype == "bf16"
    assert moeq.Spec(str(spec)) == spec


def test_a_spec_is_a_value():
    spec = moeq.Spec(format="int8")
    assert spec == moeq.Spec("int8") and hash(spec) == hash(moeq.Spec("int8")) and spec != moeq.Spec("nf4")
    assert {spec: 1}[moeq.Spec("int8")] == 1
    with pytest.raises(AttributeError):
        spec.format = "nf4"
    changed = spec.with_(scale_kind="factor")
    assert (spec.scale_kind, changed.scale_kind) == ("default", "factor")
    assert pickle.loads(pickle.dumps(changed)) == changed


def test_resolving_replaces_defaults():
    spec = moeq.Spec("nf4").resolve((2, 4, 128))
    assert (spec.granularity, spec.block, spec.scale_kind) == ("block", (1, 64), "absmax")
    assert moeq.Spec("fp8_e4m3").resolve((2, 4, 128)).scale_kind == "factor"


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_the_sum_of_the_components(text):
    spec, shape = moeq.Spec(text), (3, 256, 256)
    total = 0
    for name in ("codes", "scale", "nested_scale", "nested_map", "nested_offset", "code_map", "global_scale"):
        try:
            info = spec.component(name, shape)
        except moeq.NotFoundError:
            continue
        assert info.name == name
        if name != "code_map":  # a constant of the format, stored nowhere
            total += info.nbytes
    assert spec.nbytes(shape) == total > 0
    assert spec.staging(shape) >= 0


def test_component_sizes():
    spec, shape = moeq.Spec("nf4"), (2, 4, 128)
    codes = spec.component("codes", shape)
    assert (codes.dtype, codes.nbytes) == ("uint8", 2 * 4 * 128 // 2)
    assert spec.component("scale", shape).nbytes == 4 * (2 * 4 * 128 // 64)
    with pytest.raises(KeyError):
        spec.component("nested_scale", shape)


def test_wrong_specs_say_what_is_wanted():
    with pytest.raises(moeq.ArgumentError, match="format: got 'nf5'; wanted one of int8, nf4"):
        moeq.Spec(format="nf5")
    with pytest.raises(moeq.ArgumentError, match="format: got nothing"):
        moeq.Spec()
    with pytest.raises(TypeError, match="blocksize"):
        moeq.Spec("nf4", blocksize=64)
    with pytest.raises(ValueError) as caught:
        moeq.Spec("nf4:63")
    assert "63" in str(caught.value)
    with pytest.raises(moeq.MoeqError):
        moeq.Spec("nf4", block=48).resolve((2, 64))
    with pytest.raises(moeq.ArgumentError):
        moeq.Spec(format=77).resolve((2, 64))
    with pytest.raises(moeq.ArgumentError):
        moeq.Spec(3.5)
    with pytest.raises(moeq.ArgumentError, match="NUL"):
        moeq.Spec("nf4\0:64")


def test_a_spec_without_a_text_still_has_a_repr():
    assert "77" in repr(moeq.Spec(format=77))
