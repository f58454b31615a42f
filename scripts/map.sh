#!/usr/bin/env bash
# The map of folders in README.md, with the lines of source in each.
#
#   scripts/map.sh            prints it
#   scripts/map.sh --write    puts it into README.md, between the two comments `map`
set -euo pipefail
cd "$(dirname "$0")/.."

rows() {  # folder, what it holds, where to start
    row base "errors and exit codes, durable files, hash, text, random numbers, CSV, safetensors, processors: nothing here knows a network" base/error.h
    row virtual_gpu "CUDA without a GPU: the execution model that runs the \`.cu\` files on the CPU, nvcc's PTX executed on the CPU, and a stand-in for the CUDA runtime" virtual_gpu/README.md
    row kernels "arithmetic on raw pointers: per operation one header, CPU loops and CUDA kernels; \`kernels/conv/\` for convolutions" kernels/batch_norm.h
    row engine "graph, gradients, memory plan, replay, parameters, devices" engine/graph.h
    row models "ResNet and YOLO; \`models/files/\` reads PyTorch, safetensors and Keras files" models/resnet.cpp
    row data "images in and out: decoding, EXIF, resizing, data sets, splits, augmentation, cache, loader" data/loader.h
    row predict "classifier, detector, tiles, metrics, evaluation, the model file" predict/detector.h
    row train "optimizer, schedule, training step, run, checkpoints; \`train/minimal.cpp\` is a whole trainer in 100 lines" train/minimal.cpp
    row app "the program \`tundra\`: one file per command; \`app/detect/\`, \`app/export/\`, \`app/jobs/\`, \`app/report/\`, \`app/synth/\`" app/main.cpp
    row tests "GoogleTest, golden numbers of other programs, crash and fuzz tests" tests/check_op.h
    row bench "operations and whole steps against the limits of the machine; \`bench/compare/\` runs peers beside Tundra" bench/step.cpp
}

row() { printf '| `%s/` | %d | %s | [%s](%s) |\n' "$1" "$(count "$1")" "$2" "$(basename "$3")" "$3"; }
count() { find "$1" -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.py' \) -print0 | xargs -0 cat | wc -l; }

map=$(printf '| folder | lines | holds | start with |\n| --- | ---: | --- | --- |\n'; rows)
[ "${1:-}" = --write ] || { printf '%s\n' "$map"; exit 0; }
MAP=$map awk '/<!-- map/ { print; print ENVIRON["MAP"]; skip = 1 } /<!-- end of the map/ { skip = 0 } !skip' README.md >README.md.new
mv README.md.new README.md
