// The direct convolutions as an operation of a graph: what bench/kernels compares with and times beside the library's.
#pragma once

#include "engine/op.h"
#include "engine/plan.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/onednn.h"

// A convolution by compute_direct(): the reference of the fast ones, and on a GPU a row of its own. With `library`, on
// the CPU by oneDNN: a row beside Winograd's method. `original` is the operation that it stands for.
struct DirectConv final : Op {
    std::shared_ptr<const Op> original;
    ConvShape shape;
    Activation activation;
    bool residual_last;
    bool library = false, constant = false;
    DirectConv(std::shared_ptr<const Op> original, const ConvShape& shape, Activation activation, bool residual_last)
        : original(std::move(original)), shape(shape), activation(activation), residual_last(residual_last) {}
    std::string_view name() const override { return "conv_direct"; }
    Operands operands() const override { return original->operands(); }
    double flops() const override { return shape.flops(); }
    void run(const Cpu& d, Tensors in, Tensors out) const override {
        call_as<float>(in, out, [&](const auto& op) { library ? onednn::convolve(d, op) : compute_direct(d, op); });
    }
    void run(const Simt& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { compute_direct(d, op); });
    }
    void run([[maybe_unused]] const Cuda& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) {
            if constexpr (has_cuda) compute_direct(d, op);
        });
    }

private:
    template <class T, class Run>
    void call_as(Tensors in, Tensors out, const Run& run) const {
        const Step step{original, {in.begin(), in.end()}, {out.begin(), out.end()}};
        const auto at = [&](const char* name) { return step[name].as<T>(); };
        if (original->name() == "conv")
            run(ConvForward<T>{.shape = shape,
                               .activation = activation,
                               .residual_last = residual_last,
                               .x = at("x"),
                               .weight = at("weight"),
                               .bias = step["bias"].as<float>(),
                               .residual = at("residual"),
                               .y = at("y"),
                               .weight_is_constant = constant});
        else if (original->name() == "conv_backward_data")
            run(ConvBackwardData<T>{.shape = shape,
                                    .dy = at("dy"),
                                    .weight = at("weight"),
                                    .dx = at("dx"),
                                    .dx2 = at("dx2"),
                                    .x = at("x")});
        else
            run(ConvBackwardWeight<T>{.shape = shape, .x = at("x"), .dy = at("dy"), .dweight = at("dweight")});
    }
    void call(Tensors in, Tensors out, const auto& run) const {
        const DType type = in[0].dtype;  // x or dy
        if (type == DType::bf16) return call_as<bf16>(in, out, run);
        if (type == DType::f16) return call_as<fp16>(in, out, run);
        call_as<float>(in, out, run);
    }
};

// Stride and padding, which the shapes of the tensors imply.
inline ConvShape conv_shape(const Shape& x, const Shape& weight, const Shape& y) {
    ConvShape s{x[0], x[1], x[2], x[3], weight[0], weight[1], weight[2]};
    s.stride = (x[1] + y[1] - 1) / y[1];
    while (s.h + 2 * s.padding < s.kernel_h || s.out_h() < y[1]) ++s.padding;
    return s;
}

// What a convolution of inference computes besides; a wrong guess would fail the comparison. ResNet: relu after the
// addition, nothing where another convolution only adds the result. YOLOv5: silu before the addition, nothing in the
// heads.
inline Activation activation_of(const Graph& graph, const Node& node, bool yolo) {
    if (graph.training) return Activation::none;
    if (yolo) return graph.values[size_t(node["y"])].shape.back() == 24 ? Activation::none : Activation::silu;
    bool read = false, added = false;
    for (const Node& other : graph.nodes) {
        read |= other.in[0] == node["y"];
        added |= other.op->name() == "conv" && other["residual"] == node["y"];
    }
    return added && !read ? Activation::none : Activation::relu;
}
