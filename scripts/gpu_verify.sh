#!/usr/bin/env bash
# Everything that only a GPU can show, in one call of nine minutes on a machine with nothing but an NVIDIA driver and the
# libraries of CUDA and cuDNN, in the system or inside a PyTorch installation. Programs are built before, elsewhere.
#
#   scripts/gpu_verify.sh bundle     here, with nvcc: builds and packs .gpu/bundle.tar.gz (ignored by git, at most 40 MiB)
#   scripts/gpu_verify.sh run        there: all steps, the most telling first; PyTorch beside ours where it is installed
#   scripts/gpu_verify.sh rehearse   anywhere: the same steps in miniature, with nvcc's kernels executed on the CPU and PyTorch
#                                    on the CPU; shows that the script and the programs work, and nothing about a GPU
#
# The archive holds this script too: on a machine without the sources, unpack it and run scripts/gpu_verify.sh there.
# Results go to $OUT (gpu_results): result.json, which has every line as soon as it is printed, log.txt, engines.txt (cuDNN's
# engines as they were chosen), ncu.txt, ncu-norm.txt, sanitizer.txt. SECONDS_IN_ALL (540) is the limit of everything together.
# Exit code: 0 every step passed, 1 one failed or ran out of its time, 3 none failed and some were skipped.
set -uo pipefail
mode=${1:-}
cd "$(dirname "$0")/.." || exit 1
here=$PWD
out=$(realpath -m "${OUT:-gpu_results}")
slower=1 total=${SECONDS_IN_ALL:-540}
[ "$mode" != rehearse ] || slower=8 total=${SECONDS_IN_ALL:-2400}
gpu_tests="kernels_cuda_test golden_resnet_test"

bundle_up() {
    local build=build-gpu folder=.gpu/bundle programs program library
    cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DTUNDRA_CUDA=ON \
        "-DTUNDRA_CUDA_ARCHS=${TUNDRA_CUDA_ARCHS:-90-real;80-virtual;100-virtual}" || return 1
    # shellcheck disable=SC2086
    cmake --build $build -j "${JOBS:-$(nproc)}" --target tundra bench_step $gpu_tests || return 1
    rm -rf $folder .gpu/bundle.tar.gz
    mkdir -p $folder/bin $folder/lib $folder/scripts $folder/golden
    programs="$build/tundra $build/bench/step"
    for program in $gpu_tests; do programs="$programs $build/tests/$program"; done
    for program in $programs; do
        strip -o "$folder/bin/$(basename "$program")" "$program" || return 1
        ldd "$program"
    done | awk '$3 ~ /^\// && $1 !~ /^(libc|libm|libdl|librt|libpthread|libresolv|libcudnn|libcublas)/ || $1 ~ /^libcrypto/ { print $3 }' |
        sort -u | while read -r library; do cp -L "$library" $folder/lib/ || exit 1; done || return 1
    cp scripts/gpu_verify.sh scripts/gpu_pytorch.py bench/compare/yolo_peer.py $folder/scripts/
    cp -r tests/golden/resnet50 $folder/golden/
    git describe --always --dirty --abbrev=12 --exclude '*' >$folder/commit 2>/dev/null || echo unknown >$folder/commit
    tar -C $folder -cf - . | gzip -9 >.gpu/bundle.tar.gz || return 1
    rm -rf $folder
    local bytes
    bytes=$(stat -c %s .gpu/bundle.tar.gz)
    echo "$here/.gpu/bundle.tar.gz: $((bytes / 1048576)) MiB"
    [ "$bytes" -le $((40 * 1048576)) ] || { echo "more than 40 MiB" >&2; return 1; }
}

case $mode in
    bundle) bundle_up; exit ;;
    run | rehearse) ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

# ---- where everything is
work=$(mktemp -d) || exit 1
background=
trap '[ -z "$background" ] || kill $background 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
bundle=${BUNDLE:-$here}
if [ ! -x "$bundle/bin/tundra" ]; then
    [ -e .gpu/bundle.tar.gz ] || { echo "gpu_verify: .gpu/bundle.tar.gz is missing: scripts/gpu_verify.sh bundle" >&2; exit 1; }
    bundle=$work/bundle
    mkdir "$bundle" && tar -C "$bundle" -xzf .gpu/bundle.tar.gz || exit 1
fi
mkdir -p "$out" && rm -f "$out"/{result.json,log.txt,engines.txt,ncu.txt,ncu-norm.txt,sanitizer.txt}
export XDG_CACHE_HOME=$work/cache TORCHINDUCTOR_CACHE_DIR=$work/inductor TORCHINDUCTOR_FX_GRAPH_CACHE=1 \
    TORCHINDUCTOR_AUTOGRAD_CACHE=1 PYTHONUNBUFFERED=1 TUNDRA_GOLDEN=$bundle/golden

