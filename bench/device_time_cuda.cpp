#include "bench/device_time_cuda.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>

#include "engine/device_cuda.h"
#include "kernels/device.h"

namespace {

void check(cudaError_t error) {
    if (error != cudaSuccess) fail(Fault::runtime, "CUDA, timing: {}", cudaGetErrorString(error));
}

struct Event {
    cudaEvent_t event = nullptr;
    Event() { check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync)); }
    ~Event() { cudaEventDestroy(event); }
    Event(const Event&) = delete;
};

double seconds(cudaStream_t stream, const std::function<void()>& work) {
    Event start, stop;
    float milliseconds = 0;
    check(cudaEventRecord(start.event, stream));
    work();
    check(cudaEventRecord(stop.event, stream));
    check(cudaEventSynchronize(stop.event));
    check(cudaEventElapsedTime(&milliseconds, start.event, stop.event));
    return 1e-3 * double(milliseconds);
}

}  // namespace

double seconds_between_events(Device& device, std::span<const Step> steps) {
    std::unique_ptr<Recording> recording;
    try {
        recording = device.record(steps);
    } catch (const Error&) {  // a library that cannot be recorded
    }
    const auto run = [&] { recording ? recording->launch() : device.run(steps); };
    run();
    return seconds(cuda_of(device).stream, run);
}

bool has_cudnn(Device& device) { return cuda_of(device).cudnn != nullptr; }

double copied_per_second(size_t bytes) {
    void *from = nullptr, *to = nullptr;
    check(cudaMalloc(&from, bytes));
    check(cudaMalloc(&to, bytes));
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    check(cudaMemsetAsync(from, 1, bytes, stream));
    double fastest = 1e9;
    for (int i = 0; i < 6; ++i)
        fastest = std::min(fastest, seconds(stream, [&] {
                               check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
                           }));
    cudaStreamDestroy(stream);
    cudaFree(from), cudaFree(to);
    return 2.0 * double(bytes) / fastest;
}
