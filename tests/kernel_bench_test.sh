#!/usr/bin/env bash
# bench/kernels on the device cuda: nvcc's kernels over the stand-in for the CUDA runtime, small shapes, in each precision and with
# YOLOv5's operations too. Every row must agree with its reference; the JSON has the same fields as the CPU's.
# usage: kernel_bench_test.sh BINARY SOURCE_DIR   (10 s; skipped without nvcc or Google Benchmark)
set -u
bench=$(dirname "$1")/tests/bench_kernels_virtual
[ -x "$bench" ] || { echo "skipped: bench_kernels_virtual is not built"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
bad() { echo "FAILED: $*"; failed=1; }
rows='cuda/(train/(image_batch|global_average_pool|max_pool|cross_entropy|conv[a-z_]*/2x8x8x64|batch_norm[a-z_]*/2x8x8x64)'
rows="$rows|yolov5n/(max_pool|concat|decode_boxes|conv/1x4x4x128))"
for precision in fp32 bf16 fp16; do
    "$bench" --device cuda --precision $precision --batch 2 --size 32 --yolo yolov5n --pixels 64x64 --threads 1 \
        --benchmark_filter="$rows" --benchmark_out="$work/$precision.json" --benchmark_out_format=json \
        >"$work/said" 2>&1 || { tail -n 5 "$work/said"; bad "$precision: exit code"; }
    grep -A12 ERROR "$work/said" | head && grep -q ERROR "$work/said" && bad "$precision: rows that differ from their reference"
    for row in train/conv_backward_weight train/batch_norm_backward train/global_average_pool train/image_batch yolov5n/conv yolov5n/max_pool; do
        grep -q "\"name\": \"cuda/$row/" "$work/$precision.json" || bad "$precision: no row of $row"
    done
    for field in '"real_time"' '"GB/s"' '"GFLOP/s"' '"peak%"' '"time_unit": "ms"' '"cuda_copy_GB_per_s"' '"cuda_product_GFLOP_per_s"'; do
        grep -q -- "$field" "$work/$precision.json" || bad "$precision: no $field"
    done
    [ "$(grep -c error_occurred "$work/$precision.json")" = 0 ] || bad "$precision: errors in the JSON"
done
"$bench" --device nothing >"$work/said" 2>&1 && bad "--device nothing is accepted"
grep -q "the devices are" "$work/said" || bad "no message about --device nothing"
exit $failed
