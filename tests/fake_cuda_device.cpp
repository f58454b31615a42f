// What joins the device cuda to the stand-in: operations are simt kernels in the stream's queue, and there are no
// libraries.
#include "cuda_runtime_api.h"
#include "engine/device.h"
#include "engine/device_cuda.h"
#include "engine/op.h"
#include "kernels/cuda_libraries.h"

void run_on_cuda(const Cuda& cuda, const Step& step) {
    fake_cuda::enqueue(cuda.stream, [step, scratch = cuda.scratch] { step.op->run(Simt{scratch}, step.in, step.out); });
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

// Builds without nvcc have no device ptx.
std::unique_ptr<Device> open_ptx() { fail(Fault::usage, "--device ptx: not in this test"); }
