// conv and its gradients as nodes; the gradient of the bias is a separate node.
#include "kernels/conv/conv.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/conv_shape.h"
#include "kernels/bias.h"
#include "kernels/conv/int8.h"

namespace {

struct BackwardData {
    static constexpr std::string_view name = "conv_backward_data";
    ConvShape shape;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("dy", k.dy), slot.in("weight", k.weight);
        slot.in("dx2", k.dx2), slot.in("x", k.x);  // see join_gradients()
        slot.out("dx", k.dx);
    }
};

struct BackwardWeight {
    static constexpr std::string_view name = "conv_backward_weight";
    ConvShape shape;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("x", k.x), slot.in("dy", k.dy);
        slot.out("dweight", k.dweight);
    }
};

struct BackwardBias {
    static constexpr std::string_view name = "bias_backward";
    size_t rows, channels;
    void bind(auto& k, auto& slot) const {
        k.rows = rows, k.channels = channels;
        slot.in("dy", k.dy);
        slot.out("dbias", k.dbias);
    }
};

// y or y_float: exactly one.
struct ForwardInt8 {
    static constexpr std::string_view name = "conv_int8";
    static constexpr bool untyped = true, cpu_only = true;
    ConvShape shape;
    Activation activation;
    bool residual_last;
    Quantization x_range, residual_range, y_range;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.activation = activation, k.residual_last = residual_last;
        k.x_range = x_range, k.residual_range = residual_range, k.y_range = y_range;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("weight_scale", k.weight_scale);
        slot.in("bias", k.bias), slot.in("residual", k.residual);
        slot.out("y", k.y, "residual"), slot.out("y_float", k.y_float);
    }
};

struct Forward {
    static constexpr std::string_view name = "conv";
    ConvShape shape;
    Activation activation;
    bool residual_last, weight_is_constant;
    double flops() const { return shape.flops(); }
    template <class T>
    void prepare(const Cpu& cpu, const ConvForward<T>& k) const {
        scratch_bytes(cpu, k);
    }
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.activation = activation;
        k.residual_last = residual_last, k.weight_is_constant = weight_is_constant;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("bias", k.bias), slot.in("residual", k.residual);
        slot.out("y", k.y, "residual");
    }
    std::shared_ptr<const Op> on_bytes(std::span<const Quantization> in, Quantization out) const {
        return cpu_op<ConvInt8>(ForwardInt8{shape, activation, residual_last, in[0], in[3], out});
    }
    NamedValues backward(const BackwardArgs& node) const {
        require(activation == Activation::none && !node["residual"],
                "conv: a fused activation or residual has no gradient; training uses batch_norm for both");
        const Value x = node["x"], weight = node["weight"], dy = node.grad("y");
        NamedValues grads;
        if (node.needed("x"))
            grads.merge(add_node<ConvBackwardData>(BackwardData{shape}, {{"dy", dy}, {"weight", weight}}, {{"dx", x}}));
        if (node.needed("weight"))
            grads.merge(
                add_node<ConvBackwardWeight>(BackwardWeight{shape}, {{"x", x}, {"dy", dy}}, {{"dweight", weight}}));
        if (node.needed("bias"))
            grads.merge(add_node<BiasBackward>(BackwardBias{shape.y_count() / shape.c_out, shape.c_out}, {{"dy", dy}},
                                               {{"dbias", node["bias"]}}));
        return grads;
    }
};

}  // namespace

ConvShape conv_shape(Value x, Value weight, const ConvOptions& o) {
    const Shape &s = x.shape(), &w = weight.shape();
    require(s.size() == 4 && w.size() == 4, "conv: x has shape {}, weight {}; both need four dimensions", to_string(s),
            to_string(w));
    require(s[3] == w[3], "conv: x has {} channels, weight {} expects {}", s[3], to_string(w), w[3]);
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
            o.bias ? to_string(o.bias.shape()) : "");
    const Shape y{s[0], shape.out_h(), shape.out_w(), w[0]};
    require(!o.residual || o.residual.shape() == y, "conv: the output has shape {}, the residual {}", to_string(y),
            o.residual ? to_string(o.residual.shape()) : "");
    const Graph& graph = *x.graph;
    const bool constant = !graph.training && graph.values[size_t(weight.id)].kind == ValueKind::parameter;
    return add_node<ConvForward>(Forward{shape, o.activation, o.residual_last, constant},
                                 {{"x", x}, {"weight", weight}, {"bias", o.bias}, {"residual", o.residual}},
                                 {{"y", y, x.dtype()}})["y"];
}
