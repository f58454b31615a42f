#!/usr/bin/env bash
# The type of the bias, and whether it is added before or after the residual, decide if cuDNN has ready-made code.
#
# Package:  nvidia-cudnn-cu13 9.26.0.51, C backend API, a device description (H200) in place of a GPU.
# Input:    3x3 convolution, bias, residual, ReLU; images, filters and residual in float16 or float32, sums in
#           float32.
# Guess:    64 numbers of bias are added in float32 in any case, and a + b + c may be added in either order, so all
#           forms have the same engines. A float32 bias beside float16 images is even the careful choice.
# What it does: with a bias of the images' type, after the residual or without one, the heuristics list 38
#           configurations (float32: 35), all ready-made. With a float32 bias beside float16 images, or with the bias
#           before the residual in either type, not one ready-made engine is left: 9 (10) configurations that are all
#           compiled at run time, which costs seconds per layer and needs NVRTC and a driver.
# Ends with 0 while this is so, with 1 when it has changed. x86-64 Linux, C compiler, Python; downloads about 370 MB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip -q install --root-user-action ignore --no-deps --target "$folder/wheel" nvidia-cudnn-cu13==9.26.0.51
cudnn=$folder/wheel/nvidia/cudnn
mkdir "$folder/cuda" "$folder/driver"
# cuDNN's headers name CUDA's, of which they need three types.
echo 'typedef struct CUstream_st* cudaStream_t; typedef struct CUgraph_st* cudaGraph_t;' \
    > "$folder/cuda/cuda_runtime_api.h"
echo 'typedef enum { MAJOR, MINOR, PATCH } libraryPropertyType;' > "$folder/cuda/library_types.h"
cc -I"$folder/cuda" -I"$cudnn/include" "$here/cudnn_engines.c" "$cudnn/lib/libcudnn.so.9" -o "$folder/engines"
# A libcuda.so.1 that can be loaded and does nothing.
for name in cuGetErrorName cuGetErrorString cuCtxGetCurrent cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent \
    cuStreamGetCtx cuStreamGetGreenCtx cuDriverGetVersion cuLinkCreate cuLinkAddData cuLinkComplete cuLinkDestroy \
    cuLaunchKernel cuLaunchKernelEx cuLaunchCooperativeKernel cuDeviceGetCount cuDeviceGet cuLibraryLoadData \
    cuLibraryLoadFromFile cuLibraryGetKernel cuLibraryUnload cuKernelSetAttribute cuKernelGetAttribute \
    cuKernelGetFunction cuOccupancyMaxPotentialClusterSize cuModuleLoadData cuModuleGetFunction cuModuleUnload \
    cuTensorMapEncodeTiled cuTensorMapEncodeIm2col; do
    echo "int $name(void) { return 0; }"
done > "$folder/driver.c"
cc -w -shared -fPIC -Wl,-soname,libcuda.so.1 "$folder/driver.c" -o "$folder/driver/libcuda.so.1"

export LD_LIBRARY_PATH=$folder/driver:$cudnn/lib
seen=$("$folder/engines" "float16, float16 bias, ReLU" half half br
    "$folder/engines" "float16, residual, float16 bias, ReLU" half half zbr
    "$folder/engines" "float16, float16 bias, residual, ReLU" half half bzr
    "$folder/engines" "float16, float32 bias, ReLU" half float br
    "$folder/engines" "float16, residual, float32 bias, ReLU" half float zbr
    "$folder/engines" "float32, residual, float32 bias, ReLU" float float zbr
    "$folder/engines" "float32, float32 bias, residual, ReLU" float float bzr)
echo "$seen"
[ "$(sed 's/.*SUCCESS, //; s/ configurations, /,/; s/ of them.*//' <<< "$seen" | xargs)" = \
    "38,0 38,0 9,9 9,9 9,9 35,0 10,10" ]
