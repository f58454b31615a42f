// As tests/fake_cuda_device.cpp, with the kernels that nvcc made: they are launched by nvcc's own stubs, queued in the
// stand-in's streams, and executed from their PTX.
#include "cuda_runtime_api.h"
#include "engine/device_cuda.h"
#include "engine/op.h"
#include "kernels/cuda_libraries.h"
#include "virtual_gpu/ptx/runtime.h"

void run_on_cuda(const Cuda& cuda, const Step& step) {
    const ptx::Session session([](void* stream, ptx::Session::Work work) {
        fake_cuda::enqueue(static_cast<cudaStream_t>(stream), std::move(work));
    });
    step.op->run(cuda, step.in, step.out);
}

namespace {
struct NoLibraries final : CudaLibraries {
    void abandon() override {}
    std::string versions() const override { return "no libraries"; }
};
}  // namespace

std::unique_ptr<CudaLibraries> open_cuda_libraries(Cuda&, const std::string&) {
    return std::make_unique<NoLibraries>();
}
