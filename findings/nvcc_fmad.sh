#!/usr/bin/env bash
# nvcc's -fmad=false is lost in PTX for float16 and bfloat16, and in LTO-IR for float as well.
#
# Packages: nvidia-cuda-nvcc, nvidia-nvvm, nvidia-cuda-crt, nvidia-cuda-runtime, nvidia-cuda-cccl,
#           nvidia-cuda-nvdisasm, all of CUDA 13.5.
# Input:    o = a * b + c in float, __half and __nv_bfloat16 with the operators of CUDA's own headers.
# Guess:    (1) with -fmad=false the multiplication and the addition round on their own, wherever the PTX is assembled
#           later, because nvcc writes that into the PTX (mul.rn, add.rn). (2) Without the flag, one source has the
#           same roundings in bfloat16 on every GPU that knows the type.
# What it does: (1) for float the PTX says mul.rn.f32, add.rn.f32; for the 16-bit types it says mul.f16, add.f16 and
#           mul.bf16, add.bf16 without .rn, and the flag is lost: ptxas, called with its defaults as a driver does for
#           PTX that it finds in a program, makes one fused instruction of them. Only a cubin made by nvcc in one go
#           keeps the two roundings. Safe: __hmul_rn and __hadd_rn. In LTO-IR (device link-time optimization) nothing
#           is left of the flag, even for float: the file is the same byte for byte with and without it.
#           (2) bfloat16 is rounded twice on sm_80 and once on sm_90; PTX for compute_80 is rounded twice on sm_90
#           too. With a = b = 1 + 2^-7 and c = -(1 + 2^-6) in bfloat16, one rounding gives 2^-14, two give 0.
# Shown in the machine code; no GPU is needed. Ends with 0 while this is so, with 1 when it has changed. x86-64 Linux,
# C++ compiler, Python; downloads about 140 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip -q install --root-user-action ignore --no-deps --target "$folder/wheels" nvidia-cuda-nvcc==13.5.37 \
    nvidia-nvvm==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-cuda-runtime==13.5.37 nvidia-cuda-cccl==13.3.5.0.6 \
    nvidia-cuda-nvdisasm==13.5.37
export PATH=$folder/wheels/nvidia/cu13/bin:$PATH
cd "$folder"
cat > kernels.cu <<'CUDA'
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void float32(float* o, float a, float b, float c) { *o = a * b + c; }
extern "C" __global__ void float16(__half* o, __half a, __half b, __half c) { *o = a * b + c; }
extern "C" __global__ void bfloat16(__nv_bfloat16* o, __nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
    *o = a * b + c;
}
CUDA

# How often each kernel of a cubin rounds: 1 for one fused instruction, 2 for two instructions.
roundings() {
    nvdisasm -c "$1" | awk '
        /^\.text\./ { sub(/^\.text\./, ""); sub(/:.*/, ""); kernel = $0 }
        / (FFMA|FMUL|FADD|HFMA2|HMUL2|HADD2)[ .]/ && !/HADD2\.F32/ { count[kernel]++ }
        END { printf "float32 %d, float16 %d, bfloat16 %d\n", count["float32"], count["float16"], count["bfloat16"] }'
}

nvcc -fmad=false -arch=sm_90 -cubin kernels.cu -o direct.cubin
nvcc -fmad=false -arch=compute_90 -ptx kernels.cu -o separate.ptx
ptxas -arch=sm_90 separate.ptx -o separate.cubin
nvcc -arch=sm_80 -cubin kernels.cu -o ampere.cubin
nvcc -arch=sm_90 -cubin kernels.cu -o hopper.cubin
nvcc -arch=compute_80 -ptx kernels.cu -o ampere.ptx
ptxas -arch=sm_90 ampere.ptx -o moved.cubin
for flag in true false; do nvcc -fmad=$flag -rdc=true -dlto -arch=lto_90 -ltoir kernels.cu -o lto-$flag.ltoir; done
seen=$(echo "-fmad=false, cubin for sm_90: $(roundings direct.cubin)"
    echo "-fmad=false, PTX, assembled for sm_90 by ptxas: $(roundings separate.cubin)"
    echo "default, cubin for sm_80: $(roundings ampere.cubin)"
    echo "default, cubin for sm_90: $(roundings hopper.cubin)"
    echo "default, PTX for compute_80, assembled for sm_90: $(roundings moved.cubin)")
echo "roundings of a * b + c"
echo "$seen"
grep -oE '(mul|add)\.(rn\.)?(f32|f16|bf16)' separate.ptx | sort | uniq -c
lto=$(cmp -s lto-true.ltoir lto-false.ltoir && echo "the same" || echo "not the same")
echo "LTO-IR with -fmad=true and with -fmad=false: $lto"
[ "$lto" = "the same" ] &&
    [ "$(sed 's/.*: //; s/[a-z]*[0-9]* //; s/, [a-z]*[0-9]* / /g' <<< "$seen" | xargs)" = \
        "2 2 2 2 1 1 1 1 2 1 1 1 1 1 2" ]
