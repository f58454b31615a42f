// Sums between GPUs by NCCL, https://docs.nvidia.com/deeplearning/nccl/user-guide/docs: a communicator for the life of
// a run, and a stream of its own. NCCL wants its calls in the same order on every rank, so all of them, those that the
// steps wait for too, are on this one stream.
#include <cuda_runtime_api.h>
#if __has_include(<nccl.h>)
#include <nccl.h>
#define TUNDRA_NCCL
#endif

#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/ranks.h"
#include "engine/cuda_check.h"
#include "engine/device_cuda.h"
#include "engine/ops/in_order.h"
#include "kernels/optimizer.h"

#ifndef TUNDRA_NCCL_FOLDER
#define TUNDRA_NCCL_FOLDER ""
#endif

namespace {

using namespace std::chrono_literals;

constexpr const char* kNotBuilt = "this build has no NCCL (nccl.h was not found); docs/cuda.md says how to get it";

#ifdef TUNDRA_NCCL

struct Nccl {
    NvidiaLibrary library{"libnccl.so.2", "NCCL", {TUNDRA_NCCL_FOLDER}};
#define OF_NCCL(member, name) decltype(name)* member = library.find<decltype(name)>(#name)
    OF_NCCL(get_version, ncclGetVersion);
    OF_NCCL(get_unique_id, ncclGetUniqueId);
    OF_NCCL(init_rank, ncclCommInitRank);
    OF_NCCL(all_reduce, ncclAllReduce);
    OF_NCCL(all_gather, ncclAllGather);
    OF_NCCL(send, ncclSend);
    OF_NCCL(receive, ncclRecv);
    OF_NCCL(begin_group, ncclGroupStart);
    OF_NCCL(end_group, ncclGroupEnd);
    OF_NCCL(async_error, ncclCommGetAsyncError);
    OF_NCCL(abort, ncclCommAbort);
    OF_NCCL(destroy, ncclCommDestroy);
    OF_NCCL(error_string, ncclGetErrorString);
    OF_NCCL(last_error, ncclGetLastError);
#undef OF_NCCL
};

const Nccl& nccl() {
    static const Nccl opened;
    return opened;
}

std::string version_text(int code) {  // 22809 is 2.28.9
    return fmt::format("{}.{}.{}", code / 10000, code % 10000 / 100, code % 100);
}

std::string loaded_version() {
    int code = 0;
    nccl().get_version(&code);
    return version_text(code);
}

ncclDataType_t nccl_type(DType type) {
    switch (type) {
        case DType::f32: return ncclFloat32;
        case DType::f16: return ncclFloat16;
        case DType::bf16: return ncclBfloat16;
        default: fail(Fault::runtime, "a sum over ranks of numbers of type {}", to_string(type));
    }
}

class NcclSums final : public GpuSums {
public:
    NcclSums(Ranks& ranks, bool in_order) : ranks_(ranks), in_order_(in_order) {
        version = "NCCL " + loaded_version();
        ncclUniqueId id{};
        if (ranks.first()) check(nccl().get_unique_id(&id), "ncclGetUniqueId");
        ranks.broadcast(std::as_writable_bytes(std::span(&id, 1)));
        check(nccl().init_rank(&comm_, int(ranks.count), id, int(ranks.rank)), "ncclCommInitRank");
        check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
        for (cudaEvent_t* event : {&before_, &behind_})
            check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
        if (in_order_) open_means();
        watch_ = std::thread([this] { watch(); });
    }

    ~NcclSums() override {
        ranks_.gpu_sums = nullptr;
        if (!abandoned_ && cudaStreamSynchronize(stream_) != cudaSuccess) abandon();
        ending_ = true;
        if (watch_.joinable()) watch_.join();
        if (abandoned_) return;
        nccl().destroy(comm_);
        for (const cudaEvent_t event : {before_, behind_}) cudaEventDestroy(event);
        cudaStreamDestroy(stream_);
        for (void* const memory : {static_cast<void*>(parts_), static_cast<void*>(state_)}) cudaFree(memory);
    }

    void abandon() noexcept override {
        // By a thread of its own: it ends the sums that run at once, but does not return before the last recorded step
        // that holds comm_ is gone, and those go after this. It also frees comm_.
        const std::lock_guard lock(mutex_);
        if (!abandoned_.exchange(true)) std::thread([comm = comm_, abort = nccl().abort] { abort(comm); }).detach();
    }

