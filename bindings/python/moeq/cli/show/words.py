"""What the library says, in words of the command line: options instead of fields and constants."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from ... import LibraryNotFoundError
from ...names import SPEC_WORDS, word_of

# Fields of a spec whose spelling in its text is another one.
KEYS = {"scale_kind": "scale", "scale_axis": "axis", "block_columns": "block size", "block_rows": "block rows"}
PREFIXES = {"GRANULARITY": "", "SCALE": "scale=", "BLOCKING": "blocking=", "LAYOUT": "layout=", "PROFILE": "profile=",
            "NONFINITE": "nonfinite="}  # fmt: skip


def _field(found: re.Match[str]) -> str:
    """ "got scale_kind 2 with format nf4" -> "got scale=factor with nf4"."""
    field, number, format = found.groups()
    if field == "nested":
        return f"got nested with {format}"
    value = word_of(field, int(number)) if field in SPEC_WORDS else number
    return f"got {value if field == 'granularity' else f'{KEYS.get(field, field)}={value}'} with {format}"


def _constant(found: re.Match[str]) -> str:
    return PREFIXES[found[1]] + found[2].lower()


REWRITES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^moeq(_\w+|\.[\w.]+)?: ", ""),  # the function
    (r"^options\.(patterns|spec): ", r"--\1: "),
    (r"^options\.rules: ", "--rule: "),
    (r"^options: got units ", "--units: got "),
    (r"^options: got a spec with layout .*?; want neither", "--spec: got a layout or an axis; want neither"),
    (r"^text: ", ""),
    (r"; do these units first$", ""),  # the hint says how
    (r"; the command that began it, given again, goes on$", ""),
    (r"\bset nonfinite(=saturate| to MOEQ_NONFINITE_SATURATE)", "use a spec such as nf4:nonfinite=saturate"),
    (r"\bgot (\w+) (-?\d+) with format (\w+)(?=;)", _field),
    (r"\bwant 0: only", "only"),
    (r"\bblocking ROW\b", "blocking=row"),
    (rf"\bMOEQ_({'|'.join(PREFIXES)})_([A-Z0-9_]*[A-Z0-9])", _constant),
)


def in_words(error: BaseException, options: Collection[str] = ()) -> str:
    """The message of an error of the library. options: names of the command's parameters."""
    if isinstance(error, LibraryNotFoundError):
        return "found no usable libmoeq: " + "; ".join(error.refused)
    message = str(error)
    for pattern, words in REWRITES:
        message = re.sub(pattern, words, message)
    lenient = "; --lenient takes what there is" if "lenient" in options else ""
    if "keep_foreign" in options:
        message = message.replace("MOEQ_CONVERT_KEEP_FOREIGN to copy", "--keep-foreign to copy")
    return message.replace("; a lenient reader takes what there is", lenient)


# What to do about it, by what the library's message has in it. The first that fits counts.
HINTS = (
    (r"options\.patterns: ", """for example [{"match": "layers.*.w.{expert}", "stack": "layers.*.w"}]"""),
    (r"\bgot \d+ of \d+ units; missing", "the same command without --units does them"),
    (r"\bgot a conversion that is not finished;", "the command that began it, given again, goes on"),
    (r"\bgot a file; want a directory$", "remove it or choose another one"),
    (r"\bset nonfinite\b", "moeq verify lists all places"),
    (
        r"config\.json( of the dialect \S+)? can name only one",
        "one format per checkpoint; --dialect native holds a mixture",
    ),  # fmt: skip
)
# The first spec that a dialect which refuses one wants.
WANTED_SPEC = re.compile(r" for the dialect .*?; want ([\w:=]+(?:,[\w=]+)*)")


def hint_in_words(error: BaseException, options: Collection[str] = ()) -> str:
    """The hint for an error of the library; "" where there is none of its own."""
    if isinstance(error, LibraryNotFoundError):
        return error.hint
    message = str(error)
    wanted = WANTED_SPEC.search(message)
    if wanted and wanted[1].partition(":")[0] in SPEC_WORDS["format"]:
        spec = wanted[1].replace(":row,", ":")
        anew = " --allow-lossy quantizes anew" if "allow_lossy" in options else " fits"
        return f"-f {spec}{anew}; --dialect native holds every format"
    return next((hint for pattern, hint in HINTS if re.search(pattern, message)), "")
