// The convolutions of a network on the CPU in float, bf16 and int8, layer by layer, in turns: one pass through all
// layers in float, one in bf16, one in int8, and again. Every layer has its own weights, as in the network; activations
// share memory.
//   conv_cpu [NETWORK=resnet50|yolov5x6|training] [SIZE=224] [BATCH=1] [THREADS=2] [PASSES=9]
// `training` is ResNet-50 forward and backward without what follows a convolution, in float and bf16. Times are medians
// of the passes, with one thread of its CPU time. Percentages are the share of what VDPBF16PS and VPDPBUSD reach in
// registers; Winograd's method can be above it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "bench/peaks.h"
#include "kernels/conv/int8.h"

namespace {
struct Layer {
    ConvShape conv;
    Activation activation;
    bool residual, residual_last = false;
};

std::vector<Layer> resnet50(size_t size, size_t batch) {
    std::vector<Layer> layers = {{{batch, size, size, 3, 64, 7, 7, 2, 3}, Activation::relu, false}};
    size_t h = size / 4, c_in = 64;
    const size_t blocks[] = {3, 4, 6, 3};
    for (size_t stage = 0; stage < 4; ++stage)
        for (size_t block = 0; block < blocks[stage]; ++block) {
            const size_t width = size_t(64) << stage, stride = stage && !block ? 2 : 1, out = h / stride;
            if (!block) layers.push_back({{batch, h, h, c_in, 4 * width, 1, 1, stride}, Activation::none, false});
            layers.push_back({{batch, h, h, c_in, width, 1, 1}, Activation::relu, false});
            layers.push_back({{batch, h, h, width, width, 3, 3, stride, 1}, Activation::relu, false});
            layers.push_back({{batch, out, out, width, 4 * width, 1, 1}, Activation::relu, true});
            h = out, c_in = 4 * width;
        }
    return layers;
}

// YOLOv5x6: 1280 is the longer side of an image of 4:3.
std::vector<Layer> yolov5x6(size_t size, size_t batch) {
    std::vector<Layer> layers;
    size_t h = size * 3 / 4, w = size;
    const auto conv = [&](size_t in, size_t out, size_t kernel, size_t stride = 1, bool shortcut = false) {
        layers.push_back({{batch, h, w, in, out, kernel, kernel, stride, kernel == 6 ? 2 : kernel / 2},
                          Activation::silu,
                          shortcut,
                          shortcut});
        h /= stride, w /= stride;
    };
    const auto c3 = [&](size_t in, size_t out, size_t blocks, bool shortcut) {
        conv(in, out / 2, 1), conv(in, out / 2, 1);
        for (size_t i = 0; i < blocks; ++i) conv(out / 2, out / 2, 1), conv(out / 2, out / 2, 3, 1, shortcut);
        conv(out, out, 1);
    };
    const size_t channels[] = {80, 160, 320, 640, 960, 1280}, blocks[] = {0, 4, 8, 12, 4, 4};
    conv(3, 80, 6, 2);
    for (size_t i = 1; i < 6; ++i)
        conv(channels[i - 1], channels[i], 3, 2), c3(channels[i], channels[i], blocks[i], true);
    conv(1280, 640, 1), conv(2560, 1280, 1);  // pyramid pooling
    for (size_t i = 4; i > 1; --i) {
        conv(channels[i + 1], channels[i], 1);
        h *= 2, w *= 2;
        c3(2 * channels[i], channels[i], 4, false);
    }
    for (size_t i = 3; i < 6; ++i) {
        conv(channels[i - 1], channels[i - 1], 3, 2);
        c3(2 * channels[i - 1], channels[i], 4, false);
    }
    return layers;
}

template <class T>
class Network {
public:
    Network(const std::vector<Layer>& layers, bool training) : training_(training) {
        size_t most = 0;
        for (const Layer& layer : layers) {
            const ConvShape& s = layer.conv;
            weights_.emplace_back(s.weight_count(), T(0.01f));
            biases_.emplace_back(s.c_out, 0.5f);
            most = std::max({most, s.x_count(), s.y_count(), s.weight_count()});
        }
        for (auto& part : memory_) part.resize(most);
        for (size_t i = 0; i < most; ++i)  // no subnormal numbers, and not all alike
            memory_[0][i] = T(float(i % 251) / 125 - 1), memory_[1][i] = T(float(i % 241) / 120 - 1);
    }

