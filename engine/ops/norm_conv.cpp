// norm_conv: the constants of the normalization, the convolution, and their gradients as nodes. The sums carry no
// gradient: what flows through them is part of that of x.
#include "kernels/conv/norm_conv.h"

#include "engine/op.h"
#include "engine/ops/conv_shape.h"
#include "kernels/batch_norm.h"

namespace {

struct Constants final : KernelOp<Constants> {
    static constexpr bool typed_by_output = true;
    size_t rows, channels;
    float eps, momentum;
    bool factors;  // a and b stand before mean and rstd
    Constants(size_t rows, size_t channels, const BatchNormOptions& o, bool factors)
        : rows(rows), channels(channels), eps(o.eps), momentum(o.momentum), factors(factors) {}
    std::string_view name() const override { return "norm_constants"; }
    template <class T>
    NormConstants<T> call(Tensors in, Tensors out) const {
        return {.rows = rows,
                .channels = channels,
                .eps = eps,
                .momentum = momentum,
                .sum = in[0].as<float>(),
                .squares = in[1].as<float>(),
                .scale = in[2].as<float>(),
                .shift = in[3].as<float>(),
                .running_mean = in[4].as<float>(),
                .running_var = in[5].as<float>(),
                .mean = out[factors ? 2 : 0].as<float>(),
                .rstd = out[factors ? 3 : 1].as<float>(),
                .a = factors ? out[0].as<T>() : nullptr,
                .b = factors ? out[1].as<T>() : nullptr};
    }
    std::vector<Value> backward(const BackwardArgs&) const override { return std::vector<Value>(6); }
};

struct BackwardData final : KernelOp<BackwardData> {
    ConvShape shape;
    explicit BackwardData(const ConvShape& s) : shape(s) {}
    std::string_view name() const override { return "norm_conv_backward_data"; }
    double flops() const override { return shape.flops(); }
    template <class T>
    NormConvBackwardData<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[2].as<T>(),
                .dy = in[0].as<T>(),
                .weight = in[1].as<T>(),
                .scale = in[3].as<float>(),
                .shift = in[4].as<float>(),
                .mean = in[5].as<float>(),
                .rstd = in[6].as<float>(),
                .g = out[0].as<T>(),
                .dscale = out.size() > 1 ? out[1].as<float>() : nullptr,
                .dshift = out.size() > 1 ? out[2].as<float>() : nullptr};
    }
};

struct BackwardWeight final : KernelOp<BackwardWeight> {
    ConvShape shape;
    explicit BackwardWeight(const ConvShape& s) : shape(s) {}
    std::string_view name() const override { return "norm_conv_backward_weight"; }
    double flops() const override { return shape.flops(); }
    template <class T>
    NormConvBackwardWeight<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .a = in[1].as<T>(),
                .b = in[2].as<T>(),
                .dy = in[3].as<T>(),
                .dweight = out[0].as<T>()};
    }
};

// dx of the normalization from g and the sums over it.
struct BackwardNorm final : KernelOp<BackwardNorm> {
    size_t rows, channels;
    BackwardNorm(size_t rows, size_t channels) : rows(rows), channels(channels) {}
    std::string_view name() const override { return "norm_backward"; }
    int overwrites(size_t output) const override { return output == 0 ? 1 : -1; }  // dx takes the place of g
    template <class T>
    BatchNormBackward<T> call(Tensors in, Tensors out) const {
        return {.shape = {.rows = rows, .channels = channels},
                .x = in[0].as<T>(),
                .y = nullptr,
                .dy = in[1].as<T>(),
                .dy2 = nullptr,
                .scale = in[2].as<float>(),
                .shift = in[3].as<float>(),
                .mean = in[4].as<float>(),
                .rstd = in[5].as<float>(),
                .dx = out[0].as<T>(),
                .dscale = in[6].as<float>(),
                .dshift = in[7].as<float>(),
                .dresidual = nullptr,
                .sums_given = true};
    }
};

