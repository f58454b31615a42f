// The device cpu: threads of OpenMP, memory in large pages.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/cpu_level.h"
#include "base/processors.h"
#include "base/text.h"
#include "engine/device.h"
#include "engine/op.h"
#include "engine/waiting.h"
#include "kernels/conv/cpu.h"
#include "kernels/conv/onednn.h"

namespace {

std::string cpu_model() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown CPU";
}

const char* bf16_instructions() {
    bool has[std::size(kBf16Instructions)] = {};
    has[std::size(has) - 1] = true;
#if defined(__x86_64__)
    const CpuLevel level = cpu_level();
    has[0] = level == CpuLevel::avx512 && onednn::has_amx();
    has[1] = level == CpuLevel::avx512 && __builtin_cpu_supports("avx512bf16");
    has[2] = level == CpuLevel::avx512, has[3] = level >= CpuLevel::avx2;
#endif
    return kBf16Instructions[std::find(std::begin(has), std::end(has), true) - has];
}

class CpuDevice final : public Device {
public:
    explicit CpuDevice(const DeviceOptions& options)
        : Device(device_facts("cpu")),
          cpu_{.threads = options.threads > 0 ? options.threads : usable_processors(), .scratch = {}},
          waiting_(cpu_.threads) {
        const size_t bytes = Cpu::scratch_reserved(cpu_.threads);
        cpu_.scratch = {CpuDevice::allocate(bytes), bytes};
        facts_.description = fmt::format("{}, {} threads, {}{}", cpu_model(), cpu_.threads, cpu_level_name(),
                                         onednn_missing().empty() ? "" : ", without oneDNN");
        facts_.instructions = bf16_instructions();
    }
    ~CpuDevice() override { CpuDevice::release(cpu_.scratch.memory, cpu_.scratch.bytes); }

    void upload(void* to, const void* from, size_t bytes) override {
        drop_packed_weights(to, bytes);
        std::memcpy(to, from, bytes);
    }
    void download(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
    void synchronize() override {}
    void run(std::span<const Step> steps) override {
        for (const Step& step : steps) {
            waiting_.adapt();
            step.op->run(cpu_, step.in, step.out);
        }
    }
    void prepare(std::span<const Step> steps) override {
        for (const Step& step : steps) step.op->prepare(cpu_, step.in, step.out);
    }

private:
    void* allocate(size_t bytes) override {
        void* memory =
            mmap(nullptr, bytes + !bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail(Fault::memory, "out of memory: {} more are needed", bytes_text(double(bytes)));
        madvise(memory, bytes, MADV_HUGEPAGE);
        return memory;
    }
    void release(void* memory, size_t bytes) noexcept override {
        drop_packed_weights(memory, bytes);
        munmap(memory, bytes + !bytes);
    }

    Cpu cpu_;
    Waiting waiting_;
};

}  // namespace

std::unique_ptr<Device> open_cpu(const DeviceOptions& options) { return std::make_unique<CpuDevice>(options); }
