// What joins the device cuda to the stand-in: operations are simt kernels in the stream's queue, and there are no
// libraries. WITH_PTX: operations are the kernels that nvcc made, launched by its own stubs and executed from their
// PTX.
#include <chrono>
#include <thread>

#include "cuda_runtime_api.h"
#include "engine/device.h"
#include "engine/device_cuda.h"
#include "engine/op.h"
#include "kernels/cuda_libraries.h"
#include "virtual_gpu/ptx/runtime.h"

namespace {
size_t chosen = 0;
}

void run_on_cuda(const Cuda& cuda, const Step& step) {
    if (step.op->name() == "conv" && chosen < fake_cuda::to_choose()) {
        ++chosen;
        std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    }
    if (step.op->name().ends_with("_ranks")) return step.op->run(cuda, step.in, step.out);  // calls, no kernels
#ifdef WITH_PTX
    const ptx::Session session([](void* stream, ptx::Session::Work work) {
        fake_cuda::enqueue(static_cast<cudaStream_t>(stream), std::move(work));
    });
    step.op->run(cuda, step.in, step.out);
#else
    fake_cuda::enqueue(cuda.stream, [step, scratch = cuda.scratch] { step.op->run(Simt{scratch}, step.in, step.out); });
#endif
}

namespace {
struct NoLibraries final : CudaLibraries {
    void abandon() override {}
    std::string versions() const override { return "no libraries"; }
    size_t chosen() const override { return ::chosen; }
};
}  // namespace

std::unique_ptr<CudaLibraries> open_cuda_libraries(Cuda&, const std::string&) {
    chosen = 0;
    if (fake_cuda::no_cudnn()) throw MissingLibrary("cuDNN 9 (libcudnn.so.9) cannot be opened");
    return std::make_unique<NoLibraries>();
}

#ifndef WITH_PTX  // builds without nvcc have no device ptx
std::unique_ptr<Device> open_ptx() { fail(Fault::usage, "--device ptx: not in this test"); }
#endif
