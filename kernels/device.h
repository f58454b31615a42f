// The parts of a device that kernels use. No CUDA header is needed: the types behind the pointers are those of
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

// Memory for the intermediate results of one operation: the next one overwrites it. Its size is fixed, because recorded
// graphs hold its address. Operations on Cpu that need it say how much: scratch_bytes(cpu, op) beside compute(), which
// does not dereference the pointers of op (only whether optional ones are null matters).
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
    // The same; the scratch memory then begins behind it.
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

    // Scratch memory that is enough for every network here: parts that all threads share, and parts of each. The system
    // gives pages only where they are touched.
    static constexpr size_t scratch_reserved(int threads) {
        return (size_t(256) << 20) + size_t(threads) * (size_t(8) << 20);
    }
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
