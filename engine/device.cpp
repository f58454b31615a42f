#include "engine/device.h"

#include <algorithm>
#include <sstream>

#include "kernels/device.h"

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
            require(used_ + piece.bytes <= bytes_.size(), "more than the {} bytes of a readback are requested",
                    bytes_.size());
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

void Device::upload_async(void* to, std::span<const Piece> pieces) {
    for (const Piece& piece : pieces) {
        upload(to, piece.from, piece.bytes);
        to = static_cast<std::byte*>(to) + piece.bytes;
    }
}

std::unique_ptr<Readback> Device::readback(size_t bytes) { return std::make_unique<WaitingReadback>(*this, bytes); }

DeviceFacts device_facts(std::string_view kind) {
    if (kind == "cpu") return {.kind = "cpu", .host_memory = true, .in_place = true};
    if (kind == "cuda")
        return {.kind = "cuda", .default_precision = DType::bf16, .image_channels_16bit = 8, .overlaps = true};
    return {.kind = std::string(kind)};
}

std::string_view precision_name(DType type) {
    return type == DType::bf16 ? "bf16" : type == DType::f16 ? "fp16" : type == DType::i8 ? "int8" : "fp32";
}

DType precision_named(std::string_view name, const Device& device, DType automatic) {
    if (name == "auto") return automatic;
    for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
        if (name != precision_name(type)) continue;
        if (type == DType::f16 && device.kind() == "cpu")
            fail(Fault::usage, "--precision fp16: the device cpu computes in fp32 or bf16");
        return type;
    }
    fail(Fault::usage, "--precision {}: must be auto, fp32, bf16 or fp16", name);
}

#if !defined(TUNDRA_CUDA_MISSING)
#define TUNDRA_CUDA_MISSING "nothing is missing"
#endif

std::vector<int> gpus_in(std::string_view device) {
    constexpr std::string_view prefix = "cuda:";
    std::vector<int> gpus;
    if (!device.starts_with(prefix)) return gpus;
    std::istringstream list(std::string(device.substr(prefix.size())) + ",");
    for (std::string number; std::getline(list, number, ',');) {
        const bool good = !number.empty() && number.size() < 4 && number.find_first_not_of("0123456789") == number.npos;
        if (!good || std::ranges::count(gpus, std::stoi(number)))
            fail(Fault::usage, "--device {}: name each GPU once by its number, as in cuda:0,1", device);
        gpus.push_back(std::stoi(number));
    }
    return gpus;
}

size_t gpu_count() {
    if constexpr (has_cuda) return cuda_gpu_count();
    return 0;
}

std::unique_ptr<Device> open_device(std::string_view kind, const DeviceOptions& given, std::string* reason) {
    DeviceOptions options = given;
    if (const std::vector<int> gpus = gpus_in(kind); !gpus.empty()) {
        if (gpus.size() > 1)
            fail(Fault::usage, "--device {}: only train, detect, survey and classify take several GPUs", kind);
        options.gpu = gpus[0], kind = "cuda";
    }
    if (kind == "cpu") return open_cpu(options);
    if (kind == "simt") return open_simt();
    if (kind == "ptx") {
        if constexpr (has_cuda) return open_ptx();
        fail(Fault::usage,
             "--device ptx: this build has no PTX (" TUNDRA_CUDA_MISSING "); docs/cuda.md says how to get it");
    }
    if (kind != "cuda" && kind != "auto")
        fail(Fault::usage, "--device {}: the devices are cpu, cuda, simt, ptx and auto", kind);
    std::string why = "this build has no CUDA (" TUNDRA_CUDA_MISSING "); docs/cuda.md says how to get it";
    if constexpr (has_cuda) try {
            return open_cuda(options);
        } catch (const Error& e) {
            if (kind == "cuda") throw;
            why = e.what();
        }
    if (kind == "cuda") fail(Fault::usage, "--device cuda: {}", why);
    if (reason) *reason = why;
    return open_cpu(options);
}
