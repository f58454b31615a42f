// Turns errors of the CUDA runtime into messages that say what to do.
// https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
#pragma once

#include <cuda_runtime_api.h>

#include <fstream>
#include <string>

#include "base/error.h"

inline std::string text_of(cudaError_t error) {
    return fmt::format("{} (CUDA error {})", cudaGetErrorString(error), int(error));
}

// After most errors that are not the caller's, every later call of the process may fail or hang.
inline bool gpu_is_lost(cudaError_t error) {
    switch (int(error)) {
        case 0:  // success
        case 1:
        case 2:
        case 9:   // invalid value, memory allocation, invalid configuration
        case 98:  // invalid device function
        case 209:
        case 218:
        case 222:  // no kernel image for this GPU, invalid or unsupported PTX
        case 400:
        case 600:  // invalid handle, not ready
        case 701:  // launch out of resources
        case 801:  // not supported
            return false;
    }
    return int(error) < 900 || int(error) > 910;  // 900 to 910: mistakes during stream capture
}

// Says why no GPU can be used, and what to do.
[[noreturn]] inline void fail_without_gpu(cudaError_t error, int driver, int runtime) {
    const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    if (int(error) == 35 && driver == 0)
        fail(Fault::usage,
             "--device cuda: no NVIDIA driver is installed; install one, give the container its GPU, or use --device "
             "cpu");
    if (int(error) == 35)
        fail(Fault::usage,
             "--device cuda: the NVIDIA driver is too old: it knows CUDA {}, this program is built with {}; update the "
             "driver",
             version(driver), version(runtime));
    if (int(error) == 100 || error == cudaSuccess)
        fail(Fault::usage,
             "--device cuda: no NVIDIA GPU is visible; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or use --device "
             "cpu");
    fail(Fault::usage, "--device cuda: the GPU cannot be used: {}; look at nvidia-smi, or use --device cpu",
         text_of(error));
}

// "580.159.03", or CUDA's version if the file is missing.
inline std::string driver_text(int cuda_version) {
    std::ifstream file("/proc/driver/nvidia/version");
    for (std::string word; file >> word;)
        if (word.find_first_not_of("0123456789.") == word.npos && word.find('.') != word.npos) return word;
    return fmt::format("for CUDA {}.{}", cuda_version / 1000, cuda_version % 1000 / 10);
}

inline void require_gpu(int gpu, int count) {
    if (gpu >= count)
        fail(Fault::usage, "--device cuda:{}: there {}, counted from 0", gpu,
             count == 1 ? "is one GPU here" : fmt::format("are {} GPUs here", count));
}

inline std::string bus_of(int gpu) {
    char text[32] = "";
    return cudaDeviceGetPCIBusId(text, sizeof text, gpu) == cudaSuccess ? text : "";
}
