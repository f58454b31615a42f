// Opens and closes cuDNN and cuBLASLt for one GPU.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "kernels/conv/cudnn_plans.h"
#include "kernels/cuda_libraries.h"

namespace {

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
            throw MissingLibrary("cuDNN " + files_[0].loaded + " is too old: 9.8 is needed");
        cudnnHandle_t cudnn = nullptr;
        check(cudnnCreate(&cudnn), "cuDNN cannot start");
        cudnn_.reset(cudnn);
        check(cudnnSetStream(cudnn, cuda.stream), "cuDNN: setting the stream");
        cublasLtHandle_t cublas = nullptr;
        if (const auto status = cublasLtCreate(&cublas); status != CUBLAS_STATUS_SUCCESS)
            throw std::runtime_error(std::string("cuBLASLt cannot start: ") + cublasLtGetStatusString(status));
        cublas_.reset(cublas);
        plans_ = std::make_unique<ConvPlans>(cudnn, cudnn_device(cudnn), conv_choices_file(gpu, files_[0].loaded));
        cuda.cudnn = cudnn;
        cuda.cublas = cublas;
        cuda.convolutions = plans_.get();
    }
    void abandon() override { (void)plans_.release(), (void)cublas_.release(), (void)cudnn_.release(); }
    size_t chosen() const override { return plans_->chosen(); }
    std::string versions() const override { return "cuDNN " + files_[0].loaded + ", cuBLASLt " + files_[1].loaded; }

private:
    struct Close {
        void operator()(cudnnHandle_t handle) const { cudnnDestroy(handle); }
        void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
    };
    // Also where a constructor that was begun fails, as where cuBLASLt is missing.
    const std::vector<CudaLibraryFile> files_ = cuda_library_files();
    std::unique_ptr<cudnnContext, Close> cudnn_;
    std::unique_ptr<cublasLtContext, Close> cublas_;
    std::unique_ptr<ConvPlans> plans_;
};

}  // namespace

std::unique_ptr<CudaLibraries> open_cuda_libraries(Cuda& cuda, const std::string& gpu) {
    return std::make_unique<Libraries>(cuda, gpu);
}
