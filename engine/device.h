// A device owns its memory, its library handles and its stream, and runs the steps of a plan.
#pragma once

#include <memory>
#include <memory_resource>
#include <string>

#include "base/ranks.h"
#include "engine/plan.h"

class Device;

// Memory of a device. Filled with zeros when it is allocated.
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

// A recorded sequence of steps, launched as one.
struct Recording {
    virtual ~Recording() = default;
    virtual void launch() = 0;
};

struct Piece {  // of memory
    const void* from;
    size_t bytes;
};

// Copies bytes to the host while the device continues.
class Readback {
public:
    virtual ~Readback() = default;
    virtual void start(std::span<const Piece> pieces) = 0;  // copies them in the order of the steps; does not wait
    virtual std::span<const std::byte> wait() = 0;          // the pieces of the last start(), one after the other
};

struct GpuFacts {  // for run.json
    std::string name = {};
    size_t count = 0, memory_bytes = 0;  // GPUs in use (0: none), memory of each
    std::string driver = {}, libraries = {};
    std::string bus = {};  // where it sits in the machine: "0000:1b:00.0"
};

// Everything that depends on the device, so that no code compares names.
struct DeviceFacts {
    std::string kind;              // "cpu", "simt", "ptx" or "cuda", as --device names it
    std::string description = {};  // model, threads or memory, library versions: for people and run.json
    GpuFacts gpu = {};
    DType default_precision = DType::f32;  // of a network unless chosen
    size_t image_channels_16bit = 3;       // tensor cores want 16 bytes per pixel
    bool host_memory = false;              // device memory is host memory
    bool overlaps = false;                 // run() returns before the steps are done
    bool in_place = false;                 // an output may take the memory of an input: Operand::overwrites
    size_t staging_buffers = 0;            // per input: copies that upload_async() keeps on the device
    size_t guard_bytes = 0;         // between the values of an arena, which then do not share memory: see guard()
    int architecture = 0;           // compute capability times ten; 0: not a GPU
    std::string instructions = {};  // cpu: of kBf16Instructions
};
// Levels of the device cpu whose results in bf16 have different bits, the highest first.
constexpr const char* kBf16Instructions[] = {"amx", "avx512_bf16", "avx512", "avx2", "plain"};
DeviceFacts device_facts(std::string_view kind);  // what is known before the device is opened

constexpr size_t kUnknownBytes = size_t(-1);

class Device {
public:
    virtual ~Device() = default;
    const DeviceFacts& facts() const { return facts_; }
    std::string_view kind() const { return facts_.kind; }
    const std::string& description() const { return facts_.description; }
    const GpuFacts& gpu() const { return facts_.gpu; }
    int architecture() const { return facts_.architecture; }
    // Of results in `precision`, for records: results of other instructions have other bits. "" where that is no
    // matter.
    std::string instructions(DType precision) const {
        return precision == DType::f32 || precision == DType::i8 ? "" : facts_.instructions;
    }
    DType default_precision() const { return facts_.default_precision; }
    size_t image_channels(DType precision) const { return size_of(precision) == 2 ? facts_.image_channels_16bit : 3; }

    // Copies are ordered with the steps. download() returns when the bytes are there.
    virtual void upload(void* to, const void* from, size_t bytes) = 0;
    virtual void download(void* to, const void* from, size_t bytes) = 0;
    virtual void synchronize() = 0;

    // upload() for inputs of the next step, of pieces that lie one after the other there: if the device can, the copy
    // overlaps the step before. Pieces in host_memory() are read until the next upload_async() to the same address
    // returns; others may be reused on return. Staging buffers are allocated by reserve_staging(), or on first use.
    virtual void upload_async(void* to, std::span<const Piece> pieces);
    // Memory of the host from which a device copies by itself: page-locked for a GPU. From any thread.
    virtual std::pmr::memory_resource& host_memory() { return *std::pmr::new_delete_resource(); }
    virtual void reserve_staging(void* /*to*/, size_t /*bytes*/) {}
    virtual std::unique_ptr<Readback> readback(size_t bytes);    // of at most `bytes`
    virtual size_t free_bytes() const { return kUnknownBytes; }  // still available

    virtual void run(std::span<const Step> steps) = 0;
    virtual void prepare(std::span<const Step>) {}  // see Program::prepare()
    // Null if recording gains nothing; the steps are then run one by one.
    virtual std::unique_ptr<Recording> record(std::span<const Step>) { return nullptr; }
    virtual void guard(void*, size_t) {}  // reports any access to these bytes
    // For ranks that train together, each on such a device: every rank calls it. Null: their sums are those of the
    // host.
    virtual std::unique_ptr<GpuSums> sums(Ranks&) { return nullptr; }

    size_t allocated() const { return allocated_; }      // bytes, now
    size_t allocations() const { return allocations_; }  // calls since the start

protected:
    explicit Device(DeviceFacts facts) : facts_(std::move(facts)) {}
    DeviceFacts facts_;

private:
    friend class Buffer;
    virtual void* allocate(size_t bytes) = 0;
    virtual void release(void* memory, size_t bytes) noexcept = 0;
    size_t allocated_ = 0, allocations_ = 0;
};

// A value of --precision: "fp32", "bf16", "fp16", or "auto", which means `automatic`. Errors (usage): another name, or
// a type that the device does not support.
DType precision_named(std::string_view name, const Device& device, DType automatic);
std::string_view precision_name(DType);  // "fp32", "bf16", "fp16", or "int8" for i8

struct DeviceOptions {
    int threads = 0;  // cpu: 0 takes all usable processors
    bool deterministic = false;
    int gpu = 0;  // cuda
};

// The numbers in "cuda:0,2"; none in the name of another device. Errors (usage): no such list.
std::vector<int> gpus_in(std::string_view device);
size_t gpu_count();  // that this process may use on the device cuda

// "auto" is cuda if there is a usable GPU, else cpu, and `reason` then says why. "cuda:1" is GPU 1, else options.gpu.
// Fault::usage if a device that was requested by name cannot be opened.
std::unique_ptr<Device> open_device(std::string_view kind, const DeviceOptions& options = {},
                                    std::string* reason = nullptr);

std::unique_ptr<Device> open_cpu(const DeviceOptions&);
std::unique_ptr<Device> open_simt();
std::unique_ptr<Device> open_ptx();                       // defined only if has_cuda
std::unique_ptr<Device> open_cuda(const DeviceOptions&);  // defined only if has_cuda, as the next
size_t cuda_gpu_count();
