#!/usr/bin/env python3
"""Holds README, CHANGELOG and docs/ to the tree.

    check_docs.py --check     compares, and says what is wrong where
    check_docs.py --update    copies quoted code anew, then compares the rest

What is compared: code blocks with their examples; relative links and anchors; names of moeq.h, CMake options and
environment variables with what declares them; paths in backquotes with the files; the statuses of docs/errors.md with
the header and with the Python exceptions, its classes with the sources; tests of docs/host-reports.md with those that are
there; map and layers of docs/hacking.md with the sources; imports of the command line with what of the Python package is
public.

A quote is a comment <!-- quote: PATH PART --> above a code block. In the file PATH the part stands between comments
[quote: PART] and [end]; without PART the block is the whole file.
"""

import argparse
import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import moeq_header

ROOT = moeq_header.ROOT
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "docs/*.md",
    "examples/README.md",
    "bindings/python/README.md",
    "bindings/rust/*/README.md",
]
QUOTE = re.compile(r"(<!-- quote: (\S+)(?: ([^>]*?))? -->\n```\w*\n)(.*?)(```\n)", re.DOTALL)
OTHERS = {"_asdict", "_exit"}  # names with an underscore that Python itself has for everybody
# Folders that hold only what ties their subfolders together.
PLAIN_FOLDERS = {"", "tests", "examples", ".ci"}


# Of src/: numbers and names of the ABI, which are no code.
NOT_LAYERED = {"abi"}


class Problems(list):
    def add(self, page, text):
        self.append(f"{page}: {text}")


def pages():
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def source(path):
    return path.read_text(encoding="utf-8")


