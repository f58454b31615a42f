#!/usr/bin/env bash
# A program with the device cuda needs neither cuDNN nor cuBLASLt to start; it opens them where they are, where the user names a
# folder, and never in the current folder or a relative one.  usage: cuda_libraries_test.sh BINARY SOURCE_DIR   (3 s)
set -u
binary=$1
asks=$(dirname "$binary")/tests/cudnn_plans_test  # opens cuDNN without a GPU
[ -x "$asks" ] || { echo "skipped: $asks is not built"; exit 77; }
"$asks" --gtest_filter='*Skipped*' 2>&1 | grep -q "no cuDNN" && { echo "skipped: this build has no device cuda"; exit 77; }
command -v readelf >/dev/null && command -v gcc >/dev/null || { echo "skipped: readelf or gcc is not installed"; exit 77; }
readelf -d "$binary" | grep NEEDED | grep -E "cudnn|cublas" && { echo "$binary does not start without these"; exit 1; }

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/lib"
echo '#include <stdio.h>
__attribute__((constructor)) static void opened(void) { puts("THE FALSE ONE"); }' >"$work/false.c"
gcc -shared -fPIC "$work/false.c" -o "$work/libcudnn.so.9" && cp "$work/libcudnn.so.9" "$work/lib" || exit 2
cd "$work" || exit 2
ask() { env -u CUDNN_PATH -u CUDA_PATH -u CUDA_HOME -u LD_LIBRARY_PATH "$@" "$asks" --gtest_filter='*ChoiceIsTaken*' >out 2>&1; }
failed=0
for where in A=1 CUDNN_PATH=. CUDNN_PATH=lib CUDA_HOME= VIRTUAL_ENV=.; do
    ask "$where" && ! grep -q "THE FALSE ONE" out || { echo "with $where:"; cat out; failed=1; }
done
# A folder that the user named comes first; what lies there is too old, and the message names it.
ask CUDNN_PATH="$work" && { echo "CUDNN_PATH is not looked at"; failed=1; }
grep -q "THE FALSE ONE" out && grep -q "cuDNN 9 has no cudnn.*too old" out || { cat out; failed=1; }
exit $failed
