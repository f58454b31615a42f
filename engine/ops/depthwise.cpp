// depthwise_conv: inference only.
#include "kernels/depthwise.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Depthwise {
    static constexpr std::string_view name = "depthwise_conv";
    Shape s;
    Activation activation;
    double flops() const { return 18.0 * double(numel(s)); }
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2], k.c = s[3], k.activation = activation;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("bias", k.bias), slot.in("residual", k.residual);
        slot.out("y", k.y);
    }
};

}  // namespace

Value depthwise_conv(Value x, Value weight, const DepthwiseOptions& o) {
    const Shape& s = x.shape();
    require(s.size() == 4 && weight.shape() == Shape{s[3], 3, 3, 1},
            "depthwise_conv: x has shape {}, weight {}; they must be (n, h, w, c) and (c, 3, 3, 1)", to_string(s),
            to_string(weight.shape()));
    require(o.bias && o.bias.shape() == Shape{s[3]} && o.bias.dtype() == DType::f32,
            "depthwise_conv: the bias must be {} floats", s[3]);
    require(!o.residual || o.residual.shape() == s, "depthwise_conv: the output has shape {}, the residual {}",
            to_string(s), o.residual ? to_string(o.residual.shape()) : "");
    return add_node<DepthwiseConv>(Depthwise{s, o.activation},
                                   {{"x", x}, {"weight", weight}, {"bias", o.bias}, {"residual", o.residual}},
                                   {{"y", s, x.dtype()}})["y"];
}
