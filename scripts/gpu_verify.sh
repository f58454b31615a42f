#!/usr/bin/env bash
# Everything that only a GPU can show, in steps of at most nine minutes, on a bare x86-64 machine with nvcc, cuDNN, PyTorch and
# no network. Packages that are missing there (headers and libraries) come as .deb files in a folder.
#
#   scripts/gpu_verify.sh carry            here, with network: downloads the packages into .carry (ignored by git)
#   scripts/gpu_verify.sh STEP [--dry-run] there, a step or `all`:
#       build      the binaries, the tests, the benches                kernels    the time of each of our kernels and plans
#       quick      the most valuable checks, for a GPU that is lent for minutes: kernels against simt, losses of training, our
#                  speeds, PyTorch eager in bf16, memcheck; the steps below repeat it in full
#       test       all tests on cuda                                   bench      ResNet-50 beside PyTorch, training and inference
#       sanitize   compute-sanitizer's four tools                      detect     YOLOv5x6 at 1280x960 beside PyTorch
#       parity     losses, gradients, updates against PyTorch's        pipeline   JPEG files to classes; the demo
#
# With 15 minutes in all: `build` in one call, `quick` in the next (TUNDRA_STEP_SECONDS=240).
# Results go to $OUT (default: gpu_results): a log per step, and result.json, which every step adds to.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-gpu_results}
step=${1:-}
dry=0
[ "${2:-}" = --dry-run ] && dry=1
limit=${TUNDRA_STEP_SECONDS:-540}
build="build-gpu"
carry=.carry
started=$SECONDS
python=$(command -v python3 || true)

packages="libfmt-dev libfmt9 nlohmann-json3-dev libcli11-dev libxxhash-dev libxxhash0 libzip-dev libzip4 libturbojpeg0-dev
libturbojpeg0 libjpeg62-turbo-dev libjpeg62-turbo libexif-dev libexif12 libstb-dev libdnnl-dev libdnnl2 libgtest-dev zlib1g-dev
zlib1g libbenchmark-dev libgoogletest-dev googletest libhdf5-dev"

say() { printf '%s\n' "$*"; }

run() {  # seconds left of the step, then the command; in a dry run only its text
    local left=$((limit - (SECONDS - started)))
    if [ $dry = 1 ]; then say "would run (${left} s): $*"; return 0; fi
    [ $left -gt 5 ] || { say "no time is left for: $*"; return 124; }
    timeout --kill-after=10 "$left" "$@"
}

note() {  # name, exit code, log: one entry of result.json
    [ $dry = 1 ] && return 0
    "$python" - "$out/result.json" "$1" "$2" "$3" <<'PYTHON'
import json, os, re, subprocess, sys
path, name, code, log = sys.argv[1:]
def said(*command):
    try: return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except Exception as e: return f"unknown: {e}"
result = json.load(open(path)) if os.path.exists(path) else {}
result["commit"] = said("git", "describe", "--always", "--dirty", "--abbrev=12") or os.environ.get("TUNDRA_COMMIT", "unknown")
result["date"] = said("date", "-u", "+%Y-%m-%dT%H:%M:%SZ")
fields = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
result["gpu"] = dict(zip(fields.split(","), said("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader").split(", ")))
result["nvcc"] = said("nvcc", "--version").splitlines()[-1:]
text = open(log, errors="replace").read() if os.path.exists(log) else ""
entry = {"exit_code": int(code), "log": os.path.basename(log)}
entry["numbers"] = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("RESULT ")]
entry["images_per_second"] = [line for line in text.splitlines() if "images/s" in line]
if m := re.search(r"(\d+)% tests passed.*", text): entry["tests"] = m.group(0)
if m := re.findall(r"ERROR SUMMARY: (\d+) error", text): entry["sanitizer_errors"] = [int(x) for x in m]
result.setdefault("steps", {})[name] = entry
json.dump(result, open(path, "w"), indent=1)
PYTHON
}

logged() {  # name, command...: runs it into a log and notes how it ended
    local name=$1 code
    shift
    if [ $dry = 1 ]; then run "$@"; return; fi
    run "$@" >"$out/$name.log" 2>&1
    code=$?
    note "$name" $code "$out/$name.log"
    say "$name: exit code $code ($((SECONDS - started)) s)"
    [ $code = 0 ] || tail -25 "$out/$name.log"
    return $code
}

