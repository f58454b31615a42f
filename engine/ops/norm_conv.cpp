// norm_conv: the constants of the normalization, the convolution, and their gradients as nodes. The sums carry no
// gradient: theirs is part of the gradient of x.
#include "kernels/conv/norm_conv.h"

#include "engine/op.h"
#include "engine/ops/conv_shape.h"
#include "kernels/batch_norm.h"

namespace {

struct Constants {
    static constexpr std::string_view name = "norm_constants";
    static constexpr bool typed_by_output = true;
    size_t rows, channels;
    float eps, momentum;
    void bind(auto& k, auto& slot) const {
        k.rows = rows, k.channels = channels, k.eps = eps, k.momentum = momentum;
        slot.in("sum", k.sum), slot.in("squares", k.squares), slot.in("scale", k.scale), slot.in("shift", k.shift);
        slot.in("running_mean", k.running_mean), slot.in("running_var", k.running_var);
        slot.out("a", k.a), slot.out("b", k.b), slot.out("mean", k.mean), slot.out("rstd", k.rstd);
    }
    NamedValues backward(const BackwardArgs&) const { return {}; }
};

struct BackwardData {
    static constexpr std::string_view name = "norm_conv_backward_data";
    ConvShape shape;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("dy", k.dy), slot.in("weight", k.weight), slot.in("x", k.x);
        slot.in("scale", k.scale), slot.in("shift", k.shift), slot.in("mean", k.mean), slot.in("rstd", k.rstd);
        slot.out("g", k.g), slot.out("dscale", k.dscale), slot.out("dshift", k.dshift);
    }
};

struct BackwardWeight {
    static constexpr std::string_view name = "norm_conv_backward_weight";
    ConvShape shape;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("x", k.x), slot.in("a", k.a), slot.in("b", k.b), slot.in("dy", k.dy);
        slot.out("dweight", k.dweight);
    }
};

// dx of the normalization from g and the sums over it.
struct BackwardNorm {
    static constexpr std::string_view name = "norm_backward";
    size_t rows, channels;
    void bind(auto& k, auto& slot) const {
        k.shape = {.rows = rows, .channels = channels}, k.sums_given = true;
        slot.in("x", k.x), slot.in("g", k.dy), slot.in("scale", k.scale), slot.in("shift", k.shift);
        slot.in("mean", k.mean), slot.in("rstd", k.rstd), slot.in("dscale", k.dscale), slot.in("dshift", k.dshift);
        slot.out("dx", k.dx, "g");
    }
};

// If x is normalized on the way, a and b are present, and for the gradients scale, shift, mean and rstd.
struct Forward {
    static constexpr std::string_view name = "norm_conv";
    ConvShape shape;
    double flops() const { return shape.flops(); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        const float* for_backward = nullptr;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("a", k.a), slot.in("b", k.b);
        for (const char* operand : {"scale", "shift", "mean", "rstd"}) slot.in(operand, for_backward);
        slot.out("y", k.y), slot.out("sum", k.sum), slot.out("squares", k.squares);
    }
    NamedValues backward(const BackwardArgs& node) const {
        const Value x = node["x"], weight = node["weight"], a = node["a"], scale = node["scale"], dy = node.grad("y");
        NamedValues grads;
        if (node.needed("x")) {
            NamedValues in = node.pick({"scale", "shift", "mean", "rstd"});
            if (a) in["x"] = x;
            NamedValues of_data = in;
            of_data["dy"] = dy, of_data["weight"] = weight;
            grads = add_node<NormConvBackwardData>(BackwardData{shape}, of_data,
                                                   {{"g", x}, {"dscale", scale}, {"dshift", scale}});
            in.insert(grads.begin(), grads.end());
            grads["dx"] = a ? add_node<BatchNormBackward>(BackwardNorm{shape.x_count() / shape.c_in, shape.c_in}, in,
                                                          {{"dx", x}})["dx"]
                            : grads["g"];
        }
        if (node.needed("weight"))
            grads.merge(add_node<NormConvBackwardWeight>(
                BackwardWeight{shape}, {{"x", x}, {"a", a}, {"b", node["b"]}, {"dy", dy}}, {{"dweight", weight}}));
        return grads;
    }
};

WithStats add_conv(Value x, Value weight, const ConvOptions& o, NamedValues in) {
    require(x.graph->training && !o.bias && o.activation == Activation::none && !o.residual,
            "norm_conv: takes no bias, activation or residual, and is for training");
    const ConvShape shape = conv_shape(x, weight, o);
    const Shape y{shape.n, shape.out_h(), shape.out_w(), shape.c_out}, channels{shape.c_out};
    in["x"] = x, in["weight"] = weight;
    NamedValues out = add_node<NormConvForward>(
        Forward{shape}, in, {{"y", y, x.dtype()}, {"sum", channels, DType::f32}, {"squares", channels, DType::f32}});
    return {out["y"], out["sum"], out["squares"]};
}

size_t rows_of(Value x) { return numel(x.shape()) / x.shape().back(); }

void require_fitting(const WithStats& x, Value scale, Value shift, const BatchNormOptions& o) {
    const Shape channels{x.y.shape().back()};
    require(x.sum.shape() == channels && scale.shape() == channels && shift.shape() == channels,
            "norm_conv: x has {} channels, scale {}, shift {}", channels[0], to_string(scale.shape()),
            to_string(shift.shape()));
    require(rows_of(x.y) > 1, "norm_conv: x has shape {}; statistics need more than one row per channel",
            to_string(x.y.shape()));
    require(bool(o.running_mean) == bool(o.running_var), "norm_conv: running_mean and running_var come together");
}

// mean and rstd, and with `factors` also a and b.
NamedValues add_constants(const WithStats& x, Value scale, Value shift, const BatchNormOptions& n, bool factors) {
    std::vector<OutputSpec> out = {{"mean", scale}, {"rstd", scale}};
    if (factors) out = {{"a", scale.shape(), x.y.dtype()}, {"b", scale.shape(), x.y.dtype()}, out[0], out[1]};
    return add_node<NormConstants>(Constants{rows_of(x.y), scale.shape()[0], n.eps, n.momentum},
                                   {{"sum", x.sum},
                                    {"squares", x.squares},
                                    {"scale", scale},
                                    {"shift", shift},
                                    {"running_mean", n.running_mean},
                                    {"running_var", n.running_var}},
                                   out);
}

}  // namespace

WithStats norm_conv(Value x, Value weight, const ConvOptions& o) { return add_conv(x, weight, o, {}); }

WithStats norm_conv(const WithStats& x, Value scale, Value shift, const BatchNormOptions& n, Value weight,
                    const ConvOptions& o) {
    require_fitting(x, scale, shift, n);
    require(n.activation == Activation::relu && !n.residual,
            "norm_conv: the normalization before it must have relu and no residual");
    NamedValues constants = add_constants(x, scale, shift, n, true);
    constants["scale"] = scale, constants["shift"] = shift;
    return add_conv(x.y, weight, o, constants);
}

Value batch_norm(const WithStats& x, Value scale, Value shift, const BatchNormOptions& n) {
    require_fitting(x, scale, shift, n);
    NamedValues constants = add_constants(x, scale, shift, n, false);
    BatchNormOptions known = n;
    known.mean = constants["mean"], known.rstd = constants["rstd"];
    return batch_norm(x.y, scale, shift, known);
}
