#!/usr/bin/env python3
"""Makes the module through which Python sees the C ABI, bindings/python/moeq/_cdef.py, from include/moeq.h.

    python tools/gen_cdef.py            write the module
    python tools/gen_cdef.py --check    fail, and say what to do, when the committed module is not what would be written

It needs cffi, but no C compiler: the text between the header's [moeq.begin] and [moeq.end] marks is a subset of C
that cffi parses as it stands, and the module holds declarations only (cffi's out-of-line ABI mode).
"""

import argparse
import contextlib
import difflib
import pathlib
import re
import sys
import tempfile

import cffi

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "include" / "moeq.h"
MODULE = ROOT / "bindings" / "python" / "moeq" / "_cdef.py"
COMMAND = "python tools/gen_cdef.py"

# What the header only names: the two managed tensors of the DLPack 1.x ABI. Sizes and offsets are fixed by that ABI
# and checked in tests/python/test_api_library.py.
DLPACK = """
typedef struct { uint32_t major; uint32_t minor; } moeq_py_version;
typedef struct { int32_t device_type; int32_t device_id; } moeq_py_device;
typedef struct { uint8_t code; uint8_t bits; uint16_t lanes; } moeq_py_dtype;

typedef struct {
    void *data;
    moeq_py_device device;
    int32_t ndim;
    moeq_py_dtype dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} moeq_py_tensor;

struct DLManagedTensor {
    moeq_py_tensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
};

struct DLManagedTensorVersioned {
    moeq_py_version version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    moeq_py_tensor dl_tensor;
};
"""


def declarations(header: str) -> str:
    """The text between the marks, without comments and export macros."""
    parts = re.split(r"\[moeq\.(?:begin|end)\]", header)
    if len(parts) != 3:
        sys.exit(f"{HEADER}: expected one [moeq.begin] and one [moeq.end], found {len(parts) - 1} marks")
    # The first mark stands inside a comment, whose rest goes; the comment before the second mark goes whole.
    text = parts[1].split("*/", 1)[1].rsplit("/*", 1)[0]
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r"\bMOEQ_API\b", "", text)


def generate() -> str:
    ffi = cffi.FFI()
    ffi.cdef(DLPACK)
    ffi.cdef(declarations(HEADER.read_text(encoding="utf-8")))
    ffi.set_source("moeq._cdef", None)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "_cdef.py"
        with contextlib.redirect_stdout(None):  # it names the temporary file
            ffi.emit_python_code(str(path))
        lines = path.read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    head = [f"# Made from include/moeq.h by `{COMMAND}`; do not edit.", "# ruff: noqa", "# fmt: off"]
    return "\n".join(head + body) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed module, write nothing")
    check = parser.parse_args().check

    wanted = generate()
    if not check:
        MODULE.parent.mkdir(parents=True, exist_ok=True)
        MODULE.write_text(wanted, encoding="utf-8")
        return 0
    found = MODULE.read_text(encoding="utf-8") if MODULE.exists() else ""
    if found == wanted:
        return 0
    name = MODULE.relative_to(ROOT)
    changed = sum(
        line[:1] in "+-" and line[:3] not in ("+++", "---")
        for line in difflib.unified_diff(found.splitlines(), wanted.splitlines(), lineterm="", n=0)
    )
    state = f"differs in {changed} lines from what include/moeq.h gives" if found else "is missing"
    print(f"{name} {state}; run `{COMMAND}` and commit the result (cffi here: {cffi.__version__})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
