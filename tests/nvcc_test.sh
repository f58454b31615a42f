#!/usr/bin/env bash
# nvcc makes machine code of every kernel without a warning and without a spilled register, for one GPU of each generation.
# The build asks the same of its own architecture, and ptx_widths_test looks at what each kernel moves per access.
# usage: nvcc_test.sh BINARY SOURCE_DIR --full   (or TUNDRA_NVCC_FULL=1; without, it is skipped: two minutes on two cores)
set -u
cd "$2" || exit 2
[ "${3:-}" = --full ] || [ -n "${TUNDRA_NVCC_FULL:-}" ] || { echo "skipped: --full was not asked for"; exit 77; }
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || { echo "skipped: there is no nvcc here"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

compile() {  # architecture, file
    log=$work/$1-$(basename "$2").log
    "$nvcc" -std=c++20 -O3 -arch="sm_$1" -Werror all-warnings -Xptxas -v,--warn-on-spills -DTUNDRA_CUDA_FLAVOUR -I. \
        -c "$2" -o "$log.o" >"$log" 2>&1 && return
    echo "sm_$1: nvcc refuses $2:"
    grep -v 'ptxas info' "$log" | head -20
    return 1
}
export -f compile
export nvcc work

failed=0
for architecture in 80 90 100 120; do
    printf "%s\n" kernels/*.cu kernels/conv/*.cu | xargs -P 2 -I {} bash -c "compile $architecture {}" || failed=1
    echo "sm_$architecture: $(cat "$work/$architecture"-*.log | grep -c 'Compiling entry') kernels compiled"
done
exit $failed
