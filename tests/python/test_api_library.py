"""Opening the library, and agreement between the generated declarations, the header and the library."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import moeq
from moeq._cdef import ffi
from moeq._library import lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = (ROOT / "include" / "moeq.h").read_text()


def run(code, **environment):
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"), **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)


def generator():
    spec = importlib.util.spec_from_file_location("gen_cdef", ROOT / "tools" / "gen_cdef.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_versions_agree():
    assert lib.moeq_abi_version() == ffi.integer_const("MOEQ_ABI_VERSION")
    assert moeq.__version__ == moeq.library_version() == (ROOT / "VERSION").read_text().strip()
    major, minor, patch = map(int, moeq.__version__.split("."))
    assert lib.moeq_version() == 10000 * major + 100 * minor + patch


def test_the_library_has_every_declared_function():
    names = re.findall(r"MOEQ_API [^;(]*?\*?(moeq_\w+)\(", HEADER)
    assert len(names) > 40
    assert set(names) == {name for name in dir(lib) if not name.startswith("MOEQ_")}
    for name in names:
        getattr(lib, name)


def test_struct_sizes_are_the_librarys():
    names = re.findall(r"typedef struct (moeq_\w+) \{", HEADER)
    assert "moeq_spec" in names and "moeq_error" in names
    for name in names:
        frozen = "struct_size" not in dict(ffi.typeof(name).fields)
        size = lib.moeq_struct_size(name.encode())
        assert size == ffi.sizeof(name) or (frozen and size == 0), name


def test_dlpack_layout():
    versioned = {"version": 0, "manager_ctx": 8, "deleter": 16, "flags": 24, "dl_tensor": 32}
    assert {field: ffi.offsetof("struct DLManagedTensorVersioned", field) for field in versioned} == versioned
    legacy = {"dl_tensor": 0, "manager_ctx": 48, "deleter": 56}
    assert {field: ffi.offsetof("struct DLManagedTensor", field) for field in legacy} == legacy
    tensor = {"data": 0, "device": 8, "ndim": 16, "dtype": 20, "shape": 24, "strides": 32, "byte_offset": 40}
    assert {field: ffi.offsetof("moeq_py_tensor", field) for field in tensor} == tensor
    assert (ffi.sizeof("struct DLManagedTensorVersioned"), ffi.sizeof("struct DLManagedTensor")) == (80, 64)


def test_generated_module_is_up_to_date(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gen_cdef.py", "--check"])
    assert generator().main() == 0


def test_generator_says_what_to_do_after_a_change(monkeypatch, tmp_path, capsys):
    module = generator()
    changed = tmp_path / "moeq.h"
    changed.write_text(HEADER.replace("#define MOEQ_FORMAT_NF4 2", "#define MOEQ_FORMAT_NF4 22"))
    monkeypatch.setattr(module, "HEADER", changed)
    monkeypatch.setattr(sys, "argv", ["gen_cdef.py", "--check"])
    assert module.main() == 1
    assert "run `python tools/gen_cdef.py`" in capsys.readouterr().err


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")
def test_a_compiler_agrees_with_the_declarations(tmp_path):
    """cffi's API mode makes the compiler check every field, constant and prototype against the header itself."""
    pytest.importorskip("setuptools")
    import cffi

    builder = cffi.FFI()
    builder.cdef(generator().declarations(HEADER))
    library = pathlib.Path(moeq.library_path).resolve()
    builder.set_source(
        "moeq_checked",
        '#include "moeq.h"\n',
        include_dirs=[str(ROOT / "include")],
        extra_compile_args=["-Werror"],
        extra_link_args=[str(library), f"-Wl,-rpath,{library.parent}"],
    )
    builder.compile(tmpdir=str(tmp_path))
    spec = importlib.util.spec_from_file_location("moeq_checked", next(tmp_path.glob("moeq_checked*.so")))
    checked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checked)
    for name in re.findall(r"typedef struct (moeq_\w+) \{", HEADER):
        assert checked.ffi.sizeof(name) == ffi.sizeof(name), name
        for field, _ in ffi.typeof(name).fields:
            assert checked.ffi.offsetof(name, field) == ffi.offsetof(name, field), (name, field)
    for name in dir(checked.lib):
        if name.startswith("MOEQ_"):
            assert getattr(checked.lib, name) == getattr(lib, name), name


def test_a_missing_library_is_an_import_error_that_names_it():
    result = run("import moeq", MOEQ_LIBRARY="/nowhere/libmoeq.so")
    assert result.returncode == 1
    assert "LibraryNotFoundError" in result.stderr and "/nowhere/libmoeq.so" in result.stderr
    caught = run("try:\n import moeq\nexcept ImportError as e:\n print('caught')", MOEQ_LIBRARY="/nowhere/libmoeq.so")
    assert caught.stdout.strip() == "caught"


def test_without_the_variable_every_place_is_named():
    result = run("import moeq", MOEQ_LIBRARY="", LD_LIBRARY_PATH="")
    if result.returncode == 0:
        pytest.skip("libmoeq is installed on this machine")
    assert "_lib/libmoeq.so.1" in result.stderr and "  libmoeq.so.1: " in result.stderr
    assert "Set MOEQ_LIBRARY" in result.stderr


def test_another_library_is_refused():
    result = run("import moeq", MOEQ_LIBRARY="libc.so.6")
    assert "no symbol moeq_abi_version" in result.stderr


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_another_abi_is_refused(tmp_path):
    source = tmp_path / "other.c"
    source.write_text("int moeq_abi_version(void) { return 99; }\n")
    library = tmp_path / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    result = run("import moeq", MOEQ_LIBRARY=str(library))
    assert "its ABI version is 99, this package needs 1" in result.stderr


def test_importing_needs_no_framework():
    code = "import sys, moeq; moeq.empty((2, 3)); print([m for m in ('numpy', 'torch', 'jax') if m in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_names_are_what_the_package_says():
    for name in moeq.__all__:
        assert getattr(moeq, name) is not None
