// A device that has addresses but no memory: networks of any size are traced and planned on it, and none is ever run.
#pragma once

#include <sys/mman.h>

#include "engine/device.h"

class PaperDevice final : public Device {
public:
    // `kind`: the device whose graph is wanted; cuda pads the channels of 16-bit images, for example.
    explicit PaperDevice(std::string kind) : kind_(std::move(kind)) {}
    std::string_view kind() const override { return kind_; }
    std::string description() const override { return kind_ + " on paper"; }
    void upload(void*, const void*, size_t) override {}
    void download(void* to, const void*, size_t bytes) override {
        std::fill_n(static_cast<std::byte*>(to), bytes, std::byte{});
    }
    void synchronize() override {}
    bool in_place() const override { return kind_ == "cpu"; }
    void run(std::span<const Step>) override { fail(Fault::runtime, "nothing runs on paper"); }

private:
    void* allocate(size_t bytes) override {
        void* memory = mmap(nullptr, bytes + !bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail(Fault::memory, "no address space for {} bytes", bytes);
        return memory;
    }
    void release(void* memory, size_t bytes) noexcept override { munmap(memory, bytes + !bytes); }

    std::string kind_;
};
