#!/usr/bin/env bash
# Every source compiles with clang without a warning (syntax and semantics only, no code): the second opinion beside g++.
# Skipped with a message where clang++ 16 or newer is not installed.
#
#   scripts/clang_check.sh [FOLDER]      default: build-clang; only its compile_commands.json is used
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build-clang}
clang=
for name in clang++ clang++-22 clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++-16; do
    command -v "$name" >/dev/null || continue
    major=$("$name" -dumpversion | cut -d. -f1)
    [ "$major" -ge 16 ] && { clang=$name; break; }
done
[ -n "$clang" ] || { echo "clang check skipped: clang++ 16 or newer is not installed"; exit 0; }

mkdir -p "$folder"
generator=()
[ -e "$folder/CMakeCache.txt" ] || { command -v ninja >/dev/null && generator=(-G Ninja); } || true
cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_CXX_COMPILER="$clang" -DTUNDRA_CUDA=OFF -DTUNDRA_WERROR=ON \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >"$folder/configure.log" 2>&1 || { tail -20 "$folder/configure.log"; exit 1; }
cmake --build "$folder" --target tundra_build_info >>"$folder/configure.log" 2>&1 || { tail -20 "$folder/configure.log"; exit 1; }

# CMake writes one "command" per line. -Wno-deprecated-declarations: libstdc++ 12 warns about itself under clang.
check() {
    local command
    command=$(sed -E 's/ -o [^ ]+ -c / -c /' <<<"$1")
    bash -c "cd '$folder' && $command -fsyntax-only -Wno-deprecated-declarations -Wno-invalid-feature-combination"
}
export -f check
export folder
sed -n 's/^ *"command": "\(.*\)",\{0,1\}$/\1/p' "$folder/compile_commands.json" |
    sed 's/\\\\/\x01/g; s/\\"/"/g; s/\x01/\\/g' >"$folder/commands"
echo "$clang: $(wc -l <"$folder/commands") files"
xargs -d '\n' -P "$(nproc)" -I {} bash -c 'check "$1"' _ {} <"$folder/commands"
