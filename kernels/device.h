// What a kernel needs of the device that it runs on. No CUDA header: the types behind the pointers are those of
// cudaStream_t, cudnnHandle_t and cublasLtHandle_t.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

struct CUstream_st;
struct cudnnContext;
struct cublasLtContext;
class CudaConvolutions;

// Buffer for one operation: the next one overwrites it. Its size is fixed, because recorded graphs hold its address.
struct Scratch {
    void* memory = nullptr;
    size_t bytes = 0;

    template <class T>
    T* take(size_t count) const {
        if (count * sizeof(T) > bytes)
            throw std::length_error("an operation needs " + std::to_string(count * sizeof(T)) +
                                    " bytes of scratch memory, the device has " + std::to_string(bytes));
        return static_cast<T*>(memory);
    }
    // The same, and what is left of the memory is behind it.
    template <class T>
    T* split(size_t count) {
        T* const part = take<T>(count);
        const size_t used = std::min(bytes, (count * sizeof(T) + 255) / 256 * 256);
        memory = static_cast<char*>(memory) + used;
        bytes -= used;
        return part;
    }
};

struct Cpu {  // oneDNN and plain loops on the threads of OpenMP
    int threads = 1;
    Scratch scratch;
};

struct Simt {  // the .cu files on the CPU, by virtual_gpu/simt
    Scratch scratch;
};

#ifdef TUNDRA_HAS_CUDA
constexpr bool has_cuda = true;
#else
constexpr bool has_cuda = false;  // compute(const Cuda&, ...) is declared and not defined
#endif

struct Cuda {  // an NVIDIA GPU; everything runs on one stream, in order
    CUstream_st* stream = nullptr;
    cudnnContext* cudnn = nullptr;
    cublasLtContext* cublas = nullptr;
    CudaConvolutions* convolutions = nullptr;  // kernels/conv/cudnn_plans.h
    Scratch scratch;
    bool deterministic = false;
};
