#!/usr/bin/env bash
# Every source file is as clang-format 14 writes it, which also settles the order of includes and the 120 columns.
# Another version formats differently: then this test is skipped. About 2 s.
# usage: format_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
for tool in clang-format-14 clang-format ""; do
    [ -n "$tool" ] || { echo "skipped: clang-format 14 is not installed"; exit 77; }
    command -v "$tool" >/dev/null && "$tool" --version | grep -q 'version 14\.' && break
done
# One file per line of output; `git clang-format` or `clang-format -i FILE` mends it.
find base virtual_gpu kernels engine models data predict train app bench tests \
    \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
    xargs -0 -P 2 -n 20 "$tool" --dry-run --Werror 2>&1 | sed -n 's/^\([^:]*\):\([0-9]*\):.*clang-format.*/\1:\2/p' | sort -u -t: -k1,1 |
    { ! grep . ; } || { echo "not as $tool writes them (first line each); $tool -i FILE mends it"; exit 1; }