// in: x, weight, and where x is normalized on the way a, b, scale, shift, mean, rstd
struct Forward final : KernelOp<Forward> {
    ConvShape shape;
    explicit Forward(const ConvShape& s) : shape(s) {}
    std::string_view name() const override { return "norm_conv"; }
    double flops() const override { return shape.flops(); }
    template <class T>
    NormConvForward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .a = in[2].as<T>(),
                .b = in[3].as<T>(),
                .weight = in[1].as<T>(),
                .y = out[0].as<T>(),
                .sum = out[1].as<float>(),
                .squares = out[2].as<float>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        const Value x = c.in[0], weight = c.in[1], a = c.in[2], b = c.in[3], scale = c.in[4], shift = c.in[5],
                    dy = c.grad[0];
        Graph& graph = *x.graph;
        std::vector<Value> grad(8);
        if (c.needed[0] && !a)
            grad[0] = graph.add(BackwardData(shape), {dy, weight, {}, {}, {}, {}, {}}, {{x.shape(), x.dtype()}})[0];
        if (c.needed[0] && a) {
            const Shape channels = scale.shape();
            const auto d = graph.add(BackwardData(shape), {dy, weight, x, scale, shift, c.in[6], c.in[7]},
                                     {{x.shape(), x.dtype()}, {channels, DType::f32}, {channels, DType::f32}});
            grad[0] = graph.add(BackwardNorm(shape.x_count() / shape.c_in, shape.c_in),
                                {x, d[0], scale, shift, c.in[6], c.in[7], d[1], d[2]}, {{x.shape(), x.dtype()}})[0];
            grad[4] = d[1], grad[5] = d[2];
        }
        if (c.needed[1])
            grad[1] = graph.add(BackwardWeight(shape), {x, a, b, dy}, {{weight.shape(), weight.dtype()}})[0];
        return grad;
    }
};

WithStats add_node(Graph& graph, Value x, Value weight, const ConvOptions& o, Value a, Value b, Value scale,
                   Value shift, Value mean, Value rstd) {
    require(graph.training && !o.bias && o.activation == Activation::none && !o.residual,
            "norm_conv: takes no bias, activation or residual, and is for training");
    const ConvShape shape = conv_shape(x, weight, o);
    const Shape channels{shape.c_out};
    const auto out = graph.add(Forward(shape), {x, weight, a, b, scale, shift, mean, rstd},
                               {{{shape.n, shape.out_h(), shape.out_w(), shape.c_out}, x.dtype()},
                                {channels, DType::f32},
                                {channels, DType::f32}});
    return {out[0], out[1], out[2]};
}

size_t rows_of(Value x) { return count(x.shape()) / x.shape().back(); }

void require_fitting(const WithStats& x, Value scale, Value shift, const BatchNormOptions& o) {
    const Shape channels{x.y.shape().back()};
    require(x.sum.shape() == channels && scale.shape() == channels && shift.shape() == channels,
            "norm_conv: x has {} channels, scale {}, shift {}", channels[0], text(scale.shape()), text(shift.shape()));
    require(rows_of(x.y) > 1, "norm_conv: x has shape {}; statistics need more than one row per channel",
            text(x.y.shape()));
    require(bool(o.running_mean) == bool(o.running_var), "norm_conv: running_mean and running_var come together");
}

}  // namespace

WithStats norm_conv(Value x, Value weight, const ConvOptions& o) {
    return add_node(*x.graph, x, weight, o, {}, {}, {}, {}, {}, {});
}

WithStats norm_conv(const WithStats& x, Value scale, Value shift, const BatchNormOptions& n, Value weight,
                    const ConvOptions& o) {
    require_fitting(x, scale, shift, n);
    require(n.activation == Activation::relu && !n.residual,
            "norm_conv: the normalization before it has relu and no residual");
    Graph& graph = *x.y.graph;
    const Shape channels = scale.shape();
    const DType type = x.y.dtype();
    const auto c = graph.add(Constants(rows_of(x.y), channels[0], n, true),
                             {x.sum, x.squares, scale, shift, n.running_mean, n.running_var},
                             {{channels, type}, {channels, type}, {channels, DType::f32}, {channels, DType::f32}});
    return add_node(graph, x.y, weight, o, c[0], c[1], scale, shift, c[2], c[3]);
}

Value batch_norm(const WithStats& x, Value scale, Value shift, const BatchNormOptions& n) {
    require_fitting(x, scale, shift, n);
    const Shape channels = scale.shape();
    const auto c = x.y.graph->add(Constants(rows_of(x.y), channels[0], n, false),
                                  {x.sum, x.squares, scale, shift, n.running_mean, n.running_var},
                                  {{channels, DType::f32}, {channels, DType::f32}});
    BatchNormOptions known = n;
    known.mean = c[0], known.rstd = c[1];
    return batch_norm(x.y, scale, shift, known);
}
