#include "bench/device_time.h"

#include <algorithm>

#include "bench/device_time_cuda.h"
#include "bench/op_graph.h"
#include "kernels/device.h"

double seconds_of(Device& device, std::span<const Step> steps) {
    device.run(steps);
    device.synchronize();
    if constexpr (has_cuda)
        if (device.kind() == "cuda") return seconds_between_events(device, steps);
    const double start = seconds_now();
    device.run(steps);
    device.synchronize();
    return seconds_now() - start;
}

// The stand-in for the CUDA runtime has less memory than any GPU of compute capability 8.0.
bool on_silicon(const Device& device) { return device.gpu().memory_bytes > size_t(3) << 30; }

Peaks measure_gpu_peaks(Device& device, DType type) {
    constexpr size_t kSmall = 64, kSide = 8192;
    const bool real = on_silicon(device);
    const size_t side = real ? kSide : kSmall;
    OpGraph graph(device, type, false);
    const Value x = graph.input("x", {side, side}, type, Floats(side * side, 0.5f)),
                weight = graph.input("weight", {side, side}, type, Floats(side * side, 0.25f)),
                bias = graph.input("bias", {side}, DType::f32, Floats(side, 0));
    graph.plan(std::array{linear(x, weight, bias)});
    graph.write_inputs();
    const std::vector<Step> products(real ? 20 : 1, graph.program().steps()[0]);
    double fastest = seconds_of(device, products);
    for (int i = 1; i < 5; ++i) fastest = std::min(fastest, seconds_of(device, products));
    Peaks peaks{.flops_per_second = 2.0 * double(side * side) * double(side) * double(products.size()) / fastest};
    if constexpr (has_cuda)
        if (device.kind() == "cuda") peaks.bytes_per_second = copied_per_second(real ? size_t(1) << 30 : 1 << 16);
    return peaks;
}