python=
for candidate in ${PYTHON:-python3 python /opt/*/bin/python3 /usr/bin/python3}; do  # a name in PYTHON: only that one
    command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("torch") and u.find_spec("torchvision")))' \
        2>/dev/null && python=$candidate && break
done
packages=${python:+$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')}

# CUDA's and cuDNN's libraries outside of what the system searches: toolkits, and NVIDIA's wheels in Python environments.
libraries=$bundle/lib
for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/local/nvidia/lib64 \
    {/usr/lib,/usr/local/lib,/opt/*/lib,"$HOME/.local/lib","${VIRTUAL_ENV:-/none}/lib"}/python3*/{site,dist}-packages/nvidia/*/lib \
    /usr/lib/python3/dist-packages/nvidia/*/lib ${packages:+"$packages"/nvidia/*/lib}; do
    [ -d "$folder" ] && libraries=$libraries:$folder
done

# What ours and PyTorch's steps take, and how large: a GPU's, or the rehearsal's.
if [ "$mode" = run ]; then
    device=cuda peer=cuda precisions="bf16 fp16" tolerance=0.04 loss_size="--size 224 --batch 16" train="--size 224 --batch 256 --steps 30"
    small="--size 32 --batch 128 --steps 40" together=8
    yolo=x6 yolo_size="--size 960x1280 --batch 8 --steps 20" yolo_peer="--pixels 960x1280 --batch 8 --steps 20"
    detectors="yolo11s/736x960 yolov9c/480x640" detector_size="--batch 8 --steps 20"
    export TUNDRA_GPU=cuda TUNDRA_GOLDEN_DEVICE=cuda
else
    device=ptx peer=cpu precisions=bf16 tolerance=0.1 loss_size="--size 32 --batch 4" train="--size 32 --batch 2 --steps 1"
    small="--size 32 --batch 2 --steps 1" together=2
    yolo=n6 yolo_size="--size 64x64 --batch 1 --steps 1" yolo_peer="--pixels 64x64 --batch 1 --steps 1"
    detectors="yolo11n/64x64 yolov9c/64x64" detector_size="--batch 1 --steps 1"
    export TUNDRA_GPU=ptx
fi

# ---- results
quoted() {  # as a JSON string
    local text=${1:0:400}  # before escaping, so that no escape is cut in half
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "$(printf %s "$text" | tr -d '\000-\037')"
}
entry() {  # JSON without its braces; result.json is whole after each
    printf '{%s}\n' "$1" >>"$work/entries"
    { printf '{"rehearsal": %s, "commit": %s, "date": %s, "gpu": %s, "entries": [\n' "$([ "$mode" = run ] && echo false || echo true)" \
        "$commit" "$date" "$gpu"
        sed '$!s/$/,/' "$work/entries"
        echo ']}'; } >"$work/result" && cp "$work/result" "$out/result.json.part" && mv "$out/result.json.part" "$out/result.json"
}
line() {  # step, text
    printf '%4d s  %-12s %s\n' $SECONDS "$1" "$2" | tee -a "$out/log.txt"
    entry "\"step\": \"$1\", \"second\": $SECONDS, \"line\": $(quoted "$2")"
}
counts=(0 0 0)  # passed, failed, skipped
end() {  # step, pass|fail|skip, why
    case $2 in pass) counts[0]=$((counts[0] + 1)) ;; fail) counts[1]=$((counts[1] + 1)) ;; skip) counts[2]=$((counts[2] + 1)) ;; esac
    printf '%4d s  %-12s %s%s\n' $SECONDS "$1" "$(tr a-z A-Z <<<"$2")" "${3:+: $3}" | tee -a "$out/log.txt"
    entry "\"step\": \"$1\", \"second\": $SECONDS, \"status\": \"$2\", \"why\": $(quoted "${3:-}")"
}
# step, its limit in seconds, command: runs it, every line at once into the results. Exit code 77, or a test that skipped
# itself, is a skip; a filter that finds no test is a failure.
step() {
    local name=$1 limit=$(($2 * slower)) code left=$((total - SECONDS - 3))
    shift 2
    [ "$left" -ge 5 ] || { end "$name" skip "no time is left"; return 1; }
    [ "$limit" -le "$left" ] || limit=$left
    : >"$work/$name.txt"
    timeout --kill-after=3 "$limit" "$@" 2>&1 | tee "$work/$name.txt" | while IFS= read -r text; do line "$name" "$text"; done
    code=${PIPESTATUS[0]}
    case $code in
        0) if grep -q SKIPPED "$work/$name.txt"; then end "$name" skip "a test skipped itself"; return 1; fi
            if grep -q '^\[=*\] 0 tests' "$work/$name.txt"; then end "$name" fail "no test has that name"; return 1; fi
            end "$name" pass ;;
        77) end "$name" skip "$(tail -1 "$work/$name.txt")" ;;
        124 | 137) end "$name" fail "more than its $limit s" ;;
        *) end "$name" fail "exit code $code" ;;
    esac
    return "$code"
}
ours() {
    local s=$1 limit=$2 program=$3
    shift 3
    step "$s" "$limit" env "LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$bundle/bin/$program" "$@"
    local code=$?
    cat "$XDG_CACHE_HOME"/tundra/convolutions* 2>/dev/null | sed 's/ {.*//' >"$work/engines"  # without their code
    [ ! -s "$work/engines" ] || cp "$work/engines" "$out/engines.txt"
    return $code
}
theirs() {
    local s=$1 limit=$2
    shift 2
    [ -n "$python" ] || { end "$s" skip "no PyTorch with torchvision here"; return 1; }
    step "$s" "$limit" "$python" "$peers" --device $peer "$@"
}
peers=scripts/gpu_pytorch.py

