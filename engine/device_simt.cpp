// The device simt: the CUDA kernels executed on the CPU, for tests, debuggers and learning.
#include <cstring>
#include <vector>

#include "engine/device.h"
#include "engine/op.h"
#include "virtual_gpu/simt/simt.h"

namespace {

constexpr size_t kScratchBytes = size_t(64) << 20;

class SimtDevice final : public Device {
public:
    SimtDevice() : Device(device_facts("simt")) {
        facts_.description = "CUDA kernels executed on the CPU";
        facts_.guard_bytes = simt::memory_checked() ? 256 : 0;
        simt_.scratch = {simt::device_malloc(kScratchBytes), kScratchBytes};
    }
    ~SimtDevice() override { simt::device_free(simt_.scratch.memory); }

    void upload(void* to, const void* from, size_t bytes) override { simt::copy(to, from, bytes); }
    void download(void* to, const void* from, size_t bytes) override { simt::copy(to, from, bytes); }
    void synchronize() override {}
    void guard(void* memory, size_t bytes) override {
        if (ran_) {  // a program sets all its gaps anew
            for (const auto& gap : gaps_) simt::unpoison(gap.data(), gap.size());
            gaps_.clear();
            ran_ = false;
        }
        gaps_.emplace_back(static_cast<std::byte*>(memory), bytes);
        simt::poison(memory, bytes);
    }
    void run(std::span<const Step> steps) override {
        ran_ = true;
        for (const Step& step : steps) step.op->run(simt_, step.in, step.out);
    }

private:
    void* allocate(size_t bytes) override {
        void* memory = simt::device_malloc(bytes);
        const std::vector<std::byte> zeros(bytes);
        simt::copy(memory, zeros.data(), bytes);
        return memory;
    }
    void release(void* memory, size_t bytes) noexcept override {
        const auto* begin = static_cast<const std::byte*>(memory);
        std::erase_if(gaps_, [&](const auto& gap) { return gap.data() >= begin && gap.data() < begin + bytes; });
        simt::device_free(memory);
    }

    Simt simt_;
    std::vector<std::span<std::byte>> gaps_;  // between the values of the program that runs
    bool ran_ = true;
};

}  // namespace

std::unique_ptr<Device> open_simt() { return std::make_unique<SimtDevice>(); }
