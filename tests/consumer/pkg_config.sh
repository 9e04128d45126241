#!/bin/sh
# Compiles and runs linked.c with nothing but what pkg-config says.
#   pkg_config.sh COMPILER LIBRARY_FOLDER VERSION OUTPUT_FOLDER
set -eu
compiler=$1 libraries=$2 version=$3 output=$4
if ! command -v pkg-config >/dev/null; then
    echo "skip: pkg-config is not installed"
    exit 77
fi
PKG_CONFIG_PATH="$libraries/pkgconfig"
export PKG_CONFIG_PATH
found=$(pkg-config --modversion moeq)
if [ "$found" != "$version" ]; then
    echo "moeq.pc says version $found, VERSION says $version"
    exit 1
fi
# shellcheck disable=SC2046 # several flags
"$compiler" -Wall -Wextra -Werror -o "$output/linked" "$(dirname "$0")/linked.c" $(pkg-config --cflags --libs moeq)
LD_LIBRARY_PATH="$libraries" "$output/linked"
