#!/usr/bin/env bash
# Removes each __syncthreads() and __syncwarp() of the .cu and .cuh files of kernels/ in turn, in a copy of the sources under the race checker,
# and demands that a test of simt notices. The copy, build-barriers/, stays: the next run builds only what has changed.
# usage: mutate_barriers.sh [kernels/FILE.cu ...]   exit: 0 all noticed, 1 not
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$PWD/build-barriers
mkdir -p "$scratch"
# What is equal keeps its time; a file that an interrupted run left changed gets a new one, and is compiled again.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    cmp -s "$file" "$scratch/$file" || [ ! -f "$file" ] || cp --parents "$file" "$scratch"
done
(cd "$scratch" && find . -path ./build -prune -o -type f -print0) | while IFS= read -r -d '' file; do
    [ -e "$file" ] || rm "$scratch/$file"
done
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(kernels/*.cu kernels/conv/*.cu kernels/*.cuh kernels/conv/*.cuh)
cd "$scratch"

export CCACHE_BASEDIR=$scratch CCACHE_NOHASHDIR=1
cmake -S . -B build -G Ninja -DTUNDRA_CUDA=OFF -DTUNDRA_RACE=ON >configure.log 2>&1 ||
    { cat configure.log; exit 2; }
build() { ninja -C build -j "$(nproc)" "$1" >build.log 2>&1 || { cat build.log; echo "$1 does not build"; exit 2; }; }
run() { timeout 300 "build/tests/$1" --gtest_brief=1 >test.log 2>&1; }

# Those with most kernels first.
mapfile -t tests < <(cd tests && { grep -lE 'op_cases' ./*_simt_test.cpp; grep -lE 'SimtKernels' kernels_simt_test.cpp ./*_simt_test.cpp; } |
    sed 's|^\./||; s/\.cpp$//' | awk '!seen[$0]++')
for test in "${tests[@]}"; do
    build "$test"
    run "$test" || { cat test.log; echo "$test fails before anything was removed"; exit 2; }
done

removed=0 missed=0
for file in "${files[@]}"; do
    stem=$(basename "$file" | sed 's/\..*//')
    # The tests that share a word with the file go first: most removals end there.
    words=${stem//_/|}
    mapfile -t order < <(printf '%s\n' "${tests[@]}" | grep -E "$words" || true; printf '%s\n' "${tests[@]}" | grep -vE "$words" || true)
    cp "$file" original
    while IFS=: read -r line _; do
        sed -E "${line}s/__sync(threads|warp)\([^)]*\)/(void)0/" original >"$file"
        removed=$((removed + 1)) noticed=
        for test in "${order[@]}"; do
            build "$test"
            run "$test" || { noticed=$test; break; }
        done
        if [ -n "$noticed" ]; then
            echo "$file:$line noticed by $noticed"
        else
            echo "$file:$line NOT NOTICED: $(sed -n "${line}p" original)"
            missed=$((missed + 1))
        fi
    done < <(grep -nE '__sync(threads|warp)\(' original)
    cp original "$file"
done
echo "$removed barriers removed, $missed not noticed"
[ "$missed" -eq 0 ]
