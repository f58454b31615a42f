// The device cuda: one NVIDIA GPU, one stream for the steps, one to copy the inputs of the next step.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/text.h"
#include "engine/cuda_check.h"
#include "engine/device.h"
#include "engine/device_cuda.h"
#include "engine/op.h"
#include "engine/pinned_memory.h"
#include "kernels/cuda_libraries.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define TUNDRA_NVTX
#endif

namespace {

constexpr size_t kScratchBytes = size_t(256) << 20;
constexpr int kOldestArchitecture = 80;

// A named range in the profiler's timeline, for its lifetime.
struct Range {
    bool on;
    Range([[maybe_unused]] bool wanted, [[maybe_unused]] const Step& step) : on(false) {
#ifdef TUNDRA_NVTX
        if (wanted) nvtxRangePushA(to_string(step).c_str()), on = true;
#endif
    }
    ~Range() {
#ifdef TUNDRA_NVTX
        if (on) nvtxRangePop();
#endif
    }
};

class CudaDevice final : public Device {
public:
    explicit CudaDevice(const DeviceOptions& options) : Device(device_facts("cuda")) {
        try {
            open(options);
        } catch (...) {
            close();
            throw;
        }
    }
    ~CudaDevice() override { close(); }

    void upload(void* to, const void* from, size_t bytes) override {
        copy(to, from, bytes, cudaMemcpyHostToDevice, "copying to the GPU");
    }
    void download(void* to, const void* from, size_t bytes) override {
        copy(to, from, bytes, cudaMemcpyDeviceToHost, "copying from the GPU");
    }
    void synchronize() override { check(cudaStreamSynchronize(cuda_.stream), "waiting for the GPU"); }

    void upload_async(void* to, std::span<const Piece> pieces) override;
    std::pmr::memory_resource& host_memory() override { return pinned_; }
    void reserve_staging(void* to, size_t bytes) override {
        Input& input = inputs_[static_cast<std::byte*>(to)];
        if (input.bytes < bytes) open_input(input, bytes);
    }
    std::unique_ptr<Readback> readback(size_t bytes) override;
    size_t free_bytes() const override {
        size_t free = 0, total = 0;
        if (lost_ || cudaMemGetInfo(&free, &total) != cudaSuccess) return 0;
        return free;
    }

    void run(std::span<const Step> steps) override;
    std::unique_ptr<Recording> record(std::span<const Step> steps) override;
    std::unique_ptr<GpuSums> sums(Ranks& ranks) override { return open_nccl(ranks, cuda_.deterministic); }

    // Throws the error of this code. After an error that loses the GPU nothing calls CUDA again.
    void check(cudaError_t error, std::string_view doing) {
        require_alive();
        if (error == cudaSuccess) return;
        if (!gpu_is_lost(error)) {
            cudaGetLastError();  // or the next launch reports it again
            if (error == cudaErrorMemoryAllocation) fail(Fault::memory, "out of memory on the GPU, {}", doing);
            fail(Fault::runtime, "CUDA, {}: {}", doing, text_of(error));
        }
        lost_ = true;
        if (libraries_) libraries_->abandon();
        fail(Fault::environment, "the GPU is lost, {}: {}", doing, text_of(error));
    }
    void require_alive() const {
        if (lost_) fail(Fault::environment, "the GPU is lost");
    }
    bool lost() const { return lost_; }
    cudaStream_t stream() const { return cuda_.stream; }
    const Cuda& cuda() const { return cuda_; }

private:
    // One input's way to the GPU. While the steps read what a slot brought, the other slot is on its way.
    struct Slot {
        void *pinned = nullptr, *device = nullptr;
        cudaEvent_t copied = nullptr, taken = nullptr;
        bool used = false, lent = false;  // lent: the bytes came from host_memory() itself
    };
    struct Input {
        size_t bytes = 0;
        std::array<Slot, 2> slots;
        size_t next = 0;
    };

    void open(const DeviceOptions& options);
    void close() noexcept;
    void open_input(Input& input, size_t bytes);
    void close_input(Input& input) noexcept;

