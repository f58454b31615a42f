#!/usr/bin/env bash
# All tests, from a fresh machine: installs what is missing, builds, runs ctest.
#
#   scripts/test.sh           everything that fits ten minutes on two cores
#   scripts/test.sh --full    also: the PTX of older GPUs, AddressSanitizer and UBSan, the race checker over the CUDA
#                             kernels, removed barriers, fuzzing for a minute each, 1,000 stops at random moments, nvcc for
#                             every architecture, old processors and aarch64 in an emulator
set -euo pipefail
cd "$(dirname "$0")/.."
full=0
case "${1:-}" in
    "") ;;
    --full) full=1 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
jobs=$(nproc)
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1  # what two builds compile alike is compiled once

scripts/setup.sh test || echo "trying with what is installed"

build_and_test() {  # folder, targets (all: ""), ctest arguments, cmake options...
    local folder=$1 targets=$2 selection=$3
    shift 3
    # shellcheck disable=SC2086
    scripts/build.sh "$folder" ${targets:+--target $targets} -- -DTUNDRA_WERROR="${TUNDRA_WERROR:-OFF}" "$@"
    # shellcheck disable=SC2086
    ctest --test-dir "$folder" -j "$jobs" --output-on-failure --timeout 900 $selection
}

# Without a GPU one generation is enough to compile for; with one the build folder stays fit for it. The device ptx
# executes PTX: that for older GPUs and that for newer ones come out of two generators in nvcc.
archs=90-real
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .) || true
[[ $capability =~ ^[0-9]+$ ]] && archs=$capability-real
build_and_test build "" "" -DCMAKE_BUILD_TYPE=Release "-DTUNDRA_CUDA_ARCHS=$archs;80-virtual;100-virtual"
[ $full = 1 ] || exit 0

if [ -x build/tests/cuda_runtime_ptx_test ]; then
    echo "== PTX for older GPUs: that of the other generator in nvcc"
    PTX_ARCH=80 ctest --test-dir build -j "$jobs" --output-on-failure --timeout 900 -R 'simt|ptx' -E coverage
fi
echo "== AddressSanitizer and UndefinedBehaviorSanitizer"
build_and_test build-asan "" "" -DTUNDRA_SANITIZE=ON -DTUNDRA_CUDA=OFF
echo "== race checker over the CUDA kernels"
build_and_test build-race "$(basename -s .cpp tests/*simt*_test.cpp) simt_portable_test" "-R simt -E gdb" -DTUNDRA_RACE=ON -DTUNDRA_CUDA=OFF
echo "== every barrier removed in turn"
scripts/mutate_barriers.sh
echo "== fuzzing"
scripts/fuzz.sh 60 || [ $? = 77 ]
echo "== 1,000 stops at random moments"
TUNDRA_STOPS=1000 build/tests/stops_test --gtest_filter='*EveryCommand*'
echo "== nvcc for every architecture"
tests/nvcc_test.sh build/tundra . --full || [ $? = 77 ]
echo "== old processors, in an emulator"
TUNDRA_FULL=1 tests/other_machines_test.sh build/tundra . || [ $? = 77 ]
echo "== aarch64, compiled here and run in an emulator"
scripts/check_arm64.sh || [ $? = 77 ]