    void start_sum(cudaStream_t stream, void* values, size_t count, DType type, float factor) override {
        if (count == 0) return;
        const bool mean = factor != 1;
        require(!mean || factor == 1 / float(ranks_.count), "a sum over GPUs times {}", factor);
        begin(stream);
        started_ = true;
        if (in_order_) return sum_in_order(static_cast<std::byte*>(values), count, type, mean);
        check(nccl().all_reduce(values, values, count, nccl_type(type), mean ? ncclAvg : ncclSum, comm_, stream_),
              "ncclAllReduce");
    }

    void wait(cudaStream_t stream) override {
        if (std::exchange(started_, false)) end(stream);
    }

    void gather(cudaStream_t stream, const void* own, void* all, size_t bytes) override {
        begin(stream);
        check(nccl().all_gather(own, all, bytes, ncclUint8, comm_, stream_), "ncclAllGather");
        end(stream);
    }

private:
    void begin(cudaStream_t stream) {  // what comes on stream_ finds what is on `stream` now
        check(cudaEventRecord(before_, stream), "a sum over GPUs");
        check(cudaStreamWaitEvent(stream_, before_, 0), "a sum over GPUs");
    }
    void end(cudaStream_t stream) {
        check(cudaEventRecord(behind_, stream_), "a sum over GPUs");
        check(cudaStreamWaitEvent(stream, behind_, 0), "a sum over GPUs");
    }

    // NCCL adds in an order that may change. Here every rank gets its part of the array from all, adds it up itself and
    // sends the sum to all, as train/ranks_mpi.cpp does: the bytes of a ring, memory for one array more. Ranks are
    // added pairwise, each addition rounded to the type; means, of floats, one rank after the other.
    void sum_in_order(std::byte* values, size_t count, DType type, bool mean) {
        const size_t size = size_of(type), ranks = ranks_.count;
        const auto begin = [&](size_t r) { return count * r / ranks; };
        const size_t width = begin(ranks_.rank + 1) - begin(ranks_.rank);
        std::byte* const own = values + begin(ranks_.rank) * size;
        std::byte* const parts = parts_of(width * ranks * size);
        const auto transfer = [&](auto function, auto* at, size_t n, size_t r, const char* call) {
            if (n) check(function(at, n, nccl_type(type), int(r), comm_, stream_), call);
        };
        check(nccl().begin_group(), "ncclGroupStart");
        for (size_t r = 0; r < ranks; ++r) {
            transfer(nccl().send, values + begin(r) * size, begin(r + 1) - begin(r), r, "ncclSend");
            transfer(nccl().receive, parts + r * width * size, width, r, "ncclRecv");
        }
        check(nccl().end_group(), "ncclGroupEnd");
        if (width) {
            const auto row = [&](size_t r) { return Tensor{parts + r * width * size, {width}, type}; };
            if (mean)
                mean_of_rows(row, width);
            else
                for (size_t step = 1; step < ranks; step *= 2)
                    for (size_t r = 0; r + step < ranks; r += 2 * step)
                        run({add_op(width), {row(r), row(r + step)}, {row(r)}});
            check(cudaMemcpyAsync(own, parts, width * size, cudaMemcpyDeviceToDevice, stream_), "a sum over GPUs");
        }
        check(nccl().begin_group(), "ncclGroupStart");
        for (size_t r = 0; r < ranks; ++r) {
            if (r == ranks_.rank) continue;
            transfer(nccl().send, own, width, r, "ncclSend");
            transfer(nccl().receive, values + begin(r) * size, begin(r + 1) - begin(r), r, "ncclRecv");
        }
        check(nccl().end_group(), "ncclGroupEnd");
    }

    // Row 0 becomes the mean of all, as a moving average: row 1 counts 1 / 2, row 2 then 1 / 3. Floats.
    void mean_of_rows(const auto& row, size_t width) {
        for (size_t r = 1; r < ranks_.count; ++r)
            run({ema_op(width),
                 {{state_, {sizeof(StepState) / sizeof(float)}, DType::f32},
                  {rates_ + r, {1}, DType::f32},
                  row(r),
                  row(0)},
                 {}});
    }

    void run(const Step& step) const {
        Cuda cuda;
        cuda.stream = stream_;
        run_on_cuda(cuda, step);
    }

    // A step is run once before it is recorded, so nothing is allocated within a recording.
    std::byte* parts_of(size_t bytes) {
        if (bytes <= parts_bytes_) return parts_;
        check(cudaStreamSynchronize(stream_), "a sum over GPUs");
        cudaFree(std::exchange(parts_, nullptr));
        check(cudaMalloc(reinterpret_cast<void**>(&parts_), bytes), "memory for sums over GPUs");
        parts_bytes_ = bytes;
        return parts_;
    }

