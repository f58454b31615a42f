#!/usr/bin/env bash
# Machines that are not this one. The program runs on every x86-64: outside of the sections of the levels (cmake/levels.sh) no
# instruction is newer than SSE2, and on old processors, played by qemu, it computes what TUNDRA_CPU_LEVEL lets this machine
# compute. Without oneDNN it does the same, slower. Arguments: the binary, the folder of the sources. With TUNDRA_FULL=1 more
# processors, and every operation on some of them.
set -uo pipefail
binary=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
bad() { echo "FAILED: $*"; failed=1; }
[ "$(uname -m)" = x86_64 ] || { echo "not an x86-64"; exit 77; }
nm -D "$binary" | grep -q __asan_init && { echo "sanitizers: the levels are not joined"; exit 77; }

# ---- the code. Registers of AVX and AVX-512, and what SSE3 to SSE4.2 brought.
objdump -d --no-show-raw-insn "$binary" >"$work/code" || bad "objdump failed"
awk '/^Disassembly of section/ { section = $4; next }
     section !~ /^level_/ && /%[yz]mm|%k[0-7]|\tv[a-z]|\t(popcnt|lzcnt|crc32|p?blendv|pmulld|pshufb|ptest|round[sp][sd]|pmovzx|pmovsx|pext|pdep|shlx|shrx|sarx|mulx|movbe) / { print section, $0 }
     section ~ /^level_/ { ++levels }
     END { print levels + 0 > "/dev/stderr" }' "$work/code" >"$work/newer" 2>"$work/levels"
[ ! -s "$work/newer" ] || { bad "instructions that not every x86-64 has:"; head "$work/newer"; }
[ "$(cat "$work/levels")" -gt 1000 ] || bad "no level has code of its own"

# ---- trained here, used elsewhere
cd "$work" || exit 2
"$binary" synth shots --images 60 --size 96x64 -q && "$binary" train shots --out run --image-size 32 --batch 8 --epochs 1 -q >/dev/null || bad "training failed"
mkdir few
cp $(find shots/test -name '*.jpg' | sort | head -2) few
export OMP_WAIT_POLICY=passive
classify() { "${@:2}" "$binary" classify few --model run --out "$1" --threads 1 -q; }

# ---- without oneDNN: a file that is no library lies before it
mkdir none
for name in libdnnl.so.{2,3,3.1,3.2,3.3,3.4,3.5,3.6,3.7,3.8}; do echo nothing >none/$name; done
classify with.csv env || bad "classify"
classify without.csv env LD_LIBRARY_PATH="$work/none" 2>note || bad "without oneDNN: $(cat note)"
grep -q '^note: without oneDNN (.*libdnnl.*) own loops' note || bad "no note: $(cat note)"
paste -d, with.csv without.csv | awk -F, 'NR > 1 { n = NF / 2; if ($2 != $(n + 2) || ($3 - $(n + 3)) ^ 2 > 1e-8) exit 1 }' || bad "other classes without oneDNN"
LD_LIBRARY_PATH=$work/none "$binary" train shots --out other --image-size 32 --batch 8 --epochs 1 >said || bad "training without oneDNN"
grep -q 'without oneDNN' said || bad "the run's first lines do not say that oneDNN is missing"

qemu=$(command -v qemu-x86_64-static || command -v qemu-x86_64) ||
    { [ $failed = 0 ] || exit 1; echo "the rest is skipped: qemu-x86_64 is not installed (apt-get install qemu-user-static)"; exit 77; }
same() {  # level, processor...: they compute what this machine does at this level
    classify "$1.csv" env TUNDRA_CPU_LEVEL="$1" 2>"$1.err" ||
        { grep -q 'this processor has' "$1.err" && echo "$1 is not compared: this machine lacks it" || bad "$1: $(cat "$1.err")"; return; }
    for processor in "${@:2}"; do
        classify "$processor.csv" "$qemu" -cpu "$processor" 2>"$processor.err" || bad "$processor: exit code $?: $(tail -3 "$processor.err")"
        cmp "$1.csv" "$processor.csv" || bad "$processor computes something else than TUNDRA_CPU_LEVEL=$1 here"
    done
}
if [ "${TUNDRA_FULL:-}" = 1 ]; then
    same plain qemu64 Conroe Nehalem Westmere SandyBridge Denverton Opteron_G3
    same avx2 Haswell Broadwell EPYC Skylake-Server Icelake-Server
    for processor in qemu64 Nehalem SandyBridge Haswell; do  # every operation; 10 s each
        "$qemu" -cpu $processor "$(dirname "$binary")/tests/cpu_level_test" --gtest_brief=1 >ops 2>&1 || bad "$processor: $(tail -5 ops)"
        "$qemu" -cpu $processor "$(dirname "$binary")/tests/conv_int8_test" --gtest_brief=1 --gtest_filter='ConvInt8.*' >ops 2>&1 || bad "$processor: $(tail -5 ops)"
    done
else
    same plain Nehalem
    same avx2 Haswell
fi
exit $failed
