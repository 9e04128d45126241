"""Finds and opens libmoeq. Importing this module is what makes `import moeq` fail where there is none.

The command `moeq` is the exception: it is to say in one line what is missing, so there the first use fails.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import sys
from typing import Any, NoReturn

from ._cdef import ffi

if sys.platform == "darwin":
    FILE_NAMES = ("libmoeq.1.dylib", "libmoeq.dylib")
elif sys.platform == "win32":
    FILE_NAMES = ("moeq.dll",)
else:
    FILE_NAMES = ("libmoeq.so.1", "libmoeq.so")

# FROZEN structs have no size field of their own, so a difference must be found here.
FROZEN_STRUCTS = ("moeq_error", "moeq_component", "moeq_block")


class LibraryNotFoundError(ImportError):
    """No usable libmoeq: the message lists every place that was looked at, and why each one was refused."""

    def __init__(self, refused: list[str], hint: str) -> None:
        lines = "".join(f"  {place}\n" for place in refused)
        super().__init__(f"moeq found no usable libmoeq. Looked at:\n{lines}{hint}")
        self.refused = refused
        self.hint = hint

    def __reduce__(self):
        return type(self), (self.refused, self.hint)


def candidates() -> list[str]:
    """Where to look, in order. With MOEQ_LIBRARY set, there and nowhere else."""
    exact = os.environ.get("MOEQ_LIBRARY")
    if exact:
        return [exact]
    beside = pathlib.Path(__file__).resolve().parent / "_lib"
    return [str(beside / name) for name in FILE_NAMES] + [FILE_NAMES[0]]


def refusal(lib) -> str | None:
    """Why an opened library cannot be used; None when it can."""
    wanted = ffi.integer_const("MOEQ_ABI_VERSION")
    try:
        found = lib.moeq_abi_version()
    except (AttributeError, ffi.error):
        return "it has no symbol moeq_abi_version, so it is not libmoeq"
    if found != wanted:
        return f"its ABI version is {found}, this package needs {wanted}"
    for name in FROZEN_STRUCTS:
        size = lib.moeq_struct_size(name.encode())
        if size not in (0, ffi.sizeof(name)):
            return f"its {name} has {size} bytes, this package's has {ffi.sizeof(name)}"
    return None


def load():
    """Opens the library. Returns cffi's library object and the path or name that worked."""
    tried = []
    for path in candidates():
        try:
            lib = ffi.dlopen(path, ffi.RTLD_NOW | ffi.RTLD_LOCAL)
        except OSError as error:
            tried.append(f"{path}: {str(error).split(': ', 2)[-1]}")  # cffi says the path twice before the reason
            continue
        reason = refusal(lib)
        if reason is None:
            return lib, path
        tried.append(f"{path}: {reason}")
    hint = (
        "MOEQ_LIBRARY is set, so nothing else was looked at; correct it or unset it"
        if os.environ.get("MOEQ_LIBRARY")
        else "Set MOEQ_LIBRARY to the path of libmoeq, or install a wheel that contains it"
    )
    raise LibraryNotFoundError(tried, hint)


class Absent:
    """Stands for a library that is not there: whatever is wanted of it says so."""

    def __init__(self, reason: LibraryNotFoundError) -> None:
        self.reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise self.reason


def is_command() -> bool:
    """Whether this process is `moeq` or `python -m moeq`."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name == "-m":  # which `python -m` leaves there until the module is found
        return ("-m", "moeq") in zip(sys.orig_argv, sys.orig_argv[1:])
    return name in ("moeq", "moeq.exe")


lib: Any
path: str
try:
    lib, path = load()
except LibraryNotFoundError as error:
    if not is_command():
        raise
    lib, path = Absent(error), ""

# Never closed: a tensor of ours that a framework holds may be freed when this module is long gone.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(lib))
