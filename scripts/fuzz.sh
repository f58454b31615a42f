#!/usr/bin/env bash
# Runs every libFuzzer harness of tests/fuzz for SECONDS (60) each; fails when one finds something.
#   scripts/fuzz.sh [SECONDS [HARNESS...]]      findings are in build-fuzz/found, the grown corpora in build-fuzz/corpus
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
build=build-fuzz
clang=$(scripts/clang.sh) || { echo "fuzz: clang++ 14 or newer is not installed" >&2; exit 77; }
scripts/build.sh $build -- -DTUNDRA_FUZZ=ON -DCMAKE_CXX_COMPILER="$clang"
mkdir -p $build/found

golden=tests/golden
seeds() {  # harness -> files of at most 64 KiB
    find "tests/fuzz/corpus/$1" -type f
    case $1 in
        torch) find tests/fuzz/corpus/detector $golden/pth $golden/yolo -name '*.pth' -o -name '*.pt' ;;
        safetensors) find $golden/pth $golden/ops -name '*.safetensors' ;;
        exif) find $golden/images $golden/yolo -name '*.jpg' ;;
        image) find $golden/images $golden/yolo -name '*.jpg' -o -name '*.png' ;;
    esac
}

failed=0
[ $# -gt 0 ] || set -- torch pickle safetensors exif image
for name in "$@"; do
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    seeds "$name" | while read -r file; do
        [ "$(stat -c %s "$file")" -gt 65536 ] || cp "$file" "$corpus/$(echo "$file" | tr / _)"
    done
    echo "== $name: $seconds s from $(ls "$corpus" | wc -l) files"
    if ! ASAN_OPTIONS=allocator_may_return_null=1 "$build/tests/fuzz/${name}_fuzz" "$corpus" -max_total_time="$seconds" \
        -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=65536 -artifact_prefix="$build/found/$name-" \
        -close_fd_mask=1 -print_final_stats=1 2>"$build/$name.log"; then
        echo "$name found something:"
        tail -40 "$build/$name.log"
        failed=1
    else
        grep -E 'number_of_executed_units|peak_rss' "$build/$name.log"
    fi
done
# Whole detector files, with the network behind the readers: by the corpus' test, with sanitizers where such a build is.
for tests in build-asan/tests build/tests; do
    [ -x $tests/fuzz_corpus_test ] || continue
    echo "== whole detector files: $((seconds * 4)) changes to each seed, $tests"
    TUNDRA_CHANGES=$((seconds * 4)) $tests/fuzz_corpus_test --gtest_filter='*WhateverIsChanged*' || failed=1
    break
done
exit $failed