commit=$(quoted "$(cat "$bundle/commit" 2>/dev/null || echo unknown)")
date=$(quoted "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
gpu=$(quoted "$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu \
    --format=csv,noheader 2>/dev/null | head -1)")
[ "$mode" = run ] || line machine "A REHEARSAL: nothing below is about a GPU"
line machine "$(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown system}"), $(nproc) processors, commit $commit, gpu $gpu"
line machine "PyTorch: ${python:-none}; libraries: ${libraries#*:}"
if [ -n "$python" ] && [ "$mode" = run ]; then  # 77: it has no compiler for its kernels, say
    "$python" $peers --warm --modes compile --batch 256 >"$work/warm.txt" 2>&1 &
    background=$!
fi

# ---- is it right
ours doctor 45 tundra doctor --device $device
ours kernels 60 kernels_cuda_test --gtest_brief=1 --gtest_filter='*OwnKernels*'
ours libraries 75 kernels_cuda_test --gtest_brief=1 --gtest_filter='*OperationsOfLibraries*'
ours training 45 kernels_cuda_test --gtest_brief=1 --gtest_filter='*TrainingFollowsCpu*'
ours golden 40 golden_resnet_test --gtest_brief=1 --gtest_filter='-*Minimal*'  # that one is about simt

# Three steps from the same weights: the losses in each precision beside those of the CPU and of PyTorch.
weights=()
theirs peer-losses 60 --losses "$work/weights.safetensors" $loss_size && weights=(--weights "$work/weights.safetensors")
runs=("cpu fp32" "$device fp32")
for precision in $precisions; do runs+=("$device $precision"); done
for run in "${runs[@]}"; do
    read -r on precision <<<"$run"
    # shellcheck disable=SC2086
    ours "losses-$on-$precision" 40 step --losses --device "$on" --precision "$precision" $loss_size "${weights[@]}"
done
# Within 0.5 % in float32, 4 % in 16 bits (10 where batch normalization is over a few values: the rehearsal); each of ours
# against the CPU's and against PyTorch's in the same precision.
compare_losses() {
    cat "$work"/losses-*.txt "$work/peer-losses.txt" 2>/dev/null | awk -v device="$device" -v tolerance="$tolerance" '
        /^losses of / {
            for (i = 1; i <= NF; ++i) if ($i == "on") { precision = $(i - 1); on = $(i + 1); sub(":", "", on); first = i + 2 }
            key = on " " precision; seen[key] = 1; for (k = 0; k < 3; ++k) loss[key, k] = $(first + k)
            for (k = 0; k < 3; ++k) if (loss[key, k] !~ /^[0-9]+([.][0-9]+)?$/) { print "not three numbers: " $0; bad = 1 }
        }
        function compare(a, b, tolerance,   k, worst, d) {
            if (!(a in seen) || !(b in seen)) return
            for (k = 0; k < 3; ++k) {
                d = loss[a, k] - loss[b, k]; if (d < 0) d = -d; if (loss[b, k] > 1) d /= loss[b, k]
                if (!(d <= worst)) worst = d
            }
            printf "%s beside %s: at most %.3f %% apart, %.1f %% are allowed\n", a, b, 100 * worst, 100 * tolerance
            ++compared; if (!(worst <= tolerance)) bad = 1
        }
        END {
            compare(device " fp32", "cpu fp32", 0.005); compare(device " bf16", "cpu fp32", tolerance); compare(device " fp16", "cpu fp32", tolerance)
            compare(device " fp32", "pytorch fp32", 0.005); compare(device " bf16", "pytorch bf16", tolerance); compare(device " fp16", "pytorch fp16", tolerance)
            if (compared < 2) { print "losses are missing"; bad = 1 }
            exit bad
        }'
}
export -f compare_losses
export work device tolerance
step losses 10 bash -c 'compare_losses'

