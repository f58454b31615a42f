// The handles of cuDNN and cuBLASLt on one GPU and the convolution engines chosen there, owned by the device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/library.h"
#include "kernels/device.h"

// What the runtime says when it looks for one of our kernels in the code that nvcc made: 0, or a cudaError_t.
int cuda_kernel_error();

struct CudaLibraryFile {
    std::string name, compiled, loaded, file;  // versions; the file that was opened
    std::string missing = {};                  // why none was
};
std::vector<CudaLibraryFile> cuda_library_files();  // opens cuDNN and cuBLASLt, without a GPU; only if has_cuda

struct CudaLibraries {
    virtual ~CudaLibraries() = default;
    // After this the GPU is lost to the process: the destructor leaves everything as it is, because a call could hang.
    virtual void abandon() = 0;
    virtual std::string versions() const = 0;  // "cuDNN 9.19.0, cuBLASLt 13.0.2"
    virtual size_t chosen() const = 0;         // engines of convolutions so far, that no file knew: seconds each
};

// Fills in `cuda.cudnn`, `cuda.cublas`, `cuda.convolutions`; the stream and the scratch memory must be set. `gpu` names
// the GPU and its driver: choices of engines are stored for the next start under that name, and under cuDNN's version.
// Opens the libraries: MissingLibrary.
std::unique_ptr<CudaLibraries> open_cuda_libraries(Cuda& cuda, const std::string& gpu);
