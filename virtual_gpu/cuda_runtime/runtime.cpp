// The stand-in for the CUDA runtime: streams are queues, events points in them, graphs lists of work.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime_api.h"
#include "virtual_gpu/simt/runtime.h"

using Work = std::function<void()>;

struct Task {
    Work work;                         // empty: a mark
    std::shared_ptr<size_t> wait_for;  // done when *wait_for is 1
    bool kernel = false;
};
struct FakeGraph {
    struct Part {
        Work work;
        std::vector<size_t> after;  // parts of the same graph
        bool beside;                // of another stream than the one that began the capture
    };
    std::vector<Part> parts;
};
struct FakeCapture {
    FakeGraph graph;
    cudaStream_t origin;
    bool broken = false;
};
struct FakeEvent {
    std::shared_ptr<size_t> done = std::make_shared<size_t>(1);  // then when, in nanoseconds
    std::shared_ptr<FakeCapture> capture = {};                   // in which it was recorded last
    std::vector<size_t> after = {};                              // these parts of it
    cudaStream_t of = nullptr;
};
struct CUstream_st {
    std::deque<Task> tasks = {};
    std::shared_ptr<FakeCapture> capture = {};
    std::vector<size_t> last = {};  // parts that the next one of this stream follows
};

namespace {

fake_cuda::Settings of_environment() {
    fake_cuda::Settings s;
    const auto value = [](const char* name) {
        const char* const text = std::getenv(name);
        return std::string(text ? text : "");
    };
    if (const std::string gpus = value("VIRTUAL_GPUS"); !gpus.empty()) s.gpus = std::stoi(gpus);
    s.early = value("VIRTUAL_GPU_ORDER") == "early";
    s.drops_begin = value("VIRTUAL_GPU_DROPS") == "begin", s.drops_end = value("VIRTUAL_GPU_DROPS") == "end";
    return s;
}
fake_cuda::Settings settings = of_environment();
fake_cuda::Counts count;
std::atomic<cudaError_t> broken = cudaSuccess;
thread_local cudaError_t last = cudaSuccess;
std::map<const std::byte*, size_t> device_memory, pinned_memory;
std::mutex pinning;  // guards pinned_memory and the next
size_t pinned_allocations = 0;
std::map<const void*, size_t> sources;
std::vector<CUstream_st*> streams;
std::set<FakeEvent*> events;
std::set<FakeGraph*> graphs;
size_t used = 0;

cudaError_t called(cudaError_t error = cudaSuccess) {
    if (++count.calls >= settings.lost_at_call) broken = cudaErrorIllegalAddress;
    if (broken != cudaSuccess) return last = broken;
    if (error != cudaSuccess) last = error;
    return error;
}

bool inside(const std::map<const std::byte*, size_t>& memory, const void* p) {
    auto it = memory.upper_bound(static_cast<const std::byte*>(p));
    if (it == memory.begin()) return false;
    --it;
    return static_cast<const std::byte*>(p) < it->first + it->second;
}

bool run_one(CUstream_st& stream) {
    if (stream.tasks.empty()) return false;
    Task task = stream.tasks.front();
    if (task.wait_for && *task.wait_for == 0) {  // the other stream has to get there first
        for (CUstream_st* other : streams)
            while (other != &stream && *task.wait_for == 0 && run_one(*other)) {
            }
        if (*task.wait_for == 0) return false;
    }
    stream.tasks.pop_front();
    if (task.work) task.work();
    return true;
}

// Beside the stream of the steps and that of the copies: what comes to work along with them.
bool is_beside(cudaStream_t stream) { return fake_cuda::number_of(stream) > 1; }

void push(cudaStream_t stream, Task task) {
    if (stream->capture) {
        std::vector<FakeGraph::Part>& parts = stream->capture->graph.parts;
        parts.push_back({std::move(task.work), stream->last, stream != stream->capture->origin});
        stream->last = {parts.size() - 1};
        return;
    }
    stream->tasks.push_back(std::move(task));
    if (!settings.early) return;
    for (CUstream_st* other : streams)
        if (other != streams[0])
            while (!other->tasks.empty() && (!other->tasks[0].wait_for || *other->tasks[0].wait_for)) run_one(*other);
}

// One after the other in an order that their waits allow: those beside as early, or as late, as they may.
void run_parts(const std::vector<FakeGraph::Part>& parts) {
    std::vector<bool> done(parts.size());
    for (size_t count = 0; count < parts.size(); ++count) {
        size_t next = parts.size();
        for (size_t i = 0; i < parts.size(); ++i) {
            if (done[i] || !std::ranges::all_of(parts[i].after, [&](size_t before) { return done[before]; })) continue;
            if (next == parts.size()) next = i;
            if (parts[i].beside != settings.early) continue;
            next = i;
            break;
        }
        parts[next].work();
        done[next] = true;
    }
}

// Whether everything that another stream did in the capture comes before what its own stream did last.
bool is_joined(const FakeCapture& capture) {
    std::vector<size_t> reached = capture.origin->last;
    std::vector<bool> before(capture.graph.parts.size());
    while (!reached.empty()) {
        const size_t part = reached.back();
        reached.pop_back();
        if (before[part]) continue;
        before[part] = true;
        const std::vector<size_t>& after = capture.graph.parts[part].after;
        reached.insert(reached.end(), after.begin(), after.end());
    }
    return std::ranges::count(before, false) == 0;
}

}  // namespace