# ---- how fast; nothing else runs meanwhile
if [ -n "$background" ]; then
    while kill -0 $background 2>/dev/null && [ $SECONDS -lt $((total * 2 / 5)) ]; do sleep 1; done
    if kill $background 2>/dev/null; then line machine "PyTorch's compilation took too long and was ended"; fi
    wait $background 2>/dev/null
    line machine "PyTorch compiled in the background: $(tail -1 "$work/warm.txt")"
    background=
fi
speed() {  # step, limit, options
    local s=$1 limit=$2
    shift 2
    # shellcheck disable=SC2086
    ours "$s" "$limit" step --device $device "$@"
}
for precision in $precisions; do speed train-$precision 35 $train --precision $precision; done
# What two options of `tundra train` gain: several steps as one graph, gradients joined in convolutions.
for steps in 1 $together; do speed small-$steps 25 $small --precision bf16 --steps-per-graph $steps; done
speed train-joined 50 $train --precision bf16 --join-gradients
theirs peer-train 40 $train --modes eager --precisions bf16,fp16
[ "$mode" = run ] && theirs peer-compile 60 $train --modes compile --precisions bf16,fp16
for precision in $precisions; do speed infer-$precision 30 $train --precision $precision --inference; done
speed yolo 110 --model yolov5$yolo --precision fp16 --inference $yolo_size
theirs peer-yolo 40 --yolo $yolo $yolo_peer --modes eager --precisions fp16

# ---- tools: memory errors of our own kernels; detectors without anchors; ten kernels of a step
tool() {  # step, limit, program, arguments...
    local s=$1 limit=$2 program=$3 found check=()
    shift 3
    found=$(command -v "$program" || ls /usr/local/cuda*/bin/"$program" 2>/dev/null | head -1)
    [ -n "$found" ] || { end "$s" skip "no $program here"; return 1; }
    [ "$program" != ncu ] || check=(bash -c 'profiled "$@"' - "$out/$s.txt")
    step "$s" "$limit" env "LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "${check[@]}" "$found" "$@"
}
# log file, command: for ncu, which ends well also where it may not read the counters, and where no kernel had such a name.
profiled() {
    local code
    "${@:2}"
    code=$?
    if grep -q ERR_NVGPUCTRPERM "$1" 2>/dev/null; then echo "no permission to read the counters of the GPU"; return 77; fi
    [ "$code" != 0 ] || grep -q '^"[0-9]' "$1" 2>/dev/null || { echo "no kernel was profiled"; return 1; }
    return $code
}
export -f profiled
if [ "$mode" = run ]; then
    tool sanitizer 60 compute-sanitizer --tool memcheck --error-exitcode 9 --log-file "$out/sanitizer.txt" \
        "$bundle/bin/kernels_cuda_test" --gtest_brief=1 --gtest_filter='*OwnKernels*'
fi
for detector in $detectors; do  # cuDNN compiles engines for their SiLU
    speed "detect-${detector%/*}" 60 --model "${detector%/*}" --size "${detector#*/}" --precision fp16 --inference $detector_size
done
if [ "$mode" = run ]; then
    # In the order of a step: ten launches of nearly as many kernels, and the first normalization.
    of_a_step=("$bundle/bin/step" --device cuda --precision bf16 --size 224 --batch 64 --steps 1)
    profile() {  # step, limit, number of launches, names
        tool "$1" "$2" ncu --section LaunchStats --section Occupancy --section SpeedOfLight --section MemoryWorkloadAnalysis \
            --csv --kernel-name "regex:$4" --launch-count "$3" --log-file "$out/$1.txt" "${of_a_step[@]}"
    }
    profile ncu 40 10 '^(image_batch|max_pool_|average_|(forward|backward)_rows|backward_(sums|merge|elements))'
    profile ncu-norm 30 3 '^forward_(sums|merge|elements)'
fi

line machine "${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped; a skip is not a pass"
[ "${counts[1]}" = 0 ] || exit 1
[ "${counts[2]}" = 0 ] || exit 3
