// conv and its gradients as nodes; the gradient of the bias is a node of its own.
#include "kernels/conv/conv.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/conv_shape.h"
#include "kernels/bias.h"

namespace {

struct BackwardData final : KernelOp<BackwardData> {
    ConvShape shape;
    explicit BackwardData(const ConvShape& s) : shape(s) {}
    std::string_view name() const override { return "conv_backward_data"; }
    double flops() const override { return shape.flops(); }
    template <class T>
    ConvBackwardData<T> call(Tensors in, Tensors out) const {
        return {.shape = shape, .dy = in[0].as<T>(), .weight = in[1].as<T>(), .dx = out[0].as<T>()};
    }
};

struct BackwardWeight final : KernelOp<BackwardWeight> {
    ConvShape shape;
    explicit BackwardWeight(const ConvShape& s) : shape(s) {}
    std::string_view name() const override { return "conv_backward_weight"; }
    double flops() const override { return shape.flops(); }
    template <class T>
    ConvBackwardWeight<T> call(Tensors in, Tensors out) const {
        return {.shape = shape, .x = in[0].as<T>(), .dy = in[1].as<T>(), .dweight = out[0].as<T>()};
    }
};

struct BackwardBias final : KernelOp<BackwardBias> {
    size_t rows, channels;
    BackwardBias(size_t rows, size_t channels) : rows(rows), channels(channels) {}
    std::string_view name() const override { return "bias_backward"; }
    template <class T>
    BiasBackward<T> call(Tensors in, Tensors out) const {
        return {.rows = rows, .channels = channels, .dy = in[0].as<T>(), .dbias = out[0].as<float>()};
    }
};

struct Forward final : KernelOp<Forward> {
    ConvShape shape;
    Activation activation;
    bool residual_last, weight_is_constant;
    Forward(const ConvShape& s, const ConvOptions& o, bool constant)
        : shape(s), activation(o.activation), residual_last(o.residual_last), weight_is_constant(constant) {}
    std::string_view name() const override { return "conv"; }
    double flops() const override { return shape.flops(); }
    int overwrites(size_t output) const override { return output == 0 ? 3 : -1; }  // the residual
    void prepare(const Cpu& cpu, Tensors in, Tensors out) const override { scratch_bytes(cpu, call<float>(in, out)); }
    template <class T>
    ConvForward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .activation = activation,
                .residual_last = residual_last,
                .x = in[0].as<T>(),
                .weight = in[1].as<T>(),
                .bias = in[2].as<float>(),
                .residual = in[3].as<T>(),
                .y = out[0].as<T>(),
                .weight_is_constant = weight_is_constant};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        require(activation == Activation::none && !c.in[3],
                "conv: there is no gradient through a fused activation or residual; training uses batch_norm for both");
        const Value x = c.in[0], weight = c.in[1], bias = c.in[2], dy = c.grad[0];
        Graph& graph = *x.graph;
        std::vector<Value> grad(4);
        if (c.needed[0]) grad[0] = graph.add(BackwardData(shape), {dy, weight}, {{x.shape(), x.dtype()}})[0];
        if (c.needed[1]) grad[1] = graph.add(BackwardWeight(shape), {x, dy}, {{weight.shape(), weight.dtype()}})[0];
        if (c.needed[2])
            grad[2] = graph.add(BackwardBias(shape.y_count() / shape.c_out, shape.c_out), {dy},
                                {{bias.shape(), DType::f32}})[0];
        return grad;
    }
};

}  // namespace

ConvShape conv_shape(Value x, Value weight, const ConvOptions& o) {
    const Shape &s = x.shape(), &w = weight.shape();
    require(s.size() == 4 && w.size() == 4, "conv: x has shape {}, weight {}; both need four dimensions", text(s),
            text(w));
    require(s[3] == w[3], "conv: x has {} channels, weight {} expects {}", s[3], text(w), w[3]);
    require(o.stride >= 1 && s[1] + 2 * o.padding >= w[1] && s[2] + 2 * o.padding >= w[2],
            "conv: a {}x{} kernel with padding {} and stride {} does not fit an image of {}x{}", w[1], w[2], o.padding,
            o.stride, s[1], s[2]);
    // oneDNN 2.6 computes such shapes wrongly (a 3x1 kernel with padding 1), and no network needs them.
    require(o.padding < w[1] && o.padding < w[2], "conv: padding {} reaches past a {}x{} kernel", o.padding, w[1],
            w[2]);
    return {s[0], s[1], s[2], s[3], w[0], w[1], w[2], o.stride, o.padding};
}

Value conv(Value x, Value weight, const ConvOptions& o) {
    const ConvShape shape = conv_shape(x, weight, o);
    const Shape &s = x.shape(), &w = weight.shape();
    require(!o.bias || o.bias.shape() == Shape{w[0]}, "conv: {} output channels, bias has shape {}", w[0],
            o.bias ? text(o.bias.shape()) : "");
    const Shape y{s[0], shape.out_h(), shape.out_w(), w[0]};
    require(!o.residual || o.residual.shape() == y, "conv: the output has shape {}, the residual {}", text(y),
            o.residual ? text(o.residual.shape()) : "");
    Graph& graph = *x.graph;
    const bool constant = !graph.training && graph.values[size_t(weight.id)].kind == Kind::parameter;
    return graph.add(Forward(shape, o, constant), {x, weight, o.bias, o.residual}, {{y, x.dtype()}})[0];
}
