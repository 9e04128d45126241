#!/usr/bin/env python3
"""Writes tests/abi/link_all.c: it links every function of moeq.h and calls each fallible one with nothing at all.

    gen_link_all.py --check | --update
"""

import argparse
import sys

import moeq_header
from moeq_header import ROOT, Function, Header

SOURCE = ROOT / "tests" / "abi" / "link_all.c"

PROLOGUE = """\
/* Links every function of moeq.h. Generated: python3 tools/gen_link_all.py --update
 * A call with NULL and 0 for everything has to be refused with a message that names it, and destroy(NULL) to do nothing. */
/* clang-format off */
#include "check.h"

#include <moeq.h>

#include <errno.h>
#include <string.h>

typedef void (*any_function)(void);

static const struct {
    const char *name;
    any_function address;
} functions[] = {
"""

MIDDLE = """\
};

static moeq_error err;

/* err as a caller without scruples leaves it, and an errno that has to stay. */
static moeq_error *fresh(void)
{
    memset(&err, 0x5a, sizeof err);
    errno = 4711;
    return &err;
}

static void refused(const char *name, moeq_status with, moeq_status without)
{
    check_context = name;
    CHECK_EQUAL(with, MOEQ_ERROR_ARGUMENT);
    CHECK_EQUAL(without, with);
    CHECK_EQUAL(errno, 4711);
    CHECK_EQUAL(err.status, with);
    CHECK_EQUAL(err.os_error, 0);
    CHECK(err.argument >= 1);
    CHECK_EQUAL(err.reserved, 0);
    CHECK(memchr(err.class_id, 0, sizeof err.class_id) != NULL);
    CHECK_EQUAL(err.expert, -1);
    CHECK_EQUAL(err.row, -1);
    CHECK_EQUAL(err.column, -1);
    CHECK(memchr(err.message, 0, sizeof err.message) != NULL);
    if (strncmp(err.message, name, strlen(name)) != 0)
        check_failed(__FILE__, __LINE__, "the message does not begin with the function: \\"%.400s\\"", err.message);
}

int main(void)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        check_context = functions[i].name;
        CHECK(functions[i].address != NULL);
    }
"""

SIZES = """\
    check_context = "moeq_struct_size";
    CHECK_EQUAL(moeq_struct_size("moeq_nothing"), 0);
    CHECK_EQUAL(moeq_struct_size(""), 0);
"""


def nothing(parameter: str) -> str:
    return "NULL" if parameter.endswith("*") else "0"


def make_calls(functions: tuple[Function, ...]) -> list[str]:
    calls = []
    for function in functions:
        arguments = [nothing(parameter) for parameter in function.parameters]
        if function.result == "moeq_status":
            assert function.parameters[-1] == "moeq_error *", f"{function.name} has no moeq_error *err at its end"
            with_error = ", ".join(arguments[:-1] + ["fresh()"])
            calls.append(f'refused("{function.name}", {function.name}({with_error}), {function.name}({", ".join(arguments)}));')
        elif function.name.endswith(("_destroy", "_release")):
            calls.append(f"{function.name}(NULL);")
    return calls


def make_source(header: Header) -> str:
    table = "".join(f'    {{"{function.name}", (any_function){function.name}}},\n' for function in header.functions)
    calls = "".join(f"    {call}\n" for call in make_calls(header.functions))
    sizes = "".join(f'    CHECK_EQUAL(moeq_struct_size("{s.name}"), sizeof({s.name}));\n' for s in header.structs)
    return PROLOGUE + table + MIDDLE + calls + SIZES + sizes + '    return check_report("link_all");\n}\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    source = make_source(moeq_header.read())
    return moeq_header.write_or_compare(SOURCE, source, arguments.update, "python3 tools/gen_link_all.py --update")


if __name__ == "__main__":
    sys.exit(main())
