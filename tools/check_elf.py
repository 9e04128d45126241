#!/usr/bin/env python3
"""What libmoeq.so may be as an ELF file inside somebody else's process.

    check_elf.py LIBRARY

It needs only the C library; has no thread-local storage, no unique symbols, no initialisers of its own, no executable stack;
and calls nothing that prints, ends the process, throws, or changes what belongs to the whole process.
Exit code 77 (skipped) for a library with the instruments of a sanitizer or of coverage in it.
"""

import argparse
import re
import subprocess
import sys

SONAME = "libmoeq.so.1"
# glibc before 2.34 keeps threads and dlopen in files of their own; they are part of the C library all the same.
ALLOWED_NEEDED = re.compile(r"(libc|libm)\.so\.6|ld-linux[-\w]*\.so\.\d|libpthread\.so\.0|libdl\.so\.2")

FORBIDDEN_IMPORTS = {
    "ends the process": {"abort", "exit", "_exit", "_Exit", "quick_exit", "raise", "kill", "__assert_fail", "err", "errx"},
    "prints": {
        "printf", "vprintf", "puts", "putchar", "fprintf", "vfprintf", "fputs", "fputc", "putc", "fwrite", "perror", "dprintf",
        "warn", "warnx", "syslog", "__printf_chk", "__fprintf_chk", "__vprintf_chk", "__vfprintf_chk", "__dprintf_chk",
        "stdout", "stderr",
    },
    "changes the process": {
        "setlocale", "uselocale", "signal", "sigaction", "sigaltstack", "setenv", "putenv", "unsetenv", "chdir", "umask", "srand",
        "srandom", "setrlimit", "mallopt", "mlockall", "fork", "vfork", "system", "atexit", "__cxa_atexit", "on_exit",
        "at_quick_exit",
    },
    "is thread-local storage": {"__tls_get_addr", "__cxa_thread_atexit", "__cxa_thread_atexit_impl"},
}  # fmt: skip
# The C++ runtime: exceptions, operator new and delete, everything in namespace std.
FORBIDDEN_PATTERN = re.compile(r"__cxa_(?!finalize$)\w+|_Zn[wa]\w+|_Zd[la]\w+|_Z(T[ISV])?N?K?S[tsaiod]\w*|__gxx_\w+|"
                               r"_Unwind_\w+|__cpu_\w+")
# Weak references that the compiler's start files leave in every shared object.
START_FILES = {"__cxa_finalize", "__gmon_start__", "_ITM_registerTMCloneTable", "_ITM_deregisterTMCloneTable"}
# frame_dummy is in every shared object; __cpu_indicator_init asks the CPU what it can, for __builtin_cpu_supports.
COMPILERS_INITIALISERS = {"frame_dummy", "__cpu_indicator_init"}
INSTRUMENTS = re.compile(r"__(asan|ubsan|tsan|msan|hwasan|lsan|sanitizer|gcov|llvm_profile)_\w+")


def readelf(library: str, *options: str) -> str:
    return subprocess.run(["readelf", "-W", *options, library], check=True, capture_output=True, text=True).stdout


def dynamic_values(text: str, tag: str) -> list[str]:
    return re.findall(rf"\({tag}\).*\[(.+?)\]", text)


def symbol_rows(library: str) -> list[list[str]]:
    rows = (line.split() for line in readelf(library, "-s").splitlines())
    return [row for row in rows if len(row) >= 8 and re.fullmatch(r"\d+:", row[0])]


def check_dynamic(library: str) -> list[str]:
    text = readelf(library, "-d")
    problems = [f"needs {name}" for name in dynamic_values(text, "NEEDED") if not ALLOWED_NEEDED.fullmatch(name)]
    if dynamic_values(text, "SONAME") != [SONAME]:
        problems.append(f"its name is {dynamic_values(text, 'SONAME')}, not {SONAME}")
    problems += [f"has a {tag}: it would search where it was built" for tag in ("RPATH", "RUNPATH") if dynamic_values(text, tag)]
    if "TEXTREL" in text:
        problems.append("has relocations in its code (TEXTREL)")
    if not re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", text):
        problems.append("is not linked with -z now")
    return problems


def check_segments(library: str) -> list[str]:
    text = readelf(library, "-l")
    problems = []
    stack = re.search(r"GNU_STACK\s+(?:0x\w+\s+){5}([RWE ]+?)\s+0x", text)
    if not stack or "E" in stack.group(1):
        problems.append("asks for an executable stack")
    if not re.search(r"^\s*GNU_RELRO\s", text, flags=re.MULTILINE):
        problems.append("is not linked with -z relro")
    if re.search(r"^\s*TLS\s", text, flags=re.MULTILINE):
        problems.append("has thread-local storage")
    return problems


def check_initialisers(library: str, symbols: list[list[str]]) -> list[str]:
    """Whatever .init_array names besides the compiler's own start code would run our code in dlopen."""
    problems = []
    names = {int(row[1], 16): row[7] for row in symbols if row[3] == "FUNC" and row[6] != "UND"}
    for section in (".init_array", ".preinit_array", ".ctors"):
        found = re.search(rf"\s{re.escape(section)}\s+\S+\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", readelf(library, "-S"))
        if not found:
            continue
        begin, size = int(found.group(1), 16), int(found.group(2), 16)
        targets = []
        relative = re.compile(r"^([0-9a-f]{8,})\s+\S+\s+R_\w+_RELATIV\w*\s+([0-9a-f]+)", re.MULTILINE)
        for offset, addend in relative.findall(readelf(library, "-r")):
            if begin <= int(offset, 16) < begin + size:
                targets.append(names.get(int(addend, 16), "?"))
        ours = [name for name in targets if name not in COMPILERS_INITIALISERS | {"?"}]
        if ours or size > 8 * len(COMPILERS_INITIALISERS):
            problems.append(f"{section} has {size // 8} entries: {', '.join(targets) or 'unnamed'}")
    return problems


def check_symbols(symbols: list[list[str]]) -> list[str]:
    problems = [f"has the unique symbol {name}" for name in sorted({row[7] for row in symbols if row[4] == "UNIQUE"})]
    problems += [f"has the thread-local symbol {name}" for name in sorted({row[7] for row in symbols if row[3] == "TLS"})]
    for name in sorted({row[7].split("@")[0] for row in symbols if row[6] == "UND"} - START_FILES):
        for reason, group in FORBIDDEN_IMPORTS.items():
            if name in group:
                problems.append(f"calls {name}, which {reason}")
        if FORBIDDEN_PATTERN.fullmatch(name):
            problems.append(f"calls {name} of the C++ runtime")
    return problems


def newest_glibc(library: str) -> str:
    versions = {tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", readelf(library, "-V"))}
    return ".".join(map(str, max(versions, default=(0, 0))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libmoeq.so")
    library = parser.parse_args().library

    symbols = symbol_rows(library)
    instrumented = sorted({row[7] for row in symbols if INSTRUMENTS.match(row[7])})
    if instrumented:
        print(f"skipped: {library} is instrumented ({instrumented[0]})")
        return 77
    problems = check_dynamic(library) + check_segments(library) + check_initialisers(library, symbols) + check_symbols(symbols)
    for problem in problems:
        print(f"{library} {problem}", file=sys.stderr)
    if not problems:
        print(f"{library}: clean; the newest GLIBC it asks for is {newest_glibc(library)}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
