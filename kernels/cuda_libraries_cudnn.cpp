// Opens and closes cuDNN and cuBLASLt for one GPU.
#include <cublasLt.h>
#include <cudnn.h>

#include "kernels/conv/cudnn_plans.h"
#include "kernels/cuda_libraries.h"

namespace {

std::string version_text(size_t v, size_t major) {
    return std::to_string(v / major) + "." + std::to_string(v % major / 100) + "." + std::to_string(v % 100);
}

class Libraries final : public CudaLibraries {
public:
    Libraries(Cuda& cuda, const std::string& gpu) {
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
