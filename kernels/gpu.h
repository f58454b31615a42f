// The one header through which a .cu file meets its device: nvcc builds the file for Cuda, g++ for Simt, where the same
// kernels run on the CPU (virtual_gpu/simt). CMake says which. Only .cu and .cuh files include it.
#pragma once

#if defined(TUNDRA_CUDA_FLAVOUR)
#define SIMT_CUDA
#endif

#include "kernels/device.h"
#include "kernels/types.h"
#include "virtual_gpu/simt/simt.h"

#if defined(TUNDRA_SIMT_FLAVOUR)
using Gpu = Simt;
inline simt::stream_t stream_of(const Simt&) { return nullptr; }
#elif defined(TUNDRA_CUDA_FLAVOUR)
using Gpu = Cuda;
inline simt::stream_t stream_of(const Cuda& gpu) { return gpu.stream; }
#else
#error "a .cu file is built with TUNDRA_SIMT_FLAVOUR or TUNDRA_CUDA_FLAVOUR"
#endif

// Multiprocessors of an H200. Grids of a fixed size are so many times this number; other GPUs run them as well, a
// little less evenly.
inline constexpr unsigned kMultiprocessors = 132;