    void open_means() {
        std::vector<float> numbers(sizeof(StepState) / sizeof(float));  // a state in which no number is lost
        for (size_t r = 0; r < ranks_.count; ++r) numbers.push_back(1 / float(r + 1));
        check(cudaMalloc(reinterpret_cast<void**>(&state_), numbers.size() * sizeof(float)),
              "memory for sums over GPUs");
        rates_ = state_ + sizeof(StepState) / sizeof(float);
        check(cudaMemcpyAsync(state_, numbers.data(), numbers.size() * sizeof(float), cudaMemcpyHostToDevice, stream_),
              "a sum over GPUs");
        check(cudaStreamSynchronize(stream_), "a sum over GPUs");
    }

    static void check(cudaError_t error, const char* doing) {
        if (error == cudaSuccess) return;
        if (error == cudaErrorMemoryAllocation) fail(Fault::memory, "out of memory on the GPU: {}", doing);
        fail(gpu_is_lost(error) ? Fault::environment : Fault::runtime, "CUDA, {}: {}", doing, text_of(error));
    }
    void check(ncclResult_t result, const char* call) const {
        if (result == ncclSuccess) return;
        fail(Fault::environment, "NCCL, {}: {}", call, text_of_result(result));
    }
    std::string text_of_result(ncclResult_t result) const {
        const char* const more = nccl().last_error(comm_);
        std::string text = fmt::format("{} (ncclResult {})", nccl().error_string(result), int(result));
        if (more && *more) text += fmt::format(": {}", more);
        std::erase(text, '\n');
        return text;
    }

    // What fails while the GPUs compute, such as a link between machines, no call returns: the steps would wait for
    // ever.
    void watch() {
        while (!ending_) {
            std::this_thread::sleep_for(100ms);
            ncclResult_t result = ncclSuccess;
            std::string text;
            {
                const std::lock_guard lock(mutex_);
                if (abandoned_) return;
                nccl().async_error(comm_, &result);
                if (result == ncclSuccess || result == ncclInProgress) continue;
                text = text_of_result(result);
            }
            const std::string& saved = ranks_.process->checkpoints;
            const std::string line = fmt::format("tundra: {}: NCCL: {}{}\n", ranks_.name(), text,
                                                 saved.empty() ? "" : "; the checkpoints are in " + saved);
            std::fputs(line.c_str(), stderr);
            std::fflush(stderr);
            // comm_ stays: ended, its sums would be unfinished numbers, which a save could write until all is over.
            ranks_.process->abort(int(Fault::environment));
            return;
        }
    }

    Ranks& ranks_;
    const bool in_order_;
    std::byte* parts_ = nullptr;  // of an array, from every rank
    size_t parts_bytes_ = 0;
    float *state_ = nullptr, *rates_ = nullptr;  // for means
    ncclComm_t comm_ = nullptr;
    cudaStream_t stream_ = nullptr;
    cudaEvent_t before_ = nullptr, behind_ = nullptr;
    bool started_ = false;  // sums that nobody has waited for
    std::atomic<bool> ending_ = false;
    std::mutex mutex_;
    std::atomic<bool> abandoned_ = false;  // comm_ is no more
    std::thread watch_;
};

#endif

}  // namespace

std::unique_ptr<GpuSums> open_nccl([[maybe_unused]] Ranks& ranks, [[maybe_unused]] bool in_order) {
#ifdef TUNDRA_NCCL
    try {
        return std::make_unique<NcclSums>(ranks, in_order);
    } catch (const MissingLibrary& e) {
        fail(Fault::usage, "several ranks on the device cuda: {}", e.what());
    }
#else
    fail(Fault::usage, "several ranks on the device cuda: {}", kNotBuilt);
#endif
}

CudaLibraryFile nccl_library_file() {
    CudaLibraryFile result{.name = "NCCL", .compiled = {}, .loaded = {}, .file = {}, .missing = kNotBuilt};
#ifdef TUNDRA_NCCL
    result.compiled = version_text(NCCL_VERSION_CODE), result.missing.clear();
    try {
        result.file = nccl().library.file_of("ncclGetVersion"), result.loaded = loaded_version();
    } catch (const MissingLibrary& e) {
        result.missing = e.what();
    }
#endif
    return result;
}