def tree():
    """All files that are part of the project, committed or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):  # a tree without git: what is on the disk
        listed = [name_of(path) for path in ROOT.rglob("*") if not path.is_relative_to(ROOT / "build")]
    return [name for name in listed if name and (ROOT / name).is_file()]


# ---- quoted code


def part_of(path, part):
    """The quoted text; a str that begins with "!" says why there is none."""
    if not path.is_file():
        return "!there is no such file"
    text = source(path)
    if not part:
        return text
    found = re.findall(
        rf"^[^\n]*\[quote: {re.escape(part)}\][^\n]*\n(.*?)^[^\n]*\[end\][^\n]*$", text, re.DOTALL | re.MULTILINE
    )
    if len(found) != 1:
        return f"!the part is there {len(found)} times"
    return textwrap.dedent(found[0])


def check_quotes(path, update, problems):
    text = source(path)

    def renew(match):
        head, quoted, part, block, tail = match.groups()
        wanted = part_of(ROOT / quoted, part)
        where = f"quote of {quoted} {part or ''}".strip()
        if wanted.startswith("!"):
            problems.add(name_of(path), f"{where}: {wanted[1:]}")
            return match.group(0)
        if block != wanted and not update:
            problems.add(name_of(path), f"{where} is out of date: run tools/check_docs.py --update")
        return head + wanted + tail

    renewed = QUOTE.sub(renew, text)
    if len(QUOTE.findall(text)) != text.count("<!-- quote:"):
        problems.add(name_of(path), "a quote without a code block below it")
    if update and renewed != text:
        path.write_text(renewed, encoding="utf-8")


# ---- links


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path):
    """Anchors of headings, as hosts of Markdown make them."""
    found = re.findall(
        r"^#+ +(.*?) *$", re.sub(r"^```.*?^```", "", source(path), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def check_links(path, problems):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(source(path))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        aim = (path.parent / file).resolve() if file else path
        if not aim.exists():
            problems.add(name_of(path), f"link to {target}: there is no such file")
        elif anchor and anchor not in anchors(aim):
            problems.add(name_of(path), f"link to {target}: there is no such heading")


def check_merged(path, problems):
    if re.search(r"^(<<<<<<<|>>>>>>>) ", path.read_text(encoding="utf-8"), re.MULTILINE):
        problems.add(name_of(path), "marks of a merge that was not finished")


# ---- names and paths


def known_names(files):
    """Every moeq_ and MOEQ_ word of what declares such names to users."""
    declaring = (
        "include/",
        "src/",
        "bindings/",
        "cmake/",
        "CMakeLists.txt",
        "examples/CMakeLists.txt",
        "tests/abi/CMakeLists.txt",
    )
    texts = [
        source(ROOT / name) for name in files if name.startswith(declaring) and not name.endswith((".md", ".lock"))
    ]
    return set(re.findall(r"\b(?:moeq|MOEQ)_\w+", "\n".join(texts)))


def check_names(path, names, problems):
    for word in sorted(set(re.findall(r"\b(?:moeq|MOEQ)_\w+(?:<|\*)?", source(path)))):
        if word.endswith(("_", "*", "<")):  # a group: some name has to begin with it
            if not any(name.startswith(word.rstrip("*<")) for name in names):
                problems.add(name_of(path), f"no name begins with {word}")
        elif word not in names:
            problems.add(name_of(path), f"{word} is not declared anywhere")


def check_paths(path, files, problems):
    folders = {parent.as_posix() for name in files for parent in Path(name).parents}
    tops = {name.split("/")[0] for name in files if "/" in name}
    for word in re.findall(r"`([\w.\-]+/[\w.\-/]*)`", source(path)):
        beside = (path.parent / word).exists()  # in a folder's own README paths begin at that folder
        if word.split("/")[0] in tops and word.rstrip("/") not in folders and word not in files and not beside:
            problems.add(name_of(path), f"there is no {word}")


# ---- tables


def table(path, name):
    """The cells of the table between the marks NAME: begin and NAME: end."""
    text = source(path).split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


def check_statuses(problems):
    path = ROOT / "docs" / "errors.md"
    constants = [(c.value, c.name) for c in moeq_header.read().constants if c.name.startswith("MOEQ_ERROR_")]
    rows = table(path, "statuses")
    listed = [(number.replace("−", "-"), status.strip("`")) for number, status, _, _ in rows]
    for number, status in sorted(set(constants) ^ set(listed)):
        problems.add(
            name_of(path), f"{status} {number} is only in {'moeq.h' if (number, status) in constants else 'the table'}"
        )
    if set(constants) == set(listed) and constants != listed:
        problems.add(name_of(path), "the statuses are not in moeq.h's order")
    python = source(ROOT / "bindings" / "python" / "moeq" / "_errors.py")
    classes = dict(re.findall(r'^    "(\w+)": (\w+),$', python, re.MULTILINE))
    for _, status, exception, _ in rows:
        wanted = classes.get(status.strip("`").removeprefix("MOEQ_ERROR_"))
        if exception.strip("`") != wanted:
            problems.add(name_of(path), f"{status} is {wanted} in Python, not {exception}")


def check_classes(files, problems):
    path = ROOT / "docs" / "errors.md"
    texts = "\n".join(source(ROOT / name) for name in files if name.startswith("src/"))
    used = set(re.findall(r'"([DHN]\d\d|F[0-2]\d)"', texts))
    listed = {row[0].strip("`") for row in table(path, "classes")}
    for name in sorted(used ^ listed):
        problems.add(name_of(path), f"class {name} is only in {'the sources' if name in used else 'the table'}")


def check_reports(problems):
    """Each report has a test, or says that it is open; the tests that are named are there."""
    path = ROOT / "docs" / "host-reports.md"
    seen = set()
    for name, _, held in table(path, "reports"):
        tests = re.findall(r"`([\w.]+)::(\w+)`", held)
        if name in seen:
            problems.add(name_of(path), f"{name} is there twice")
        seen.add(name)
        if not tests and not held.startswith("Open: "):
            problems.add(name_of(path), f"{name} names no test")
        for file, test in tests:
            where = ROOT / "tests" / "python" / file
            if not where.is_file() or not re.search(rf"^def {test}\(", source(where), re.MULTILINE):
                problems.add(name_of(path), f"{name}: there is no {test} in tests/python/{file}")


def check_map(files, problems):
    path = ROOT / "docs" / "hacking.md"
    listed = {folder.rstrip("/") for row in table(path, "map") for folder in re.findall(r"`([^`]+)`", row[0])}
    folders = {Path(name).parent.as_posix() for name in files}
    with_parents = {parent for name in files for parent in (p.as_posix() for p in Path(name).parents)}
    for folder in sorted(listed - with_parents):
        problems.add(name_of(path), f"the map has {folder}/, the tree has not")
    for folder in sorted(folders - {"."} - PLAIN_FOLDERS):
        if not any(folder == entry or folder.startswith(entry + "/") for entry in listed):
            problems.add(name_of(path), f"{folder}/ is not in the map")


def check_layers(files, problems):
    """A line of layers is one of folders of src/, or of the folder of it that the mark names."""
    lines = re.findall(r"<!-- layers(?:: src/(\w+/))? -->\n +(.*)\n", source(ROOT / "docs" / "hacking.md"))
    if not lines:
        problems.add("docs/hacking.md", "there are no layers")
    for inside, line in lines:
        layers = [[folder.strip() for folder in layer.split(",")] for layer in line.split("→")]
        rank = {folder: -place for place, layer in enumerate(layers) for folder in layer}
        there = {name.removeprefix(f"src/{inside}").split("/")[0] for name in files if name.startswith(f"src/{inside}")}
        for folder in sorted(set(rank) ^ (there - NOT_LAYERED)):
            problems.add("docs/hacking.md", f"src/{inside}{folder}/ is only in {'the layers' if folder in rank else 'the tree'}")
        for name in files:
            folder = name.removeprefix(f"src/{inside}").split("/")[0] if name.startswith(f"src/{inside}") else None
            if folder not in rank:
                continue
            for included in re.findall(rf'^#include "{inside}(\w+)/', source(ROOT / name), re.MULTILINE):
                if included in rank and included != folder and rank[included] >= rank[folder]:
                    problems.add(
                        name, f"includes {inside}{included}/, which docs/hacking.md does not place below {folder}/"
                    )


def check_command_line(problems):
    """The command line uses what any program may: no module and no member of the package with an underscore."""
    package = ROOT / "bindings" / "python" / "moeq"
    for path in sorted((package / "cli").rglob("*.py")):
        dots = len(path.relative_to(package).parts)  # of a relative import from the package itself
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                module = (node.module or "").split(".")
                inside = node.level == dots or (node.level == 0 and module[0] == "moeq")
                names = [*module, *(one.name for one in node.names)] if inside else []
            elif isinstance(node, ast.Import):
                names = [part for one in node.names for part in one.name.split(".") if one.name.startswith("moeq.")]
            elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                names = [node.attr]
            for name in names:
                if name.startswith("_") and not name.endswith("__") and name not in OTHERS:
                    problems.add(name_of(path), f"line {node.lineno} uses {name}, which is private to the package")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--check", action="store_true")
    group.add_argument("--update", action="store_true")
    update = parser.parse_args().update
    problems = Problems()
    files = tree()
    names = known_names(files)
    for path in pages():
        check_quotes(path, update, problems)
        check_links(path, problems)
        check_merged(path, problems)
        check_names(path, names, problems)
        check_paths(path, files, problems)
    check_statuses(problems)
    check_classes(files, problems)
    check_reports(problems)
    check_map(files, problems)
    check_layers(files, problems)
    check_command_line(problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(pages())} pages: {f'{len(problems)} problems' if problems else 'in order'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
