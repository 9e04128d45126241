#!/usr/bin/env bash
# Installs the system packages that moeq wants and that are missing, and says what it could not do.
#
#   tools/setup.sh            everything for building and testing
#   tools/setup.sh arm64      also what builds and tests for 64-bit ARM on another processor
#
# Only the compiler, make and Python are required. On Debian and Ubuntu, as root, what is missing is installed;
# elsewhere the packages are named and the parts that need them are left out.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }
have_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }
have_any() { have "$1" || compgen -G "/usr/bin/$1-[0-9]*" >/dev/null; } # clang, or clang-14
have_venv() { have uv || python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

required=()
optional=()
have g++ || have clang++ || required+=(g++)
have python3 || required+=(python3)
have_venv || required+=(python3-venv)
have_header xxhash.h || required+=(libxxhash-dev)
have_header gtest/gtest.h || optional+=(libgtest-dev)
have readelf || optional+=(binutils)
have pkg-config || optional+=(pkg-config)
have_any clang || optional+=(clang)
have_any clang-format || optional+=(clang-format)
# bindgen, which the Rust bindings are generated with, loads libclang.
if have cargo; then
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null ||
        optional+=(libclang-dev)
fi

if [ "${1-}" = arm64 ] && [ "$(uname -m)" != aarch64 ]; then
    have aarch64-linux-gnu-g++ || optional+=(g++-aarch64-linux-gnu)
    have qemu-aarch64-static || have qemu-aarch64 || optional+=(qemu-user-static)
fi

missing=("${required[@]}" "${optional[@]}")
[ ${#missing[@]} -eq 0 ] && exit 0

if have apt-get && [ "$(id -u)" = 0 ]; then
    echo "installing ${missing[*]} ..." >&2
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends)
    {
        "${install[@]}" "${missing[@]}" || { apt-get -q update && "${install[@]}" "${missing[@]}"; }
    } </dev/null >"$log" 2>&1 && exit 0
    tail -n 20 "$log" >&2
    echo "setup: apt-get could not install ${missing[*]}" >&2
elif have apt-get; then
    echo "setup: for everything, install: sudo apt-get install ${missing[*]}" >&2
else
    echo "setup: for everything, install what Debian calls: ${missing[*]}" >&2
fi

if [ ${#required[@]} -gt 0 ]; then
    echo "setup: without ${required[*]} nothing can be built" >&2
    exit 1
fi
echo "setup: going on; what needs ${optional[*]} is left out" >&2
