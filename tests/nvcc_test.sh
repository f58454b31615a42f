#!/usr/bin/env bash
# nvcc accepts every kernel without a warning, no register is spilled, and kernels move 16 bytes per access or say why not.
# usage: nvcc_test.sh BINARY SOURCE_DIR [--full]   --full: sm_80, 100 and 120 besides sm_90 (also: TUNDRA_NVCC_FULL=1)
set -u
cd "$2" || exit 2
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null) || { echo "skipped: there is no nvcc here"; exit 77; }
architectures=90
[ "${3:-}" = --full ] || [ -n "${TUNDRA_NVCC_FULL:-}" ] && architectures="80 90 100 120"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# Kernels that may spill: a regular expression for the name, and why.
allowed_spills=$(cat <<'TABLE'
TABLE
)

# Every kernel that nvcc compiles: file, name, whether it loads (l) and stores (s) 16 bytes at a time somewhere. Then, for those
# that do, how the hot instantiation is mangled if not WIDTH, bf16, ...; for the others (-), why not.
kernels=$(cat <<'TABLE'
attention attention - each number is a lane's of a row of 32 to 128, side by side; its tiles lie in shared memory
batch_norm forward_sums l
batch_norm forward_merge - at most 1 MB of partial sums, all launch
batch_norm forward_ranks - two numbers of a channel and rank
batch_norm forward_elements ls
batch_norm backward_sums l
batch_norm backward_merge - at most 1 MB of partial sums, all launch
batch_norm mean_of_ranks - as forward_ranks
batch_norm backward_elements ls
bias bias_sums l
bias bias_merge - at most 1 MB of partial sums, all launch
direct conv_forward ls I4bf16Li8E
direct conv_backward_data ls I4bf16Li8E
direct conv_backward_weight ls I4bf16Li8E
direct add_parts - adds what one block in hundreds leaves, in order
cross_entropy forward_rows - 2 MB in all, all launch; any number of classes
cross_entropy forward_batch - a number per row
cross_entropy backward_rows - as forward_rows
depthwise depthwise_conv ls
detect decode_boxes ls
detect decode_distances l I4bf16E
detect candidate_keys - of nearly every row only objectness is read
detect select_boxes - 8-byte keys, side by side; waiting for the rounds is what counts
detect_loss detect_sums - of nearly every row only objectness is read
detect_loss detect_merge - a row of sums per block
detect_loss detect_gradient - rows of 5 + classes numbers, seldom 16 bytes; walking over the boxes is what counts
elementwise add ls
elementwise cast l
image image_batch s I4bf16Li[48]E
image camera_batch - single bytes of the planes, as the reduction picks them; stores are words
layout copy_channels ls
layout upsample2 ls
layout upsample2_backward ls
linear product - the reference beside cuBLASLt; tiles turn on their way into shared memory
optimizer sgd ls
optimizer adam ls
optimizer average ls ILi4E
optimizer check_finite l
optimizer add_lost - a number per block
optimizer finish_step - one thread
pool max_pool_forward ls
pool max_pool_backward ls
pool average_forward ls
pool average_backward ls
pool average_pool2 ls
TABLE
)
# Images are read by words of four bytes, at places that a transform gives: no load of 16. Sums over rows leave single numbers, lanes
# side by side: no store of 16.

compile() {  # architecture, file; leaves NAME.log, NAME.ptx, NAME.failed in the folder of the architecture
    name=$(basename "$2" .cu)
    mkdir -p "$work/$1/$name"
    "$nvcc" -std=c++20 -O3 -arch="sm_$1" -Werror all-warnings -DTUNDRA_CUDA_FLAVOUR -I. -Xptxas -v \
        --keep --keep-dir "$work/$1/$name" -c "$2" -o "$work/$1/$name.o" >"$work/$1/$name.log" 2>&1 ||
        touch "$work/$1/$name.failed"
    mv "$work/$1/$name"/*.ptx "$work/$1/$name.ptx" 2>/dev/null
}
export -f compile
export nvcc work

failed=0
for architecture in $architectures; do
    mkdir -p "$work/$architecture"
    printf "%s\n" kernels/*.cu kernels/conv/*.cu | xargs -P 2 -I {} bash -c "compile $architecture {}"
    for file in "$work/$architecture"/*.failed; do
        [ -e "$file" ] || continue
        echo "sm_$architecture: nvcc refuses kernels/$(basename "$file" .failed).cu:"
        head -20 "${file%.failed}.log"
        failed=1
    done

    # "Compiling entry function 'NAME'", and later "... N bytes spill stores, M bytes spill loads"
    spills=$(awk '/Compiling entry function/ { split($0, part, "\047"); name = part[2] }
                  /spill stores/ && ($5 > 0 || $9 > 0) { print name, $5 " bytes stored, " $9 " loaded" }' "$work/$architecture"/*.log)
    while read -r name rest; do
        [ -n "$name" ] || continue
        excused=0
        while read -r pattern reason; do
            [ -n "$pattern" ] && [[ $name =~ $pattern ]] && excused=1 && echo "sm_$architecture: $name spills $rest: $reason"
        done <<<"$allowed_spills"
        [ $excused = 1 ] || { echo "sm_$architecture: $name spills registers: $rest"; failed=1; }
    done <<<"$spills"

    while read -r file kernel needs hot; do
        [ "$needs" = - ] && needs='' hot=I
        awk -v kernel="[0-9]${kernel}${hot:-ILi[48]E.*4bf16}" -v plain="[0-9]${kernel}[EI]" -v needs="$needs" \
            -v where="sm_$architecture: $kernel of kernels/$file.cu" '
            function close_entry() {
                if (inside && needs ~ /l/ && !loads) { print where " loads no 16 bytes at a time: " name; bad = 1 }
                if (inside && needs ~ /s/ && !stores) { print where " stores no 16 bytes at a time: " name; bad = 1 }
            }
            /\.entry/ { close_entry(); name = $0; inside = $0 ~ kernel; seen += needs ? inside : $0 ~ plain; loads = stores = 0 }
            /ld\.global.*\.(v4\.[a-z]32|v2\.[a-z]64)/ { ++loads }
            /st\.global.*\.(v4\.[a-z]32|v2\.[a-z]64)/ { ++stores }
            END { close_entry(); if (!seen) { print where " is not there"; bad = 1 } exit bad }
        ' "$work/$architecture/$file.ptx" || failed=1
    done <<<"$kernels"
    for ptx in "$work/$architecture"/*.ptx; do
        file=$(basename "$ptx" .ptx)
        grep '\.entry' "$ptx" | grep -vE "[0-9]($(awk -v file="$file" '$1 == file { print $2 }' <<<"$kernels" | paste -sd '|'))[EI]" |
            sed "s|^|kernels/$file.cu, a kernel without a row in the table: |" | grep . && failed=1
    done
    echo "sm_$architecture: $(grep -h 'Compiling entry' "$work/$architecture"/*.log | wc -l) kernels compiled"
done
exit $failed
