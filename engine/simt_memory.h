// Device memory of virtual_gpu/simt, for the devices whose kernels run on the CPU.
#pragma once

#include <vector>

#include "engine/device.h"
#include "kernels/device.h"
#include "virtual_gpu/simt/runtime.h"

class SimtMemory : public Device {
public:
    ~SimtMemory() override { simt::device_free(scratch_.memory); }

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

protected:
    explicit SimtMemory(std::string_view kind) : Device(device_facts(kind)) {
        constexpr size_t kScratchBytes = size_t(64) << 20;
        scratch_ = {simt::device_malloc(kScratchBytes), kScratchBytes};
    }
    const Scratch& scratch() const { return scratch_; }
    void ran() { ran_ = true; }

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

    Scratch scratch_;
    std::vector<std::span<std::byte>> gaps_;  // between the values of the program that runs
    bool ran_ = true;
};
