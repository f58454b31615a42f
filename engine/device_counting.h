// Takes the place of a device to find out how much memory something needs there: whatever is built on it exists in
// numbers only.
#pragma once

#include <cstring>

#include "engine/device.h"

class CountingDevice final : public Device {
public:
    explicit CountingDevice(const Device& real) : real_(real) {}

    size_t bytes() const { return allocated() + expected_; }  // that lie on the device now

    std::string_view kind() const override { return real_.kind(); }
    DType default_precision() const override { return real_.default_precision(); }
    std::string description() const override { return real_.description(); }
    int architecture() const override { return real_.architecture(); }
    bool in_place() const override { return real_.in_place(); }
    size_t guard_bytes() const override { return real_.guard_bytes(); }
    size_t staging_buffers() const override { return real_.staging_buffers(); }

    void upload(void*, const void*, size_t) override {}
    void reserve_staging(void*, size_t bytes) override { expected_ += bytes * staging_buffers(); }
    void download(void* to, const void*, size_t bytes) override { std::memset(to, 0, bytes); }
    void synchronize() override {}
    void run(std::span<const Step>) override { fail(Fault::runtime, "a counting device computes nothing"); }

private:
    void* allocate(size_t bytes) override {
        void* const address = reinterpret_cast<void*>(next_);
        next_ += (bytes + 511) / 256 * 256;
        return address;
    }
    void release(void*, size_t) noexcept override {}

    const Device& real_;
    uintptr_t next_ = 4096;
    size_t expected_ = 0;
};
