// The device ptx: what nvcc made of the CUDA kernels, executed on the CPU, for tests and learning. Convolutions and
// matrix products are those of the direct kernels.
#include "engine/device.h"
#include "engine/op.h"
#include "engine/simt_memory.h"
#include "virtual_gpu/ptx/runtime.h"

namespace {

class PtxDevice final : public SimtMemory {
public:
    PtxDevice() : SimtMemory("ptx") {
        const auto modules = ptx::modules();
        facts_.description = "PTX of " + modules.front()->target + " executed on the CPU";
        facts_.guard_bytes = 256;
        cuda_.scratch = scratch();
    }
    void run(std::span<const Step> steps) override {
        ran();
        const ptx::Session session;
        for (const Step& step : steps) step.op->run(cuda_, step.in, step.out);
    }

private:
    Cuda cuda_;
};

}  // namespace

std::unique_ptr<Device> open_ptx() {
    try {
        return std::make_unique<PtxDevice>();
    } catch (const std::exception& e) {
        fail(Fault::usage, "--device ptx: {}", e.what());
    }
}
