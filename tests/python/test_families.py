"""Every type with experts of transformers: converted, loaded by from_pretrained, and compared with what is expected.

What is expected stands in families/expected.json, and docs/store.md has a table of it. When moeq or transformers
changes, `python tests/python/families/judge.py --all --jobs 2 --update` and `table.py --update` say what is so now.
What loads wrong without a word before is never expected.
"""

import os

import pytest

pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
for _package in ("accelerate", "bitsandbytes", "compressed_tensors", "safetensors", "scipy", "typer"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

from families import catalog, judge, models, table  # noqa: E402

if tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 24):
    pytest.skip(f"transformers {transformers.__version__} is too old, 5.24 is wanted", allow_module_level=True)

LONG = os.environ.get("MOEQ_TEST_LONG", "0") not in ("", "0")
EXPECTED = table.read()
AT_ONCE = 20  # types that share two processes, which take seconds to import what they need

# One type for each way that files have of holding experts.
KINDS = {
    "qwen3_moe": "a linear per expert: gate_proj, up_proj, down_proj",
    "mixtral": "a linear per expert: w1, w3, w2",
    "hy_v3": "the same, of modules that transformers renames",
    "ernie4_5_moe": "the same, beside tied embeddings",
    "gemma4_text": "halves of one tensor for all experts",
    "aria_text": "halves, [in, out]",
    "qwen3_vl_moe_text": "halves, [in, out] in files and [out, in] in memory",
    "gpt_oss": "[in, out], in turns, with biases",
    "inkling_text": "[out, in], in turns",
    "granitemoe": "input_linear, output_linear",
    "jetmoe": "the same, with experts in attention",
    "nemotron_h": "without a gate",
    "step3p7": "gate, up and down in a tensor each",
    "dbrx": "all experts' rows in one matrix",
    "switch_transformers": "expert_M, encoder and decoder",
    "ernie4_5_vl_moe": "experts of two widths under one name",
    "vitpose_backbone": "one linear per expert",
    "doge": "rows of embeddings",
}


def shares():
    types = sorted(EXPECTED) if LONG else sorted(KINDS)
    return [types[begin : begin + AT_ONCE] for begin in range(0, len(types), AT_ONCE)]


def test_every_type_of_transformers_is_judged():
    """A type that nobody has thought of shows here, by its name."""
    assert sorted(catalog.families()) == sorted(EXPECTED)


def test_every_kind_of_files_is_in_the_short_suite():
    assert KINDS.keys() <= EXPECTED.keys()


def test_nothing_is_expected_to_be_wrong():
    """Either it loads right, or moeq says before it writes anything that it will not. Its own dialect holds all."""
    wrong = []
    for name, forms in EXPECTED.items():
        for form, ways in forms.items():
            for way, outcome in ways.items():
                allowed = table.GOOD
                if name in models.EMBEDDED:
                    allowed = ("refused",)
                elif way.startswith("native"):
                    allowed = ("right",)
                if outcome.partition(":")[0] not in allowed:
                    wrong.append(f"{name} {form} {way}: {outcome}")
    assert not wrong, "\n".join(wrong)


def test_the_page_has_the_table_of_what_is_expected():
    page = table.PAGE.read_text("utf-8")
    assert page.split(table.BEGIN)[1].split(table.END)[0] == table.table(EXPECTED)


@pytest.mark.parametrize("types", shares(), ids=lambda types: f"{types[0]}-{types[-1]}")
def test_types_are_as_expected(types):
    found = judge.run(types, f"--library={os.environ['MOEQ_LIBRARY']}", jobs=2)
    unlike = []
    for name in types:
        for form, ways in EXPECTED[name].items():
            for way, outcome in ways.items():
                got = found[name][form][way]
                if table.reason(got) != outcome:
                    unlike.append(f"{name} {form} {way}: {got}\n    expected: {outcome}")
    assert not unlike, "\n".join(unlike)
