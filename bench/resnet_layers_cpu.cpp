// Time of every kernel of a ResNet-50 training step on the CPU, layer by layer.
//   resnet_layers_cpu [SIZE=64] [BATCH=32] [THREADS=2] [REPEATS=3]
// With one thread the clock is the thread's own CPU time, which other programs on the machine hardly disturb.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/cpu.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/optimizer.h"
#include "kernels/pool.h"

namespace {
using Floats = std::vector<float>;

class Bench {
public:
    Bench(int threads, int repeats) : repeats_(repeats) {
        cpu_.threads = threads;
        cpu_.scratch = {scratch_.data(), scratch_.size() * sizeof(double)};
    }

    // The best of `repeats`, added to the row `name` `count` times. Memory is touched in between, so caches are cold.
    template <class Op>
    void time(const char* name, const Op& op, size_t count, double flops = 0) {
        compute(cpu_, op);
        double best = 1e30;
        for (int i = 0; i < repeats_; ++i) {
            for (float& value : spoiler_) value += 1;
            const double start = now();
            compute(cpu_, op);
            best = std::min(best, now() - start);
        }
        Row& row = rows_[name];
        row.seconds += best * double(count);
        row.flops += flops * double(count);
    }

    void print() const {
        double total = 0;
        for (const auto& [name, row] : rows_) {
            fmt::print("{:24} {:8.2f} ms", name, row.seconds * 1e3);
            row.flops > 0 ? fmt::print(" {:7.0f} GFLOP/s\n", row.flops / row.seconds * 1e-9) : fmt::print("\n");
            total += row.seconds;
        }
        fmt::print("{:24} {:8.2f} ms\n", "sum", total * 1e3);
    }

private:
    struct Row {
        double seconds = 0, flops = 0;
    };

    double now() const {
        timespec t;
        clock_gettime(cpu_.threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
        return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
    }

    Cpu cpu_;
    int repeats_;
    std::vector<double> scratch_ = std::vector<double>(16 << 20);
    Floats spoiler_ = Floats(16 << 20);
    std::map<std::string, Row> rows_;
};

struct Layer {
    ConvShape conv;
    size_t count;   // of such layers
    bool residual;  // its batch norm adds the block's input
};

std::vector<Layer> resnet50_layers(size_t size, size_t batch) {
    std::vector<Layer> layers = {{{batch, size, size, 3, 64, 7, 7, 2, 3}, 1, false}};
    size_t h = size / 4, c_in = 64;
    const size_t blocks[] = {3, 4, 6, 3};
    for (size_t stage = 0; stage < 4; ++stage) {
        const size_t width = size_t(64) << stage, stride = stage ? 2 : 1;
        const auto add = [&](size_t in, size_t out, size_t kernel, size_t step, size_t count, bool residual) {
            if (count) layers.push_back({{batch, h, h, in, out, kernel, kernel, step, kernel / 2}, count, residual});
        };
        add(c_in, width, 1, 1, 1, false);
        add(width, width, 3, stride, 1, false);
        add(c_in, 4 * width, 1, stride, 1, false);
        h /= stride;
        add(width, 4 * width, 1, 1, blocks[stage], true);
        add(4 * width, width, 1, 1, blocks[stage] - 1, false);
        add(width, width, 3, 1, blocks[stage] - 1, false);
        c_in = 4 * width;
    }
    return layers;
}

void time_layer(Bench& bench, const Layer& layer) {
    const ConvShape& s = layer.conv;
    Floats x(s.x_count(), 0.5f), weight(s.weight_count(), 0.01f), y(s.y_count(), 0.5f), dy(s.y_count(), 0.1f);
    Floats residual(s.y_count(), 0.1f), z(s.y_count()), dz(s.y_count()), dresidual(s.y_count()), dx(s.x_count()),
        dweight(s.weight_count());
    bench.time(
        "conv forward",
        ConvForward<float>{
            .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y.data()},
        layer.count, s.flops());
    if (s.c_in > 3)
        bench.time("conv backward data", ConvBackwardData<float>{s, dy.data(), weight.data(), dx.data()}, layer.count,
                   s.flops());
    bench.time("conv backward weight", ConvBackwardWeight<float>{s, x.data(), dy.data(), dweight.data()}, layer.count,
               s.flops());

    const size_t c = s.c_out, rows = s.y_count() / c;
    Floats one(c, 1), mean(c), rstd(c), running(c), running_var(c), dscale(c), dshift(c);
    for (size_t i = 0; i < y.size(); ++i) y[i] = float(i % 17);
    const BatchNormShape shape{.rows = rows, .channels = c, .activation = Activation::relu};
    const float* const added = layer.residual ? residual.data() : nullptr;
    bench.time("batch norm forward",
               BatchNormForward<float>{.shape = shape,
                                       .momentum = 0.1f,
                                       .x = y.data(),
                                       .scale = one.data(),
                                       .shift = one.data(),
                                       .residual = added,
                                       .running_mean = running.data(),
                                       .running_var = running_var.data(),
                                       .y = z.data(),
                                       .mean = mean.data(),
                                       .rstd = rstd.data()},
               layer.count);
    bench.time("batch norm backward",
               BatchNormBackward<float>{.shape = shape,
                                        .x = y.data(),
                                        .y = z.data(),
                                        .dy = dy.data(),
                                        .dy2 = added,
                                        .scale = one.data(),
                                        .shift = one.data(),
                                        .mean = mean.data(),
                                        .rstd = rstd.data(),
                                        .dx = dz.data(),
                                        .dscale = dscale.data(),
                                        .dshift = dshift.data(),
                                        .dresidual = added ? dresidual.data() : nullptr},
               layer.count);
}

void time_rest(Bench& bench, size_t size, size_t batch) {
    const MaxPoolShape pool{batch, size / 2, size / 2, 64, 3, 2, 1};
    const size_t in = batch * pool.h * pool.w * pool.c, out = in / 4;
    Floats x(in, 1), y(out, 1);
    std::vector<uint8_t> argmax(out);
    bench.time("max pool forward", MaxPoolForward<float>{pool, x.data(), y.data(), argmax.data()}, 1);
    bench.time("max pool backward", MaxPoolBackward<float>{pool, y.data(), nullptr, argmax.data(), x.data()}, 1);
    const size_t parameters = 25557032;
    StepState state;
    Floats parameter(parameters), gradient(parameters), momentum(parameters);
    bench.time("sgd",
               SgdStep<float>{.count = parameters,
                              .weight_decay = 1e-4f,
                              .nesterov = false,
                              .state = &state,
                              .gradient = gradient.data(),
                              .parameter = parameter.data(),
                              .momentum = momentum.data(),
                              .compute_copy = nullptr},
               1);
    const LinearShape head{batch, 2048, 1000};
    Floats features(batch * 2048), weight(2048000), bias(1000), logits(batch * 1000);
    bench.time("linear forward", LinearForward<float>{head, features.data(), weight.data(), bias.data(), logits.data()},
               1);
    bench.time("linear backward",
               LinearBackward<float>{head, features.data(), weight.data(), logits.data(), features.data(),
                                     weight.data(), bias.data()},
               1);
}
}  // namespace

int main(int count, char** values) {
    const auto argument = [&](int i, size_t otherwise) { return i < count ? size_t(std::atol(values[i])) : otherwise; };
    const size_t size = argument(1, 64), batch = argument(2, 32);
    Bench bench(int(argument(3, 2)), int(argument(4, 3)));
    for (const Layer& layer : resnet50_layers(size, batch)) time_layer(bench, layer);
    time_rest(bench, size, batch);
    fmt::print("ResNet-50 training, {} px, batch {}, {} threads, {} primitives\n", size, batch, argument(3, 2),
               conv_primitives_created());
    bench.print();
}
