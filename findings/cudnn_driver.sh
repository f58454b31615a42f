#!/usr/bin/env bash
# Asked about a GPU that is only described, cuDNN hides all run-time compiled engines where no libcuda.so.1 can be
# loaded.
#
# Package:  nvidia-cudnn-cu13 9.26.0.51, C backend API, a device description (H200) in place of a GPU.
# Input:    3x3 convolution + bias + ReLU in float16, the most common graph of an inference network.
# Guess:    the description exists to make a driver unnecessary, so the answer does not depend on one; or a status
#           says that it is missing.
# What it does: without a driver the heuristics end with SUCCESS and an empty list, as if no engine of cuDNN could run
#           this graph on that GPU. With a libcuda.so.1 in which every function returns 0 and does nothing: nine
#           configurations. Whoever writes down on a build machine what cuDNN supports writes down too little.
#           (9.28.1.4 no longer keeps it quiet: SUBLIBRARY_LOADING_FAILED, for every graph.)
# Ends with 0 while this is so, with 1 when it has changed. x86-64 Linux without NVIDIA's driver, C compiler, Python;
# downloads about 370 MB.
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

if LD_LIBRARY_PATH=$cudnn/lib python3 -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2> /dev/null; then
    echo "this machine has NVIDIA's driver: the first half of the question cannot be asked"
    exit 2
fi
without=$(LD_LIBRARY_PATH=$cudnn/lib "$folder/engines" "no libcuda.so.1" half float br) || true
with=$(LD_LIBRARY_PATH=$folder/driver:$cudnn/lib "$folder/engines" "an empty libcuda.so.1" half float br) || true
echo "$without"
echo "$with"
[ "$without" = "no libcuda.so.1: CUDNN_STATUS_SUCCESS, 0 configurations, 0 of them compiled at run time" ] &&
    [ "$with" = "an empty libcuda.so.1: CUDNN_STATUS_SUCCESS, 9 configurations, 9 of them compiled at run time" ]
