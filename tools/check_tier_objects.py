#!/usr/bin/env python3
"""Objects compiled for newer processors must define no function but their tier's entry points.

    check_tier_objects.py OBJECT...

Whatever else such an object defined, an inline function of a header for example, the linker could take from it for the whole
library, which would then crash on older processors. Data is harmless. Only objects in a folder of src/cpu count; which tier
they belong to is read from their path. Uses nm, or what the variable NM names; exit status 77 without it.
"""

import os
import re
import shutil
import subprocess
import sys

NM = os.environ.get("NM", "nm")
# What nm calls functions that other objects can see: text, weak and indirect ones.
FUNCTIONS = set("TWi")


def tier_of(path):
    match = re.search(r"src/cpu/([a-z0-9]+)/[^/]+$", path.replace(os.sep, "/"))
    return match.group(1) if match else None


def functions(path):
    command = [NM, "-C", "--defined-only", path]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3 and parts[1] in FUNCTIONS:
            yield parts[2]


def main(arguments):
    if not arguments:
        print(__doc__.strip())
        return 2
    if shutil.which(NM) is None:
        print(f"skip: there is no {NM}")
        return 77
    checked, bad = 0, []
    for path in arguments:
        tier = tier_of(path)
        if tier is None:
            continue
        checked += 1
        entry = re.compile(rf"moeq::cpu::{re.escape(tier)}::overlay\w*\(")
        found = list(functions(path))
        bad += [f"{path}: {name}" for name in found if not entry.match(name)]
        if not found:
            bad.append(f"{path}: defines no entry point")
    for line in bad:
        print(line)
    print(f"{checked} tier objects, {len(bad)} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
