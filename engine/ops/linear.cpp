// linear: the classifier's matrix product.
#include "kernels/linear.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Backward {
    static constexpr std::string_view name = "linear_backward";
    LinearShape shape;
    double flops() const { return 4.0 * double(shape.rows * shape.in * shape.out); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("dy", k.dy);
        slot.out("dx", k.dx), slot.out("dweight", k.dweight), slot.out("dbias", k.dbias);
    }
};

struct Forward {
    static constexpr std::string_view name = "linear";
    LinearShape shape;
    double flops() const { return 2.0 * double(shape.rows * shape.in * shape.out); }
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("x", k.x), slot.in("weight", k.weight), slot.in("bias", k.bias);
        slot.out("y", k.y);
    }
    NamedValues backward(const BackwardArgs& node) const {
        const Value x = node["x"], weight = node["weight"];
        return add_node<LinearBackward>(Backward{shape}, {{"x", x}, {"weight", weight}, {"dy", node.grad("y")}},
                                        {{"dx", x}, {"dweight", weight}, {"dbias", node["bias"]}});
    }
};

}  // namespace

Value linear(Value x, Value weight, Value bias) {
    const Shape &s = x.shape(), &w = weight.shape();
    require(s.size() == 2 && w.size() == 2 && s[1] == w[1], "linear: x has shape {}, weight {}", to_string(s),
            to_string(w));
    const LinearShape shape{s[0], s[1], w[0]};
    require(!bias || bias.shape() == Shape{w[0]}, "linear: {} outputs, bias has shape {}", w[0],
            bias ? to_string(bias.shape()) : "");
    return add_node<LinearForward>(Forward{shape}, {{"x", x}, {"weight", weight}, {"bias", bias}},
                                   {{"y", {s[0], w[0]}, DType::f32}})["y"];
}