namespace fake_cuda {
void reset(const Settings& s) {
    settings = s;
    count = {};
    pinned_allocations = 0;
    sources.clear();
    broken = cudaSuccess, last = cudaSuccess;
    for (const auto& [p, bytes] : device_memory) simt::device_free(const_cast<std::byte*>(p));
    for (const auto& [p, bytes] : pinned_memory) ::operator delete(const_cast<std::byte*>(p));
    for (CUstream_st* stream : streams) delete stream;
    for (FakeEvent* event : events) delete event;
    for (FakeGraph* graph : graphs) delete graph;
    device_memory.clear(), pinned_memory.clear(), streams.clear(), events.clear(), graphs.clear();
    used = 0;
}
Counts counts() {
    const std::lock_guard lock(pinning);
    Counts all = count;
    all.allocations += pinned_allocations, all.alive += pinned_memory.size();
    return all;
}
size_t copies_from(const void* p) { return sources[p]; }
size_t to_choose() { return settings.to_choose; }
bool no_cudnn() { return settings.no_cudnn; }
void break_gpu(cudaError_t error) { broken = error; }
void enqueue(cudaStream_t stream, Work work) { push(stream, {std::move(work), nullptr, true}); }
size_t number_of(cudaStream_t stream) { return size_t(std::ranges::find(streams, stream) - streams.begin()); }
bool is_capturing(cudaStream_t stream) { return stream->capture != nullptr; }
}  // namespace fake_cuda

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "some error";
}
cudaError_t cudaGetLastError() {  // not counted: any thread may ask
    const cudaError_t error = last;
    if (broken == cudaSuccess || broken == cudaErrorMemoryAllocation) last = cudaSuccess;  // others stay
    return error;
}
cudaError_t cudaPeekAtLastError() {
    ++count.calls;
    return last;
}
cudaError_t cudaDriverGetVersion(int* v) {
    *v = settings.driver;
    return called();
}
cudaError_t cudaRuntimeGetVersion(int* v) {
    *v = 13000;
    return called();
}
cudaError_t cudaGetDeviceCount(int* n) {
    *n = settings.device == cudaSuccess ? settings.gpus : 0;
    return called(settings.device);
}
cudaError_t cudaSetDevice(int) { return called(); }
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
    std::snprintf(text, size_t(length), "0000:%02x:00.0", unsigned(device));
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
    *p = {};
    std::strcpy(p->name, "Fake GPU");
    p->totalGlobalMem = settings.memory;
    p->major = settings.major;
    return called();
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    *free = settings.memory - used;
    *total = settings.memory;
    return called();
}
cudaError_t cudaMalloc(void** p, size_t bytes) {
    if (used + bytes > settings.memory) return called(cudaErrorMemoryAllocation);
    if (const auto error = called(); error != cudaSuccess) return error;
    *p = simt::device_malloc(bytes);
    device_memory[static_cast<std::byte*>(*p)] = bytes;
    used += bytes, ++count.allocations, ++count.alive;
    count.max_used = std::max(count.max_used, used);
    return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
    for (CUstream_st* stream : streams)  // waits for the device, like the real one
        while (run_one(*stream)) {
        }
    const auto found = device_memory.find(static_cast<std::byte*>(p));
    if (found == device_memory.end()) return called(cudaErrorInvalidValue);
    used -= found->second, --count.alive;
    device_memory.erase(found);
    simt::device_free(p);
    return called();
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
    const std::lock_guard lock(pinning);
    if (broken != cudaSuccess) return last = broken;
    *p = ::operator new(bytes);
    pinned_memory[static_cast<std::byte*>(*p)] = bytes;
    ++pinned_allocations;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
    const std::lock_guard lock(pinning);
    if (!pinned_memory.erase(static_cast<std::byte*>(p))) return cudaErrorInvalidValue;
    ::operator delete(p);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const bool device_to = inside(device_memory, to), device_from = inside(device_memory, from);
    if (device_to != (kind != cudaMemcpyDeviceToHost) || device_from != (kind != cudaMemcpyHostToDevice))
        return called(cudaErrorInvalidValue);
    const bool pinned = [&] {
        const std::lock_guard lock(pinning);
        return inside(pinned_memory, from);
    }();
    if (kind == cudaMemcpyHostToDevice) ++sources[from];
    if (kind == cudaMemcpyHostToDevice && !pinned) {
        std::vector<std::byte> bytes_now(static_cast<const std::byte*>(from),
                                         static_cast<const std::byte*>(from) + bytes);
        push(stream, {[=, data = std::move(bytes_now)] { simt::copy(to, data.data(), bytes); }, nullptr});
    } else {
        push(stream, {[=] { simt::copy(to, from, bytes); }, nullptr});
    }
    if (kind == cudaMemcpyHostToDevice)
        for (const CUstream_st* other : streams)
            if (other != stream)
                for (const Task& task : other->tasks)
                    if (task.kernel) {
                        ++count.overlapped_copies;
                        return called();
                    }
    return called();
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    push(stream, {[=] { simt::fill(to, value, bytes); }, nullptr});
    return called();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = streams.emplace_back(new CUstream_st);
    ++count.alive;
    return called();
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    std::erase(streams, stream);
    delete stream;
    --count.alive;
    return called();
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (broken != cudaSuccess) return called();
    if (stream->capture) return called(cudaErrorStreamCaptureUnsupported);
    while (run_one(*stream)) {
    }
    return called();
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return called(stream->tasks.empty() ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    if (settings.drops_begin && is_beside(stream)) return called();
    if (settings.drops_end && event->of && is_beside(event->of) && !is_beside(stream)) return called();
    const bool recorded_there = event->capture && event->capture == event->capture->origin->capture;
    if (!stream->capture && !recorded_there) {
        push(stream, {nullptr, event->done});
        return called();
    }
    if (!recorded_there || (stream->capture && stream->capture != event->capture)) {
        if (stream->capture) stream->capture->broken = true;
        return called(cudaErrorStreamCaptureIsolation);
    }
    if (!stream->capture) stream->capture = event->capture, stream->last.clear();
    stream->last.insert(stream->last.end(), event->after.begin(), event->after.end());
    return called();
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    stream->capture = std::make_shared<FakeCapture>(FakeCapture{{}, stream});
    stream->last.clear();
    return called();
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const std::shared_ptr<FakeCapture> capture = std::exchange(stream->capture, nullptr);
    *graph = nullptr;
    const bool joined = is_joined(*capture);
    FakeGraph recorded = std::move(capture->graph);  // events of the capture would keep its work
    for (CUstream_st* other : streams)
        if (other->capture == capture) other->capture = nullptr;
    if (settings.refuses_capture || capture->broken) return called(cudaErrorStreamCaptureInvalidated);
    if (!joined) return called(cudaErrorStreamCaptureUnjoined);
    graphs.insert(*graph = new FakeGraph{std::move(recorded)});
    ++count.alive;
    return called();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    events.insert(*event = new FakeEvent);
    ++count.alive;
    return called();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    events.erase(event);
    delete event;
    --count.alive;
    return called();
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->of = stream, event->capture = stream->capture, event->after = stream->last;
    if (stream->capture) return called();
    event->done = std::make_shared<size_t>(0);
    push(stream, {[done = event->done] { *done = size_t(std::chrono::steady_clock::now().time_since_epoch().count()); },
                  nullptr});
    return called();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (broken != cudaSuccess) return called();
    // The first stream as far as it gets, then the next: what it does not wait for is late.
    while (*event->done == 0 && std::ranges::any_of(streams, [](CUstream_st* stream) { return run_one(*stream); })) {
    }
    return called();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
    *milliseconds = float(double(*stop->done) - double(*start->done)) * 1e-6f;
    return called();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
    graphs.insert(*exec = new FakeGraph(*graph));
    ++count.alive;
    return called();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    if (const auto error = called(); error != cudaSuccess) return error;
    push(stream, {[parts = graph->parts] { run_parts(parts); }, nullptr, true});
    ++count.graph_launches;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    graphs.erase(graph);
    delete graph;
    --count.alive;
    return called();
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }
