// What a step must move and compute at three levels of fusion, from the shapes in the graph.
//
// unfused   every node as the chain that it stands for: batch norm as statistics (1 read) and apply (1 read, 1 write),
//           relu, addition and the sum of two gradients as passes of their own; so too what follows a convolution
// as built  Op::bytes: the operations as they are, each operand once, batch norm's x (and y, dy) twice
// ideal     batch norm lives in its neighbours: applied where the next convolution reads, statistics where the previous
//           one writes; only block ends are written. Backward, one kernel per convolution reads dy and both activations
//           once and writes dx and dweight. Concatenation and upsampling are where the neighbours write and read.
//
// The floor of a node is max(flops / peak, bytes / peak); floors add up, nothing overlaps.
#pragma once

#include <array>

#include "bench/peaks.h"
#include "engine/op.h"
#include "engine/plan.h"

enum Level : size_t { unfused, as_built, ideal };
inline constexpr std::array level_names = {"unfused", "as built", "ideal"};

struct Cost {
    double flops = 0;
    std::array<double, 3> bytes{};
    void operator+=(const Cost& other) {
        flops += other.flops;
        for (size_t i = 0; i < 3; ++i) bytes[i] += other.bytes[i];
    }
    double floor(const Peaks& peaks, Level level) const {
        return std::max(flops / peaks.flops_per_second, bytes[level] / peaks.bytes_per_second);
    }
};

inline Cost cost_of(const Step& step) {
    const auto size = [&](const char* operand) {
        const Tensor t = step[operand];
        return t.data ? double(t.bytes()) : 0.0;
    };
    const double built = step.op->bytes(step.in, step.out);
    Cost cost{step.op->flops(), {built, built, built}};
    const std::string_view name = step.op->name();
    if (name == "conv" && size("bias") > 0) {  // batch norm was folded into it
        const double y = size("y"), residual = size("residual");
        cost.bytes[unfused] = built - residual + 4 * y + (residual ? 3 * y : 0);  // batch norm, relu, addition
    } else if (name == "batch_norm") {
        const double x = size("x"), residual = size("residual");
        cost.bytes[unfused] = 3 * x + 2 * x + (residual ? 3 * x : 0);
        cost.bytes[ideal] = residual ? residual + x : 0;
    } else if (name == "batch_norm_backward") {
        const double x = size("x"), dy2 = size("dy2");
        const bool activation = size("y") > 0 || size("shift") > 0;
        cost.bytes[unfused] = 5 * x + (activation ? 3 * x : 0) + (dy2 > 0 ? 3 * x : 0);
        cost.bytes[ideal] = x + dy2;
    } else if (name == "conv_backward_weight") {
        cost.bytes[ideal] = built - size("dy");  // the data gradient reads it
    } else if (name == "concat" || name == "upsample2") {
        cost.bytes[ideal] = 0;  // each convolution writes into its slice, and reads a smaller image where it has to
    }
    return cost;
}

// What a node computes, by its shapes.
inline std::string describe(const Step& step) {
    const std::string_view name = step.op->name();
    std::string result(name);
    if (!step.in.empty()) result += " " + to_string(step.in.front().shape);
    if (!step.out.empty()) result += " -> " + to_string(step.out.front().shape);
    if (name == "conv" || name.starts_with("conv_backward")) {
        const Shape weight = step[name == "conv_backward_weight" ? "dweight" : "weight"].shape;
        result += fmt::format(" {}x{}", weight[1], weight[2]);
    }
    return result;
}
