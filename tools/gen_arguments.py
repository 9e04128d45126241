#!/usr/bin/env python3
"""Generates src/api/arguments.h, by which entry points name their arguments, from include/moeq.h.

    gen_arguments.py --check      compare the generated text with the committed file
    gen_arguments.py --update     write the file
"""

import argparse

import moeq_header

ARGUMENTS = moeq_header.ROOT / "src" / "api" / "arguments.h"
OPENING = """\
// The arguments of each function of moeq.h that tells of errors: arg::spec_print::out_text is what a message and
// moeq_error.argument say of it. Generated: python3 tools/gen_arguments.py --update
#pragma once

#include "core/report.h"

"""


def generated(header):
    blocks = []
    for function in header.functions:
        if function.names[-1:] != ("err",):
            continue
        lines = [f'constexpr Argument {name}{{{number}, "{name}"}};'
                 for number, name in enumerate(function.names[:-1], 1)]
        name = function.name.removeprefix("moeq_")
        blocks.append(f"namespace moeq::arg::{name} {{\n" + "\n".join(lines) + "\n}" + f" // namespace moeq::arg::{name}\n")
    return OPENING + "\n".join(blocks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--check", action="store_true")
    group.add_argument("--update", action="store_true")
    update = parser.parse_args().update
    text = generated(moeq_header.read())
    return moeq_header.write_or_compare(ARGUMENTS, text, update, "python3 tools/gen_arguments.py --update")


if __name__ == "__main__":
    raise SystemExit(main())
