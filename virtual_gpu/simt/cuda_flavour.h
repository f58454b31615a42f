// The nvcc side of simt.h: thin names over CUDA.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#define SIMT_CPU 0
#define SIMT_SHARED(T, name, dims) __shared__ T name dims
#define SIMT_DYNAMIC_SHARED(T, name)                               \
    extern __shared__ __align__(16) unsigned char simt_dynamic_[]; \
    T* const name = reinterpret_cast<T*>(simt_dynamic_)
#define SIMT_UNROLL _Pragma("unroll")

namespace simt {
// Both flavours may be linked into one program: their templates must not share a mangled name.
inline namespace cuda {

using stream_t = cudaStream_t;

inline void check_launch(cudaError_t error, const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
    if (error == cudaSuccess) return;
    const char* name = nullptr;
    if (cudaFuncGetName(&name, kernel) != cudaSuccess || !name) name = "a kernel";
    const auto size = [](dim3 d) {
        return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
    };
    throw std::runtime_error(std::string(name) + ", grid " + size(grid) + ", block " + size(block) + ", " +
                             std::to_string(shared_bytes) + " bytes shared: " + cudaGetErrorString(error));
}

// `arch`: the oldest GPU that the launch is meant for (80, 90, ...); only the CPU checks it.
template <int arch = 80, class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, stream_t stream, A&&... args) {
    const auto* id = reinterpret_cast<const void*>(kernel);
    if (shared_bytes > 48 * 1024)  // more has to be asked for
        check_launch(cudaFuncSetAttribute(id, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)), id, grid,
                     block, shared_bytes);
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(std::forward<A>(args))...);
    check_launch(cudaGetLastError(), id, grid, block, shared_bytes);
}

}  // namespace cuda
}  // namespace simt
