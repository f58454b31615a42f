#include "engine/device.h"

Buffer::Buffer(Device& device, size_t bytes) : device_(&device), data_(device.allocate(bytes)), bytes_(bytes) {
    device.allocated_ += bytes;
    ++device.allocations_;
}

Buffer::~Buffer() {
    if (!data_) return;
    device_->release(data_, bytes_);
    device_->allocated_ -= bytes_;
}

namespace {

class WaitingReadback final : public Readback {
public:
    WaitingReadback(Device& device, size_t bytes) : device_(device), bytes_(bytes) {}
    void start(std::span<const Piece> pieces) override {
        used_ = 0;
        for (const Piece& piece : pieces) {
            require(used_ + piece.bytes <= bytes_.size(), "a readback of {} bytes is asked for more", bytes_.size());
            device_.download(bytes_.data() + used_, piece.from, piece.bytes);
            used_ += piece.bytes;
        }
    }
    std::span<const std::byte> wait() override { return {bytes_.data(), used_}; }

private:
    Device& device_;
    std::vector<std::byte> bytes_;
    size_t used_ = 0;
};

}  // namespace

std::unique_ptr<Readback> Device::readback(size_t bytes) { return std::make_unique<WaitingReadback>(*this, bytes); }

std::string_view precision_name(DType type) {
    return type == DType::bf16 ? "bf16" : type == DType::f16 ? "fp16" : "fp32";
}

DType precision_named(std::string_view name, const Device& device, DType automatic) {
    if (name == "auto") return automatic;
    for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
        if (name != precision_name(type)) continue;
        if (type != DType::f32 && device.kind() == "cpu")
            fail(Fault::usage, "--precision {}: the device cpu computes in fp32", name);
        return type;
    }
    fail(Fault::usage, "--precision {}: must be auto, fp32, bf16 or fp16", name);
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