step_of() {  # name, function: a whole step into one log
    local code
    if [ $dry = 1 ]; then "$2"; return; fi
    "$2" >"$out/$1.log" 2>&1
    code=$?
    note "$1" $code "$out/$1.log"
    tail -40 "$out/$1.log"
    [ $code = 0 ] || failed=1
}

carry_packages() {
    mkdir -p "$carry"
    # shellcheck disable=SC2086
    (cd "$carry" && for p in $packages; do run apt-get download "$p" || say "not there: $p"; done)
    du -sh "$carry"
}

unpack() {  # into a folder of its own: packages of another system can break /
    [ -d "$carry" ] || return 0
    [ -d "$build/root" ] && return 0
    mkdir -p "$build/root"
    for deb in "$carry"/*.deb; do run dpkg -x "$deb" "$build/root" || return 1; done
}

use_root() {
    local root=$PWD/$build/root triplet=x86_64-linux-gnu
    [ -d "$root" ] || return 0
    export PKG_CONFIG_PATH=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
    export CMAKE_PREFIX_PATH=$root/usr LD_LIBRARY_PATH=$root/usr/lib/$triplet:$root/lib/$triplet:${LD_LIBRARY_PATH:-}
    export CPATH=$root/usr/include:$root/usr/include/$triplet LIBRARY_PATH=$root/usr/lib/$triplet:$root/lib/$triplet
}

cudnn_of_python() {  # PyTorch's cuDNN serves where the toolkit has none
    "$python" - <<'PYTHON' 2>/dev/null
import importlib.util, os
spec = importlib.util.find_spec("nvidia.cudnn")
if spec: print(list(spec.submodule_search_locations)[0])
PYTHON
}

configure() {
    local options=(-S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTUNDRA_CUDA=ON -DTUNDRA_CUDA_ARCHS=90-real) cudnn
    command -v ninja >/dev/null && options+=(-G Ninja)
    if [ ! -e /usr/include/cudnn.h ] && [ ! -e /usr/local/cuda/include/cudnn.h ]; then
        cudnn=$(cudnn_of_python)
        [ -n "$cudnn" ] && options+=("-DCUDNN_INCLUDE=$cudnn/include" "-DCUDNN_LIBRARY=$cudnn/lib/libcudnn.so.9")
    fi
    run cmake "${options[@]}"
}

gpu_tests="kernels_cuda_test cuda_runtime_simt_test cudnn_support_test golden_ops_test golden_resnet_test ops_simt_test"

build_all() {
    unpack && use_root && configure || return 1
    # shellcheck disable=SC2086
    run cmake --build "$build" -j "$(nproc)" --target tundra tundra_minimal $gpu_tests bench_step bench_kernels
}

ours() { run "$build/bench/step" --device cuda --size 224 --steps "$@"; }
theirs() { run "$python" scripts/gpu_pytorch.py --steps "$@"; }

quick() {  # a failure does not stop what comes after it
    local bad=0
    use_root
    run env TUNDRA_GPU=1 "$build/tests/kernels_cuda_test" || bad=1
    run "$build/tundra_minimal" --device cuda || bad=1
    TUNDRA_GOLDEN_DEVICE=cuda run "$build/tests/golden_resnet_test" || bad=1
    ours 30 --batch 256 --precision bf16 || bad=1
    ours 30 --batch 256 --precision fp16 || bad=1
    theirs 30 --batch 256 --modes eager || bad=1
    ours 30 --batch 256 --precision bf16 --inference || bad=1
    run "$build/bench/step" --device cuda --precision fp16 --model yolov5x6 --size 960x1280 --inference --batch 8 --steps 20 || bad=1
    sanitize memcheck || bad=1
    return $bad
}

pipeline() {  # camera images from files, and the whole job
    local bad=0 data=$build/images
    use_root
    [ -d "$data" ] || run "$build/tundra" synth "$data" --images 2000 --cameras 20 --size 1280x960 --seed 1 || return 1
    run "$build/tundra" train "$data" --out "$build/run" --fresh --image-size 224 --batch 256 --epochs 3 --device cuda || bad=1
    run "$build/tundra" classify "$data" --model "$build/run" --out "$build/classes.csv" --device cuda || bad=1
    local fixed=(train "$data" --image-size 64 --batch 64 --epochs 3 --device cuda --deterministic -q)
    run "$build/tundra" "${fixed[@]}" --out "$build/run-a" --fresh || bad=1
    run timeout --signal=INT 12 "$build/tundra" "${fixed[@]}" --out "$build/run-b" --fresh  # stopped in the middle
    run "$build/tundra" "${fixed[@]}" --out "$build/run-b" || bad=1                         # and resumed: the same bits
    run cmp "$build/run-a/model.safetensors" "$build/run-b/model.safetensors" || bad=1
    return $bad
}

kernels() {  # each of ours in float32 against the CPU, then its time
    use_root
    run "$build/bench/kernels" --batch 32 --benchmark_filter='^cuda/'
}

detect() {
    local batch bad=0
    use_root
    for batch in 1 8 32; do
        run "$build/bench/step" --device cuda --precision fp16 --model yolov5x6 --size 960x1280 --inference --batch $batch --steps 30 || bad=1
    done
    theirs 30 --yolo x6 --pixels 960x1280 --batch 8 || bad=1
    theirs 30 --yolo x6 --pixels 960x1280 --batch 1 --modes compile || bad=1
    return $bad
}

sanitize() {  # one tool; eager, because a recorded graph hides which kernel it was
    use_root
    run compute-sanitizer --tool "$1" --error-exitcode 9 "$build/tests/kernels_cuda_test" --gtest_filter='KernelsCuda.EveryOperationEqualsSimt'
}

speed() {  # ours and PyTorch's, eager and compiled, in the same minutes
    local batch bad=0
    use_root
    for batch in 256 64; do
        ours 50 --batch $batch --precision bf16 || bad=1
        ours 50 --batch $batch --precision fp16 || bad=1
        theirs 50 --batch $batch || bad=1
        ours 50 --batch $batch --precision bf16 --inference || bad=1
        ours 50 --batch $batch --precision fp16 --inference || bad=1
        theirs 50 --batch $batch --inference || bad=1
    done
    ours 200 --batch 1 --precision fp16 --inference || bad=1
    return $bad
}

[ $dry = 1 ] || mkdir -p "$out"
failed=0
for s in $([ "$step" = all ] && echo build quick test sanitize parity bench detect pipeline kernels || echo "$step"); do
    started=$SECONDS  # each step has its own nine minutes
    case $s in
        carry) carry_packages || failed=1 ;;
        build) if [ $dry = 1 ]; then build_all; continue; fi
               build_all >"$out/build.log" 2>&1; code=$?
               note build $code "$out/build.log"; [ $code = 0 ] || { tail -25 "$out/build.log"; exit 1; } ;;
        test) [ $dry = 1 ] || use_root
              for t in $gpu_tests; do logged "$t" "$build/tests/$t" || failed=1; done ;;
        sanitize) for tool in memcheck racecheck initcheck synccheck; do
                      if [ $dry = 1 ]; then sanitize $tool; continue; fi
                      sanitize $tool >"$out/$tool.log" 2>&1; code=$?
                      note $tool $code "$out/$tool.log"; [ $code = 0 ] || { failed=1; tail -15 "$out/$tool.log"; }
                  done ;;
        parity) [ $dry = 1 ] || use_root  # losses, gradients and updates that PyTorch computed, on the GPU
                export TUNDRA_GOLDEN_DEVICE=cuda
                logged parity "$build/tests/golden_resnet_test" || failed=1 ;;
        quick) step_of quick quick ;;
        bench) step_of bench speed ;;
        detect) step_of detect detect ;;
        pipeline) step_of pipeline pipeline ;;
        kernels) step_of kernels kernels ;;
        *) say "usage: $0 carry | build | quick | test | sanitize | parity | bench | detect | pipeline | kernels | all [--dry-run]"; exit 2 ;;
    esac
done
exit $failed
