// A device without memory: networks of any size can be traced and planned on it, and it counts the bytes that the real
// device would need. It cannot run them.
#pragma once

#include <cstring>

#include "engine/device.h"

class MetaDevice final : public Device {
public:
    explicit MetaDevice(const Device& real) : Device(real.facts()) {}
    explicit MetaDevice(DeviceFacts facts) : Device(std::move(facts)) {}

    size_t bytes() const { return allocated() + staged_; }  // that the device would hold now

    void upload(void*, const void*, size_t) override {}
    void reserve_staging(void*, size_t bytes) override { staged_ += bytes * facts().staging_buffers; }
    void download(void* to, const void*, size_t bytes) override { std::memset(to, 0, bytes); }
    void synchronize() override {}
    void run(std::span<const Step>) override { fail(Fault::runtime, "the meta device cannot run steps"); }

private:
    void* allocate(size_t bytes) override {
        void* const address = reinterpret_cast<void*>(next_);
        next_ += (bytes + 511) / 256 * 256;
        return address;
    }
    void release(void*, size_t) noexcept override {}

    uintptr_t next_ = 4096;
    size_t staged_ = 0;
};
