// The device cpu: threads of OpenMP, memory in large pages.
#include <sys/mman.h>

#include <cstring>
#include <fstream>

#include "base/processors.h"
#include "engine/device.h"
#include "engine/op.h"
#include "kernels/conv/cpu.h"

namespace {

class CpuDevice final : public Device {
public:
    explicit CpuDevice(const DeviceOptions& options) {
        cpu_.threads = options.threads > 0 ? options.threads : usable_processors();
        const size_t bytes = Cpu::scratch_reserved(cpu_.threads);
        cpu_.scratch = {CpuDevice::allocate(bytes), bytes};
    }
    ~CpuDevice() override { CpuDevice::release(cpu_.scratch.memory, cpu_.scratch.bytes); }

    std::string_view kind() const override { return "cpu"; }
    std::string description() const override {
        std::ifstream file("/proc/cpuinfo");
        std::string model = "unknown CPU";
        for (std::string line; std::getline(file, line);)
            if (line.starts_with("model name")) {
                model = line.substr(line.find(':') + 2);
                break;
            }
        return fmt::format("{}, {} threads", model, cpu_.threads);
    }
    void upload(void* to, const void* from, size_t bytes) override {
        drop_packed_weights(to, bytes);
        std::memcpy(to, from, bytes);
    }
    void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
    void synchronize() override {}
    bool in_place() const override { return true; }
    void run(std::span<const Step> steps) override {
        for (const Step& step : steps) step.op->run(cpu_, step.in, step.out);
    }
    void prepare(std::span<const Step> steps) override {
        for (const Step& step : steps) step.op->prepare(cpu_, step.in, step.out);
    }

private:
    void* allocate(size_t bytes) override {
        void* memory =
            mmap(nullptr, bytes + !bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail(Fault::memory, "out of memory: {} MB more are needed", (bytes + 0xfffff) >> 20);
        madvise(memory, bytes, MADV_HUGEPAGE);
        return memory;
    }
    void release(void* memory, size_t bytes) noexcept override {
        drop_packed_weights(memory, bytes);
        munmap(memory, bytes + !bytes);
    }

    Cpu cpu_;
};

}  // namespace

std::unique_ptr<Device> open_cpu(const DeviceOptions& options) { return std::make_unique<CpuDevice>(options); }
