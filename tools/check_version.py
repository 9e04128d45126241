#!/usr/bin/env python3
"""VERSION is where the version of moeq is written; this compares every other place that has to repeat it.

    tools/check_version.py --check

The number of the ABI is compared too: MOEQ_ABI_VERSION in moeq.h, CMakeLists.txt and the node of src/abi/moeq.map.
"""

import argparse
import re
import sys

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def header_constant(name):
    found = re.search(rf"^#\s*define {name} (\d+)\b", text_of("include/moeq.h"), re.M)
    return found.group(1) if found else "nothing"


def cargo_versions():
    """(path, version) of every package of the Rust workspace that is meant for others; tools of the workspace are not."""
    folder = ROOT / "bindings" / "rust"
    workspace = {}
    if (folder / "Cargo.toml").exists():
        workspace = tomllib.loads((folder / "Cargo.toml").read_text()).get("workspace", {}).get("package", {})
    for manifest in sorted(folder.rglob("Cargo.toml")):
        package = tomllib.loads(manifest.read_text()).get("package", {})
        if not package or package.get("publish") is False:
            continue
        version = package.get("version")
        inherited = isinstance(version, dict) and version.get("workspace")
        yield manifest.relative_to(ROOT), workspace.get("version") if inherited else version


def python_versions():
    """(path, version) of the Python package: in pyproject.toml unless the build reads VERSION, and in its source."""
    folder = ROOT / "bindings" / "python"
    project = folder / "pyproject.toml"
    if project.exists():
        version = tomllib.loads(project.read_text()).get("project", {}).get("version")
        if version is not None:
            yield project.relative_to(ROOT), version
    for source in sorted(folder.glob("moeq/*.py")):
        for version in re.findall(r'^__version__ = "([^"]*)"', source.read_text(), re.M):
            yield source.relative_to(ROOT), version


def differences():
    version = text_of("VERSION").strip()
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"VERSION says {version!r}; wanted MAJOR.MINOR.PATCH"
        return
    header = ".".join(header_constant(f"MOEQ_VERSION_{part}") for part in ("MAJOR", "MINOR", "PATCH"))
    for place, found in [("include/moeq.h", header), *cargo_versions(), *python_versions()]:
        if found != version:
            yield f"{place} says {found}, VERSION says {version}"

    abi = header_constant("MOEQ_ABI_VERSION")
    soversion = re.search(r"^set\(MOEQ_ABI_VERSION (\d+)\)", text_of("CMakeLists.txt"), re.M)
    node = re.search(r"^MOEQ_(\d+) \{", text_of("src/abi/moeq.map"), re.M)
    for place, found in [("CMakeLists.txt", soversion), ("src/abi/moeq.map", node)]:
        if not found or found.group(1) != abi:
            yield f"{place} has ABI {found.group(1) if found else 'nothing'}, include/moeq.h has {abi}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", required=True, help="compare; there is nothing to generate")
    parser.parse_args()
    found = list(differences())
    for difference in found:
        print(difference)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
