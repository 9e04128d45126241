#!/usr/bin/env python3
"""What is expected of every type, kept in expected.json, and the table of docs/store.md that is made of it.

python tests/python/families/table.py --check     whether the page has the table that expected.json gives
python tests/python/families/table.py --update    writes it; expected.json is judge.py --update's
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[2] / "docs" / "store.md"
EXPECTED = HERE / "expected.json"
BEGIN, END = "<!-- families: begin -->\n", "<!-- families: end -->\n"

FORMS = ("hub", "memory")
COLUMNS = {"native": ("native int8", "native nf4"), "compressed-tensors": ("compressed-tensors fp8_e4m3",),
           "hf-fp8": ("hf-fp8 fp8_e4m3:block",)}  # fmt: skip
GOOD = ("right", "refused", "gpu", "cpu", "told", "transformers")
WORDS = {"right": "yes", "gpu": "GPU only", "cpu": "CPU only"}


def reason(outcome):
    """An outcome without what only the tiny model makes of it: names, numbers, and what it would have computed."""
    word, _, why = outcome.partition(": ")
    if word == "transformers":  # how it says so is its own affair
        return word + (": no quantized one" if why.startswith("it loads nothing of") else ": not even dense")
    if word in WORDS:  # no table says more of it
        return word
    why = re.sub(r" \(found: .*", "", why)
    why = re.sub(r"\b\d+ weights?(,| such as) \S+: ", "", why)
    why = re.sub(r"\b\d+ weights?(,| such as) \S+ \S*×\S*", "weights that", why)
    why = re.sub(r'"[^"]*\.[^"]*"', "NAME", why)
    why = re.sub(r"^(hub|memory): ", "", why)
    return f"{word}: {why}" if why else word


def read():
    return json.loads(EXPECTED.read_text("utf-8")) if EXPECTED.exists() else {}


def write(found):
    """One line for a type and form: {type: {form: {way: outcome}}}."""
    lines = []
    for model_type in sorted(found):
        forms = ",\n".join(f"    {json.dumps(form)}: {json.dumps(ways)}" for form, ways in found[model_type].items())
        lines.append(f"  {json.dumps(model_type)}: {{\n{forms}\n  }}")
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def cell(forms, ways, reasons):
    """What one dialect makes of a type, for both forms of its files; why not is a number."""
    texts = []
    for form in FORMS:
        outcomes = sorted({forms[form][way] for way in ways}, key=lambda outcome: outcome == "right")
        word = outcomes[0].partition(":")[0]
        if word in WORDS:
            texts.append(WORDS[word])
        else:
            number = reasons.setdefault(outcomes[0], len(reasons) + 1)
            texts.append(f"{'no' if word in GOOD else '**wrong**'} ({number})")
    return texts[0] if texts[0] == texts[1] else f"{texts[0]}; in memory's form {texts[1]}"


def table(expected):
    reasons, rows = {}, {}
    for model_type, forms in sorted(expected.items()):
        cells = tuple(cell(forms, ways, reasons) for ways in COLUMNS.values())
        rows.setdefault(cells, []).append(model_type)
    lines = ["| `model_type` | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    lines += [f"| {', '.join(types)} | {' | '.join(cells)} |" for cells, types in rows.items()]
    notes = [f"{number}. {sentence(text)}" for text, number in reasons.items()]
    return "\n".join(lines + ([""] + notes if notes else [])) + "\n"


def sentence(outcome):
    word, _, why = outcome.partition(": ")
    if word == "transformers":
        what = "whatever has such a `quantization_config`" if "quantized" in why else "even dense files"
        return f"transformers stops at {what} of this type; the conversion is right"
    return {"refused": "refused before anything is written: ", "told": "said before it is written: "}.get(
        word, word + ": "
    ) + why


def main():
    text = PAGE.read_text("utf-8")
    if BEGIN not in text:
        sys.exit(f"{PAGE.name} has no place for the table")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = before + BEGIN + table(read()) + END + after
    if "--update" in sys.argv:
        PAGE.write_text(wanted, "utf-8")
    elif wanted != text:
        sys.exit("the table of families in docs/store.md is not that of expected.json: table.py --update")
    return 0


if __name__ == "__main__":
    sys.exit(main())