    void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, std::string_view doing) {
        require_alive();
        if (bytes == 0) return;
        check(cudaMemcpyAsync(to, from, bytes, kind, cuda_.stream), doing);
        check(cudaStreamSynchronize(cuda_.stream), doing);
    }

    void run_step(const Step& step) {
        try {
            run_on_cuda(cuda_, step);
        } catch (const Error&) {
            throw;
        } catch (const std::exception& e) {
            // A kernel that failed earlier is reported by some later launch, or here.
            if (const cudaError_t error = cudaPeekAtLastError(); error != cudaSuccess) check(error, to_string(step));
            if (const cudaError_t error = cudaStreamQuery(cuda_.stream); gpu_is_lost(error))
                check(error, to_string(step));
            fail(Fault::runtime, "{}: {}", to_string(step), e.what());
        }
    }

    void* allocate(size_t bytes) override {
        void* const memory = take(bytes);
        check(cudaMemsetAsync(memory, 0, bytes, cuda_.stream), "clearing memory");
        return memory;
    }
    void* take(size_t bytes) {
        require_alive();
        void* memory = nullptr;
        const cudaError_t error = cudaMalloc(&memory, bytes + !bytes);
        if (error == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            fail(Fault::memory, "out of memory on the GPU: {} more are needed, {} are free", bytes_text(double(bytes)),
                 bytes_text(double(free_bytes())));
        }
        check(error, "allocating memory");
        return memory;
    }
    void release(void* memory, size_t bytes) noexcept override {
        if (lost_) return;
        auto* begin = static_cast<std::byte*>(memory);
        for (auto it = inputs_.lower_bound(begin); it != inputs_.end() && it->first < begin + bytes;
             it = inputs_.erase(it))
            close_input(it->second);
        cudaFree(memory);
    }

    Cuda cuda_;
    cudaStream_t copies_ = nullptr;
    std::map<std::byte*, Input> inputs_;  // by the address that they are for
    std::unique_ptr<CudaLibraries> libraries_;
    std::atomic<bool> lost_ = false;
    PinnedMemory pinned_{lost_};
    bool ranges_ = false;
};

class CudaRecording final : public Recording {
public:
    CudaRecording(CudaDevice& device, cudaGraphExec_t graph) : device_(device), graph_(graph) {}
    ~CudaRecording() override {
        if (!device_.lost()) cudaGraphExecDestroy(graph_);
    }
    void launch() override {
        device_.require_alive();
        device_.check(cudaGraphLaunch(graph_, device_.stream()), "starting a recorded step");
    }

private:
    CudaDevice& device_;
    cudaGraphExec_t graph_;
};

class CudaReadback final : public Readback {
public:
    CudaReadback(CudaDevice& device, size_t bytes) : device_(device), bytes_(bytes) {
        device.check(cudaMallocHost(&pinned_, bytes), "allocating pinned memory");
        device.check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming | cudaEventBlockingSync),
                     "creating an event");
    }
    ~CudaReadback() override {
        if (device_.lost()) return;
        cudaEventSynchronize(done_);
        cudaEventDestroy(done_);
        cudaFreeHost(pinned_);
    }
    void start(std::span<const Piece> pieces) override {
        device_.require_alive();
        used_ = 0;
        for (const Piece& piece : pieces) {
            require(used_ + piece.bytes <= bytes_, "more than the {} bytes of a readback are requested", bytes_);
            device_.check(cudaMemcpyAsync(static_cast<std::byte*>(pinned_) + used_, piece.from, piece.bytes,
                                          cudaMemcpyDeviceToHost, device_.stream()),
                          "copying from the GPU");
            used_ += piece.bytes;
        }
        device_.check(cudaEventRecord(done_, device_.stream()), "copying from the GPU");
    }
    std::span<const std::byte> wait() override {
        device_.require_alive();
        device_.check(cudaEventSynchronize(done_), "waiting for the GPU");
        return {static_cast<const std::byte*>(pinned_), used_};
    }

