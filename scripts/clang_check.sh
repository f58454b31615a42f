#!/usr/bin/env bash
# Every source compiles with clang without a warning (syntax and semantics only, no code): the second opinion beside g++.
# Then every header compiles alone: no header leans on what its users happen to include before it.
# Skipped with a message where clang++ 14 or newer is not installed.
#
#   scripts/clang_check.sh [FOLDER]      default: build-clang; only its compile_commands.json is used
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build-clang}
clang=$(scripts/clang.sh) || { echo "clang check skipped: clang++ 14 or newer is not installed"; exit 0; }

mkdir -p "$folder"
generator=()
[ -e "$folder/CMakeCache.txt" ] || { command -v ninja >/dev/null && generator=(-G Ninja); } || true
cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_CXX_COMPILER="$clang" -DTUNDRA_CUDA=OFF -DTUNDRA_WERROR=ON \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >"$folder/configure.log" 2>&1 || { tail -20 "$folder/configure.log"; exit 1; }
cmake --build "$folder" --target tundra_build_info >>"$folder/configure.log" 2>&1 || { tail -20 "$folder/configure.log"; exit 1; }

# CMake writes one "command" per line. -Wno-deprecated-declarations: libstdc++ 12 warns about itself under clang. Clang 14 and 15
# cannot capture structured bindings; newer ones tell of them among all else that is new in C++20.
check() {
    local command said wrong=0
    command=$(sed -E 's/ -o [^ ]+ -c / -c /' <<<"$1")
    said=$(bash -c "cd '$folder' && $command -fsyntax-only -fno-caret-diagnostics -Wno-deprecated-declarations \
        -Wpre-c++20-compat -Wno-error=pre-c++20-compat" 2>&1) || wrong=1
    ! grep 'captured structured bindings' <<<"$said" || wrong=1
    [ $wrong = 0 ] || { grep -v '\[-Wpre-c++20-compat\]' <<<"$said"; false; }
}
export -f check
export folder
sed -n 's/^ *"command": "\(.*\)",\{0,1\}$/\1/p' "$folder/compile_commands.json" |
    sed 's/\\\\/\x01/g; s/\\"/"/g; s/\x01/\\/g' >"$folder/commands"
echo "$clang: $(wc -l <"$folder/commands") files"
xargs -d '\n' -P "$(nproc)" -I {} bash -c 'check "$1"' _ {} <"$folder/commands"

# A header that is the first include of a source compiled alone just now. The others get a source of one line each. Left out are
# those that need the CUDA Toolkit, and two that use what stands before them: cpu_intrinsics.h and window_vectors.h. 30 s on two cores.
firsts=$(sed -n 's/.* -c \([^ ]*\)$/\1/p' "$folder/commands" | xargs grep -hm1 '^#include' | sed -n 's/^#include "\(.*\)"$/\1/p')
headers=$(find app base bench data engine kernels models predict tests train virtual_gpu -name '*.h' -o -name '*.cuh' | sort |
    grep -vxF "$firsts" | grep -vE '(/cuda_flavour|/cuda_check|/cudnn_[a-z]*|/cuda_libraries|/cpu_intrinsics|/window_vectors)\.h$')
sed -n '\|/tests/dataset_test\.cpp$|s/ -o [^ ]* -c .*//p' "$folder/commands" >"$folder/flags"  # a test sees every library
alone() {
    bash -c "cd '$folder' && $(cat "$folder/flags") -DTUNDRA_SIMT_FLAVOUR -DSIMD_LANES=8 -DSIMD_ROWS=6 -fsyntax-only \
        -Wno-unused-function -Wno-unused-const-variable -Wno-deprecated-declarations -x c++ -" <<<"#include \"$1\"" ||
        { echo "$1 does not compile alone"; false; }
}
export -f alone
echo "$clang: $(wc -l <<<"$headers") headers alone"
xargs -d '\n' -P "$(nproc)" -I {} bash -c 'alone "$1"' _ {} <<<"$headers"
