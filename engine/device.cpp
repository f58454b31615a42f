#include "engine/device.h"

Memory::Memory(Device& device, size_t bytes) : device_(&device), data_(device.allocate(bytes)), bytes_(bytes) {
    device.allocated_ += bytes;
    ++device.allocations_;
}

Memory::~Memory() {
    if (!data_) return;
    device_->release(data_, bytes_);
    device_->allocated_ -= bytes_;
}

std::unique_ptr<Device> open_device(std::string_view kind, const DeviceOptions& options, std::string* reason) {
    if (kind == "cpu") return open_cpu(options);
    if (kind == "simt") return open_simt();
#ifdef TUNDRA_HAS_CUDA
    if (kind == "cuda") return open_cuda(options);
    if (kind == "auto") try {
            return open_cuda(options);
        } catch (const Error& e) {
            if (reason) *reason = e.what();
            return open_cpu(options);
        }
#else
    constexpr std::string_view why = "this build has no CUDA: rebuild where nvcc and cuDNN are installed";
    if (kind == "cuda") fail(Fault::usage, "--device cuda: {}", why);
    if (kind == "auto") {
        if (reason) *reason = why;
        return open_cpu(options);
    }
#endif
    fail(Fault::usage, "--device {}: the devices are cpu, cuda, simt and auto", kind);
}
