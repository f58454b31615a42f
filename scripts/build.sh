#!/usr/bin/env bash
# Configures and builds one folder; what the tools say goes to FOLDER/build.log, and its end to the terminal on failure.
#
#   scripts/build.sh FOLDER [options of cmake --build] -- [options of cmake]
set -euo pipefail
folder=$1
shift
build=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do build+=("$1"); shift; done
[ $# -gt 0 ] && shift

command -v cmake >/dev/null || { echo "build: cmake is not installed (3.25 or newer is needed)" >&2; exit 1; }
# A folder keeps the generator it was made with.
generator=()
[ -e "$folder/CMakeCache.txt" ] || { command -v ninja >/dev/null && generator=(-G Ninja); } || true
mkdir -p "$folder"
log=$folder/build.log
run() { "$@" >>"$log" 2>&1 || { tail -40 "$log" >&2; echo "build: failed; all of it is in $log" >&2; exit 1; }; }
: >"$log"
run cmake -S . -B "$folder" "${generator[@]}" "$@"
run cmake --build "$folder" -j "$(nproc)" "${build[@]}"
sed -n 's/^-- \(This build has no device cuda\)/build: \1/p' "$log"
