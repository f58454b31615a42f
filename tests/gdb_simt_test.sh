#!/usr/bin/env bash
# The example of virtual_gpu/simt/README.md compiles alone, and gdb stops in one of its threads, shows shared memory and the stack.
# usage: gdb_simt_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
command -v gdb >/dev/null || { echo "skipped: there is no gdb here"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
awk '/^```cpp/ { code = 1; next } /^```/ { code = 0 } code' virtual_gpu/simt/README.md >"$work/reverse.cu"
cat >"$work/main.cpp" <<'CODE'
#include "simt.h"
void run_reverse(float* out, const float* in, simt::stream_t stream);
int main() {
    float numbers[64];
    for (int i = 0; i < 64; ++i) numbers[i] = float(i);
    void *in = simt::device_malloc(sizeof numbers), *out = simt::device_malloc(sizeof numbers);
    simt::copy(in, numbers, sizeof numbers);
    run_reverse(static_cast<float*>(out), static_cast<const float*>(in), {});
    simt::copy(numbers, out, sizeof numbers);
    return numbers[0] == 63 ? 0 : 1;
}
CODE
cp virtual_gpu/simt/*.h virtual_gpu/simt/*.cpp "$work"
rm "$work/race.cpp"
cd "$work" || exit 2
"${CXX:-g++}" -g -std=c++20 -fno-strict-aliasing -ffp-contract=off -x c++ reverse.cu -x none ./*.cpp -ldl -pthread -o example || exit 1
./example || { echo "the example of the README gives wrong numbers"; exit 1; }
line=$(grep -n '63 - threadIdx' reverse.cu | cut -d: -f1)
gdb -q -nx -batch -ex 'set confirm off' -ex "break reverse.cu:$line if threadIdx.x == 37 && blockIdx.x == 0" -ex run \
    -ex 'print threadIdx.x' -ex 'print s[5]' -ex backtrace ./example >gdb.log 2>&1
if grep -q "ptrace: Operation not permitted" gdb.log; then
    echo "skipped: gdb must not trace programs here"
    exit 77
fi
for wanted in '^\$1 = 37$' '^\$2 = 5$' '^#0 .*reverse (out=.*reverse.cu:'"$line" 'simt::Fiber::start' 'simt_fiber_trampoline'; do
    grep -q "$wanted" gdb.log || { cat gdb.log; echo "gdb did not show: $wanted"; exit 1; }
done
! grep -q 'corrupt stack' gdb.log || { cat gdb.log; exit 1; }
