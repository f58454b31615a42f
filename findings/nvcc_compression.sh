#!/usr/bin/env bash
# nvcc's --compress-mode=speed is another format, not a faster level of the same one.
#
# Packages: nvidia-cuda-nvcc, nvidia-nvvm, nvidia-cuda-crt, nvidia-cuda-runtime, nvidia-cuda-cccl, all of CUDA 13.5.
# Input:    one kernel, PTX in a fat binary, in each mode: default, size, balance, speed.
# Guess:    since nvcc compresses fat binaries by Zstandard (12.8), the modes are levels of it.
# What it does: default, size and balance write a Zstandard frame; speed writes one raw LZ4 block, without a frame and
#           without a magic number, as nvcc before 12.8 did; only another bit among the flags of the entry tells. A
#           program that reads the PTX or the machine code out of binaries, and knows Zstandard, finds nothing there.
# Shown without a GPU. Ends with 0 while this is so, with 1 when it has changed. x86-64 Linux, C++ compiler, Python;
# downloads about 140 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip -q install --root-user-action ignore --no-deps --target "$folder/wheels" nvidia-cuda-nvcc==13.5.37 \
    nvidia-nvvm==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-cuda-runtime==13.5.37 nvidia-cuda-cccl==13.3.5.0.6 lz4==4.4.5
export PATH=$folder/wheels/nvidia/cu13/bin:$PATH
cd "$folder"
{
    echo 'extern "C" __global__ void sums(float* o, const float* x) {'
    for i in $(seq 40); do echo "    o[$i] = x[$i] * ${i}.5f + x[$((i + 1))];"; done
    echo '}'
} > sums.cu
for mode in default size balance speed; do
    nvcc -arch=compute_80 --compress-mode=$mode --fatbin sums.cu -o $mode.fatbin
done
cat > look.py <<'PYTHON'
import struct, sys
sys.path.insert(0, 'wheels')
import lz4.block

kinds = []
for mode in ('default', 'size', 'balance', 'speed'):
    data = open(f'{mode}.fatbin', 'rb').read()
    entry = data[16:]                                         # behind the header of the file
    header, = struct.unpack_from('<I', entry, 4)
    compressed, = struct.unpack_from('<I', entry, 16)
    flags, = struct.unpack_from('<Q', entry, 40)
    text, = struct.unpack_from('<Q', entry, 56)
    payload = entry[header:header + compressed]
    if payload.startswith(b'\x28\xb5\x2f\xfd'):
        kind = 'Zstandard'
    else:
        kind = 'LZ4' if b'.entry sums' in lz4.block.decompress(payload, uncompressed_size=text) else 'unknown'
    kinds.append(kind)
    print(f'{mode:8} {kind:10} flags {flags:#x}, {compressed} of {text} bytes')
sys.exit(kinds != ['Zstandard'] * 3 + ['LZ4'])
PYTHON
python3 look.py
