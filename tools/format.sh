#!/usr/bin/env bash
# Formats the C and C++ sources with clang-format 14; with --check it only says which files differ.
# include/moeq.h is laid out by hand, as a text to be read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

format=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$format" ] || ! "$format" --version | grep -q 'version 14\.'; then
    echo "skip: clang-format 14 is not installed"
    exit 77
fi

mapfile -t files < <(git ls-files --cached --others --exclude-standard -- \
    '*.c' '*.h' '*.cpp' '*.cu' '*.cuh' ':!include/moeq.h' |
    sort -u | while read -r file; do if [ -f "$file" ]; then echo "$file"; fi; done)
[ ${#files[@]} -eq 0 ] && exit 0
if [ "${1:-}" = --check ]; then
    # shellcheck disable=SC2016 # the inner shell expands these
    mapfile -t bad < <(printf '%s\0' "${files[@]}" | xargs -0 -n 1 sh -c '"$0" "$1" | cmp -s - "$1" || echo "$1"' "$format")
    [ ${#bad[@]} -eq 0 ] && exit 0
    printf 'not formatted (run make format): %s\n' "${bad[@]}"
    exit 1
fi
"$format" -i "${files[@]}"
