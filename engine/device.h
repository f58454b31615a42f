// A device owns its memory, its handles and its stream, and runs the steps of a plan.
#pragma once

#include <memory>
#include <string>

#include "engine/plan.h"

class Device;

// Buffer of a device. Filled with zeros when it is allocated.
class Buffer {
public:
    Buffer() = default;
    Buffer(Device& device, size_t bytes);
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer();

    void* data() const { return data_; }
    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }
    size_t bytes() const { return bytes_; }

private:
    void swap(Buffer& other) {
        std::swap(device_, other.device_), std::swap(data_, other.data_), std::swap(bytes_, other.bytes_);
    }
    Device* device_ = nullptr;
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

// Steps recorded once, launched as one.
struct Recording {
    virtual ~Recording() = default;
    virtual void launch() = 0;
};

// Some bytes on their way to the host while the device goes on.
class Readback {
public:
    struct Piece {
        const void* from;
        size_t bytes;
    };
    virtual ~Readback() = default;
    virtual void start(
        std::span<const Piece> pieces) = 0;         // as they are after the work before it; does not wait for that
    virtual std::span<const std::byte> wait() = 0;  // the pieces of the last start(), one behind the other
};

struct GpuFacts {  // for run.json
    std::string name = {};
    size_t count = 0, memory_bytes = 0;  // those in use; of each
    std::string driver = {}, libraries = {};
};

constexpr size_t kUnknownBytes = size_t(-1);

class Device {
public:
    virtual ~Device() = default;
    virtual std::string_view kind() const = 0;    // "cpu", "simt" or "cuda", as --device names it
    virtual std::string description() const = 0;  // model, threads or memory, library versions: for people and run.json
    virtual GpuFacts gpu() const { return {}; }   // count 0: none

    // Copies are ordered with the steps. download() returns when the bytes are there.
    virtual void upload(void* to, const void* from, size_t bytes) = 0;
    virtual void download(void* to, const void* from, size_t bytes) = 0;
    virtual void synchronize() = 0;

    // upload() of what changes from step to step: where the device can, the copy goes on beside the step before.
    // `from` may be changed when this returns. What that needs is taken by reserve_staging(), else by the first copy.
    virtual void upload_async(void* to, const void* from, size_t bytes) { upload(to, from, bytes); }
    virtual void reserve_staging(void* /*to*/, size_t /*bytes*/) {}
    virtual size_t staging_buffers() const { return 0; }  // copies of what is uploaded ahead that lie on the device
    virtual std::unique_ptr<Readback> readback(size_t bytes);    // of at most `bytes`
    virtual size_t free_bytes() const { return kUnknownBytes; }  // that can still be allocated

    virtual void run(std::span<const Step> steps) = 0;
    virtual void prepare(std::span<const Step>) {}  // see Program::prepare()
    // Null where recording brings nothing: the steps are then run one by one.
    virtual std::unique_ptr<Recording> record(std::span<const Step>) { return nullptr; }

    // True where an operation may write over an input that it says it overwrites(): Op::overwrites.
    virtual bool in_place() const { return false; }

    // The type that training and classification use unless --precision says otherwise: the fastest one of the device in
    // which networks still train. Detection stays in float32 (kDetectorPrecision in predict/detector.h).
    virtual DType default_precision() const { return DType::f32; }

    // Compute capability times ten; 0 where the device is no GPU.
    virtual int architecture() const { return 0; }

    // Bytes between the values of an arena, which must not share memory then; only where a checker watches them.
    virtual size_t guard_bytes() const { return 0; }
    virtual void guard(void*, size_t) {}

    size_t allocated() const { return allocated_; }      // bytes, now
    size_t allocations() const { return allocations_; }  // calls since the start

private:
    friend class Buffer;
    virtual void* allocate(size_t bytes) = 0;
    virtual void release(void* memory, size_t bytes) noexcept = 0;
    size_t allocated_ = 0, allocations_ = 0;
};

// A value of --precision: "fp32", "bf16", "fp16", or "auto", which means `automatic`. Errors (usage): another word, or a
// type that the device does not compute in.
DType precision_named(std::string_view name, const Device& device, DType automatic);
std::string_view precision_name(DType);  // "fp32", "bf16" or "fp16"

struct DeviceOptions {
    int threads = 0;  // cpu: 0 takes all usable processors
    bool deterministic = false;
};

// "auto" takes cuda where a usable GPU is there, else cpu; `reason` then says why. A device that is asked for by name
// and is not there is an Error with Fault::usage.
std::unique_ptr<Device> open_device(std::string_view kind, const DeviceOptions& options = {},
                                    std::string* reason = nullptr);

std::unique_ptr<Device> open_cpu(const DeviceOptions&);
std::unique_ptr<Device> open_simt();
std::unique_ptr<Device> open_cuda(const DeviceOptions&);  // only there with TUNDRA_HAS_CUDA