private:
    CudaDevice& device_;
    void* pinned_ = nullptr;
    cudaEvent_t done_ = nullptr;
    size_t bytes_, used_ = 0;
};

void CudaDevice::open(const DeviceOptions& options) {
    int count = 0, driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0)
        fail_without_gpu(error, driver, runtime);
    require_gpu(options.gpu, count);
    if (const cudaError_t error = cudaSetDevice(options.gpu); error != cudaSuccess)
        fail_without_gpu(error, driver, runtime);
    pinned_.gpu = options.gpu;
    cudaDeviceProp gpu;
    check(cudaGetDeviceProperties(&gpu, options.gpu), "querying the GPU");
    facts_.architecture = gpu.major * 10 + gpu.minor;
    if (facts_.architecture < kOldestArchitecture)
        fail(Fault::usage, "--device cuda: {} has compute capability {}.{}, at least 8.0 is needed; use --device cpu",
             gpu.name, gpu.major, gpu.minor);
    check(cudaStreamCreateWithFlags(&cuda_.stream, cudaStreamNonBlocking), "creating a stream");
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "creating a stream");
    cuda_.scratch = {CudaDevice::allocate(kScratchBytes), kScratchBytes};
    cuda_.deterministic = options.deterministic;
    ranges_ = std::getenv("TUNDRA_NVTX") != nullptr;
    const std::string driver_name = driver_text(driver);
    try {
        libraries_ = open_cuda_libraries(cuda_, fmt::format("{} driver {}", gpu.name, driver_name));
    } catch (const MissingLibrary& e) {
        fail(Fault::usage, "--device cuda: {}", e.what());
    } catch (const std::exception& e) {
        fail(Fault::environment, "--device cuda: {}", e.what());
    }
    facts_.gpu = {
        .name = gpu.name,
        .count = 1,
        .memory_bytes = gpu.totalGlobalMem,
        .driver = driver_name,
        .libraries = fmt::format("CUDA runtime {}.{}, {}", runtime / 1000, runtime % 1000 / 10, libraries_->versions()),
        .bus = bus_of(options.gpu)};
    facts_.description = fmt::format("{}, {:.1f} GiB, driver {}, {}", gpu.name, double(gpu.totalGlobalMem) / 0x1p30,
                                     driver_name, facts_.gpu.libraries);
    facts_.staging_buffers = std::tuple_size_v<decltype(Input::slots)>;
}

void CudaDevice::close() noexcept {
    if (!lost_ && cuda_.stream) cudaStreamSynchronize(cuda_.stream);  // the libraries' work is on it
    libraries_.reset();
    if (lost_) return;
    if (copies_) cudaStreamSynchronize(copies_);
    for (auto& [address, input] : inputs_) close_input(input);
    pinned_.release();
    if (cuda_.scratch.memory) cudaFree(cuda_.scratch.memory);
    if (copies_) cudaStreamDestroy(copies_);
    if (cuda_.stream) cudaStreamDestroy(cuda_.stream);
}

// Choosing engines takes seconds where they are compiled: from the third second on, a line says how far it is.
void CudaDevice::run(std::span<const Step> steps) {
    require_alive();
    const auto is_conv = [](const Step& step) { return step.op->name().starts_with("conv"); };
    auto last = std::chrono::steady_clock::now();
    size_t done = 0, chosen = libraries_->chosen();
    for (const Step& step : steps) {
        const Range range(ranges_, step);
        run_step(step);
        done += is_conv(step);
        if (libraries_->chosen() == chosen) continue;
        chosen = libraries_->chosen();
        const auto now = std::chrono::steady_clock::now();
        if (now - last < std::chrono::seconds(2)) continue;
        last = now;
        const std::string note =
            fmt::format("note: choosing engines, {} of {} convolutions; the next start takes them from a file\n", done,
                        std::ranges::count_if(steps, is_conv));
        std::fputs(note.c_str(), stderr);
    }
}

