// The device simt: the CUDA kernels executed on the CPU, for tests, debuggers and learning.
#include "engine/device.h"
#include "engine/op.h"
#include "engine/simt_memory.h"

namespace {

class SimtDevice final : public SimtMemory {
public:
    SimtDevice() : SimtMemory("simt") {
        facts_.description = "CUDA kernels executed on the CPU";
        facts_.guard_bytes = simt::memory_checked() ? 256 : 0;
        simt_.scratch = scratch();
    }
    void run(std::span<const Step> steps) override {
        ran();
        for (const Step& step : steps) step.op->run(simt_, step.in, step.out);
    }

private:
    Simt simt_;
};

}  // namespace

std::unique_ptr<Device> open_simt() { return std::make_unique<SimtDevice>(); }