    // The seconds of one direction: 0 forward, 1 data, 2 weights.
    double time(const Cpu& cpu, const Layer& layer, size_t i, int direction) {
        const ConvShape& s = layer.conv;
        const T *const x = memory_[0].data(), *const dy = memory_[1].data(), *const weight = weights_[i].data();
        T* const out = memory_[2].data();
        const double start = seconds_now(cpu.threads);
        if (direction == 1)
            compute(cpu, ConvBackwardData<T>{s, dy, weight, out});
        else if (direction == 2)
            compute(cpu, ConvBackwardWeight<T>{s, x, dy, out});
        else
            compute(cpu, ConvForward<T>{
                             .shape = s,
                             .activation = training_ ? Activation::none : layer.activation,
                             .residual_last = layer.residual_last,
                             .x = x,
                             .weight = weight,
                             .bias = training_ ? nullptr : biases_[i].data(),
                             .residual = layer.residual && !training_ ? out : nullptr,  // in place, as in the network
                             .y = out,
                             .weight_is_constant = !training_});
        return seconds_now(cpu.threads) - start;
    }

private:
    bool training_;
    std::vector<std::vector<T>> weights_;
    std::vector<std::vector<float>> biases_;
    std::vector<T> memory_[3];
};

class Int8Network {
public:
    explicit Int8Network(const std::vector<Layer>& layers) {
        size_t most = 0;
        for (const Layer& layer : layers) {
            const ConvShape& s = layer.conv;
            weights_.emplace_back(s.weight_count(), int8_t(3));
            scales_.emplace_back(s.c_out, 0.001f), biases_.emplace_back(s.c_out, 0.5f);
            most = std::max({most, s.x_count(), s.y_count()});
        }
        for (auto& part : memory_) part.resize(most);
        for (size_t i = 0; i < most; ++i) memory_[0][i] = uint8_t(i % 251);
    }
    double time(const Cpu& cpu, const Layer& layer, size_t i) {
        const double start = seconds_now(cpu.threads);
        compute(cpu, ConvInt8{.shape = layer.conv,
                              .activation = layer.activation,
                              .residual_last = layer.residual_last,
                              .x = memory_[0].data(),
                              .x_range = {0.02f, 16},
                              .weight = weights_[i].data(),
                              .weight_scale = scales_[i].data(),
                              .bias = biases_[i].data(),
                              .residual = layer.residual ? memory_[1].data() : nullptr,
                              .residual_range = {0.03f, 12},
                              .y = memory_[1].data(),
                              .y_range = {0.03f, 12}});
        return seconds_now(cpu.threads) - start;
    }

private:
    std::vector<std::vector<int8_t>> weights_;
    std::vector<std::vector<float>> scales_, biases_;
    std::vector<uint8_t> memory_[2];
};

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + ptrdiff_t(values.size() / 2), values.end());
    return values[values.size() / 2];
}

struct Row {
    size_t count = 0;
    double flops = 0;
    std::vector<double> seconds[3];  // of every pass: float, bf16, int8
};
}  // namespace

int main(int count, char** values) {
    const std::string network = count > 1 ? values[1] : "resnet50";
    const auto argument = [&](int i, size_t otherwise) { return i < count ? size_t(std::atol(values[i])) : otherwise; };
    const size_t size = argument(2, 224), batch = argument(3, 1), passes = argument(5, 9);
    const bool training = network == "training";
    Cpu cpu;
    cpu.threads = int(argument(4, 2));
    std::vector<double> scratch(Cpu::scratch_reserved(cpu.threads) / sizeof(double));
    cpu.scratch = {scratch.data(), scratch.size() * sizeof(double)};
    const std::vector<Layer> layers = network == "yolov5x6" ? yolov5x6(size, batch) : resnet50(size, batch);
    Network<float> floats(layers, training);
    Network<bf16> halves(layers, training);
    Int8Network bytes(layers);
    std::map<std::pair<int, ConvShape>, Row> rows;
    Row all;
    for (size_t pass = 0; pass < passes + 2; ++pass)  // the first two make packed weights
        for (size_t type = 0; type < (training ? 2 : 3); ++type) {
            std::map<std::pair<int, ConvShape>, double> sums;
            double sum = 0;
            for (int direction = 0; direction < (training ? 3 : 1); ++direction)
                for (size_t i = 0; i < layers.size(); ++i) {
                    if (direction == 1 && i == 0) continue;  // the image needs no gradient
                    const double seconds = type == 0   ? floats.time(cpu, layers[i], i, direction)
                                           : type == 1 ? halves.time(cpu, layers[i], i, direction)
                                                       : bytes.time(cpu, layers[i], i);
                    sums[{direction, layers[i].conv}] += seconds, sum += seconds;
                    if (pass == 0 && type == 0) {
                        Row& row = rows[{direction, layers[i].conv}];
                        ++row.count, ++all.count;
                        row.flops += layers[i].conv.flops(), all.flops += layers[i].conv.flops();
                    }
                }
            if (pass < 2) continue;
            for (const auto& [key, seconds] : sums) rows[key].seconds[type].push_back(seconds);
            all.seconds[type].push_back(sum);
        }
    const double peak[] = {peaks::flops(cpu.threads), peaks::bf16_flops(cpu.threads),
                           peaks::int8_operations(cpu.threads)};
    fmt::print("{}, {} px, batch {}, {} threads; FMA {:.0f} GFLOP/s, VDPBF16PS {:.0f}, VPDPBUSD {:.0f}\n", network,
               size, batch, cpu.threads, peak[0] * 1e-9, peak[1] * 1e-9, peak[2] * 1e-9);
    const auto print = [&](const std::string& name, const Row& row) {
        const double as_float = median(row.seconds[0]);
        fmt::print("{:40} x{:<3} float {:8.3f} ms", name, row.count, as_float * 1e3);
        for (size_t type = 1; type < (training ? 2 : 3); ++type) {
            const double now = median(row.seconds[type]);
            fmt::print("  {} {:8.3f} ms {:5.2f}x", type == 1 ? "bf16" : "int8", now * 1e3, as_float / now);
            if (peak[type] > 0) fmt::print(" {:4.0f} %", 100 * row.flops / now / peak[type]);
        }
        training ? fmt::print("\n")
                 : fmt::print("  int8/bf16 {:.2f}x\n", median(row.seconds[1]) / median(row.seconds[2]));
    };
    const char* const names[] = {"forward", "data", "weights"};
    for (const auto& [key, row] : rows) {
        const ConvShape& s = key.second;
        print(fmt::format("{} {}x{} {} to {}, {}x{}/{}", names[key.first], s.h, s.w, s.c_in, s.c_out, s.kernel_h,
                          s.kernel_w, s.stride),
              row);
    }
    print("all", all);
}
