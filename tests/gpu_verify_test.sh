#!/usr/bin/env bash
# scripts/gpu_verify.sh from its first to its last step, in miniature: nvcc's kernels executed on the CPU in the place of a GPU.
# What it reports must say that it is a rehearsal, be whole JSON, and not count a skip, a failed test or a lack of time as a pass.
# The rehearsal itself takes 80 s on two cores: only with TUNDRA_REHEARSE, as in .ci/run. The rest takes 15 s.
# usage: gpu_verify_test.sh BINARY SOURCE_DIR   (skipped in builds without nvcc)
set -u
build=$(dirname "$1")
source=$2
[ -x "$build/bench/step" ] && "$1" doctor --device ptx >/dev/null 2>&1 || { echo "skipped: this build has no device ptx, or no bench/step"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bundle/bin"
ln -s "$build"/{tundra,bench/step,tests/kernels_cuda_test,tests/golden_resnet_test} "$work/bundle/bin/"
ln -s "$source/tests/golden" "$work/bundle/golden"
failed=0
bad() { echo "FAILED: $*"; failed=1; }
verify() { PYTHON=/none BUNDLE=$work/bundle OUT=$work/out "$source/scripts/gpu_verify.sh" "$@" >"$work/said" 2>&1; }
status() { sed -n "s/.*\"step\": \"$1\".*\"status\": \"\([a-z]*\)\".*/\1/p" "$work/out/result.json"; }

if [ -n "${TUNDRA_REHEARSE:-}" ]; then
    verify rehearse
    code=$?
    [ $code = 0 ] || [ $code = 3 ] || { cat "$work/said"; bad "exit code $code"; }
    grep -q '"rehearsal": true' "$work/out/result.json" || bad "result.json does not say that it is a rehearsal"
    for step in doctor kernels libraries training golden losses-ptx-bf16 losses train-bf16 small-2 train-joined infer-bf16 yolo detect-yolov9c; do
        [ "$(status $step)" = pass ] || { grep " $step " "$work/said"; bad "$step: $(status $step)"; }
    done
    grep -q "[1-9][0-9]* cases on PTX" "$work/out/log.txt" || bad "no case was compared"
    if command -v python3 >/dev/null; then python3 -m json.tool "$work/out/result.json" >/dev/null || bad "result.json is not JSON"; fi
    [ "$(find "$work/out" -type f | wc -l)" -le 8 ] || bad "more than eight files"
fi

# Programs that skip, fail, or are slow; a real run without a GPU.
rm "$work/bundle/bin/"*
for program in tundra step kernels_cuda_test golden_resnet_test; do
    case $program in
        tundra) text='sleep 60' ;;
        step) text='echo "losses of resnet50 fp32 on cpu: 1 1 1"' ;;
        kernels_cuda_test) text='case $* in *OwnKernels*) echo "[  SKIPPED ] 1 test" ;; *) echo "[==========] 0 tests from 0 test suites ran." ;; esac' ;;
        golden_resnet_test) text='printf "a \"quoted\" \\\\ line\\n%0399d\"\\n" 0; exit 1' ;;
    esac
    printf '#!/bin/sh\n%s\n' "$text" >"$work/bundle/bin/$program"
    chmod +x "$work/bundle/bin/$program"
done
SECONDS_IN_ALL=12 verify run
[ $? = 1 ] || bad "a run that failed ends with another code than 1"
[ "$(status doctor)" = fail ] || bad "a step that was too slow: $(status doctor)"
grep -q '"rehearsal": false' "$work/out/result.json" || bad "a run calls itself a rehearsal"
sed -i 's/sleep 60/true/' "$work/bundle/bin/tundra"
SECONDS_IN_ALL=90 verify run
[ "$(status kernels)" = skip ] || bad "a skipped test: $(status kernels)"
[ "$(status libraries)" = fail ] || bad "a filter that finds no test: $(status libraries)"
[ "$(status golden)" = fail ] || bad "a failed test: $(status golden)"
[ "$(status losses)" = fail ] || bad "losses that are missing: $(status losses)"
if command -v python3 >/dev/null; then python3 -m json.tool "$work/out/result.json" >/dev/null || bad "result.json is not JSON"; fi
exit $failed