void CudaDevice::open_input(Input& input, size_t bytes) {
    close_input(input);
    input.bytes = 0;
    for (Slot& slot : input.slots) {
        slot.device = take(bytes);
        check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming), "creating an event");
        check(cudaEventCreateWithFlags(&slot.taken, cudaEventDisableTiming), "creating an event");
    }
    input.bytes = bytes;
}

void CudaDevice::close_input(Input& input) noexcept {
    for (Slot& slot : input.slots) {
        if (slot.used) cudaEventSynchronize(slot.taken);
        if (slot.taken) cudaEventDestroy(slot.taken);
        if (slot.copied) cudaEventDestroy(slot.copied);
        if (slot.device) cudaFree(slot.device);
        if (slot.pinned) cudaFreeHost(slot.pinned);
        slot = {};
    }
}

// host -> pinned slot (now, unless the bytes are pinned themselves) -> slot on the GPU (second stream, beside the step
// that runs) -> the input (between two steps). The last move, within the GPU, is what leaves the input at one address,
// which recordings hold.
void CudaDevice::upload_async(void* to, std::span<const Piece> pieces) {
    require_alive();
    size_t bytes = 0;
    for (const Piece& piece : pieces) bytes += piece.bytes;
    if (bytes == 0) return;
    reserve_staging(to, bytes);
    Input& input = inputs_[static_cast<std::byte*>(to)];
    Slot &slot = input.slots[input.next], &before = input.slots[1 - input.next];
    input.next = 1 - input.next;
    constexpr std::string_view doing = "copying inputs to the GPU";
    if (before.lent) check(cudaEventSynchronize(before.copied), doing);  // its owner may write there again
    if (slot.used) {
        check(cudaEventSynchronize(slot.copied), doing);            // the pinned bytes have been read
        check(cudaStreamWaitEvent(copies_, slot.taken, 0), doing);  // so have those on the GPU
    }
    slot.used = true, slot.lent = false;
    for (size_t at = 0; const Piece& piece : pieces) {
        const void* from = piece.from;
        if (pinned_.holds(from)) {
            slot.lent = true;
        } else {
            for (Slot& s : input.slots)
                if (!s.pinned) check(cudaMallocHost(&s.pinned, input.bytes), "allocating pinned memory");
            from = std::memcpy(static_cast<std::byte*>(slot.pinned) + at, from, piece.bytes);
        }
        check(cudaMemcpyAsync(static_cast<std::byte*>(slot.device) + at, from, piece.bytes, cudaMemcpyHostToDevice,
                              copies_),
              doing);
        at += piece.bytes;
    }
    check(cudaEventRecord(slot.copied, copies_), doing);
    check(cudaStreamWaitEvent(cuda_.stream, slot.copied, 0), doing);
    check(cudaMemcpyAsync(to, slot.device, bytes, cudaMemcpyDeviceToDevice, cuda_.stream), doing);
    check(cudaEventRecord(slot.taken, cuda_.stream), doing);
}

std::unique_ptr<Readback> CudaDevice::readback(size_t bytes) { return std::make_unique<CudaReadback>(*this, bytes); }

std::unique_ptr<Recording> CudaDevice::record(std::span<const Step> steps) {
    check(cudaStreamBeginCapture(cuda_.stream, cudaStreamCaptureModeThreadLocal), "recording a step");
    cudaGraph_t graph = nullptr;
    try {
        for (const Step& step : steps) run_step(step);
    } catch (...) {
        if (!lost_) {
            cudaStreamEndCapture(cuda_.stream, &graph);
            if (graph) cudaGraphDestroy(graph);
            cudaGetLastError();
        }
        throw;
    }
    check(cudaStreamEndCapture(cuda_.stream, &graph), "recording a step");
    cudaGraphExec_t ready = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&ready, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "preparing a recorded step");
    return std::make_unique<CudaRecording>(*this, ready);
}

}  // namespace

size_t cuda_gpu_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? size_t(count) : 0;
}

std::unique_ptr<Device> open_cuda(const DeviceOptions& options) { return std::make_unique<CudaDevice>(options); }

const Cuda& cuda_of(Device& device) { return dynamic_cast<CudaDevice&>(device).cuda(); }
