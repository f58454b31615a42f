// Opens and closes cuDNN and cuBLASLt for one GPU.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "kernels/conv/cudnn_plans.h"
#include "kernels/cuda_libraries.h"

namespace {

std::string version_text(size_t v, size_t major) {
    return std::to_string(v / major) + "." + std::to_string(v % major / 100) + "." + std::to_string(v % 100);
}

constexpr size_t kOldestCudnn = 90800;  // the first that takes a device's description

// Invalid device function, no kernel image, invalid PTX, unsupported PTX version.
void require_code_for_this_gpu() {
    const int error = cuda_kernel_error();
    if (error != 98 && error != 209 && error != 218 && error != 222) return;
    cudaGetLastError();  // or the next launch would report it
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    throw MissingLibrary(
        "built for " TUNDRA_CUDA_ARCHS ", this GPU is " + std::to_string(major) + '.' + std::to_string(minor) +
        ": build with -DTUNDRA_CUDA_ARCHS=native, or update the driver if the GPU is newer than the build");
}

class Libraries final : public CudaLibraries {
public:
    Libraries(Cuda& cuda, const std::string& gpu) {
        require_code_for_this_gpu();
        if (cudnnGetVersion() < kOldestCudnn)
            throw MissingLibrary("cuDNN " + version_text(cudnnGetVersion(), 10000) + " is too old: 9.8 is needed");
        check(cudnnCreate(&cudnn_), "cuDNN cannot start");
        check(cudnnSetStream(cudnn_, cuda.stream), "cuDNN: setting the stream");
        if (const auto status = cublasLtCreate(&cublas_); status != CUBLAS_STATUS_SUCCESS)
            throw std::runtime_error(std::string("cuBLASLt cannot start: ") + cublasLtGetStatusString(status));
        plans_ = std::make_unique<ConvPlans>(cudnn_, cudnn_device(cudnn_),
                                             conv_choices_file(gpu, version_text(cudnnGetVersion(), 10000)));
        cuda.cudnn = cudnn_;
        cuda.cublas = cublas_;
        cuda.convolutions = plans_.get();
    }
    ~Libraries() override {
        if (abandoned_) {
            (void)plans_.release();
            return;
        }
        plans_.reset();
        if (cublas_) cublasLtDestroy(cublas_);
        if (cudnn_) cudnnDestroy(cudnn_);
    }
    void abandon() override { abandoned_ = true; }
    size_t chosen() const override { return plans_->chosen(); }
    std::string versions() const override {
        return "cuDNN " + version_text(cudnnGetVersion(), 10000) + ", cuBLASLt " +
               version_text(cublasLtGetVersion(), 10000);
    }

private:
    cudnnHandle_t cudnn_ = nullptr;
    cublasLtHandle_t cublas_ = nullptr;
    std::unique_ptr<ConvPlans> plans_;
    bool abandoned_ = false;
};

}  // namespace

std::unique_ptr<CudaLibraries> open_cuda_libraries(Cuda& cuda, const std::string& gpu) {
    return std::make_unique<Libraries>(cuda, gpu);
}
