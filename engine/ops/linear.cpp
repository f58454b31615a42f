// linear: the classifier's matrix product.
#include "kernels/linear.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Backward final : KernelOp<Backward> {
    LinearShape shape;
    explicit Backward(const LinearShape& s) : shape(s) {}
    std::string_view name() const override { return "linear_backward"; }
    double flops() const override { return 4.0 * double(shape.rows * shape.in * shape.out); }
    template <class T>
    LinearBackward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .weight = in[1].as<T>(),
                .dy = in[2].as<float>(),
                .dx = out[0].as<T>(),
                .dweight = out[1].as<T>(),
                .dbias = out.size() > 2 ? out[2].as<float>() : nullptr};
    }
};

struct Forward final : KernelOp<Forward> {
    LinearShape shape;
    explicit Forward(const LinearShape& s) : shape(s) {}
    std::string_view name() const override { return "linear"; }
    double flops() const override { return 2.0 * double(shape.rows * shape.in * shape.out); }
    template <class T>
    LinearForward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .weight = in[1].as<T>(),
                .bias = in[2].as<float>(),
                .y = out[0].as<float>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        const Value x = c.in[0], weight = c.in[1], bias = c.in[2];
        std::vector<Graph::Output> out = {{x.shape(), x.dtype()}, {weight.shape(), weight.dtype()}};
        if (bias) out.push_back({bias.shape(), DType::f32});
        std::vector<Value> grad = x.graph->add(Backward(shape), {x, weight, c.grad[0]}, out);
        grad.resize(3);
        return grad;
    }
};

}  // namespace

Value linear(Value x, Value weight, Value bias) {
    const Shape &s = x.shape(), &w = weight.shape();
    require(s.size() == 2 && w.size() == 2 && s[1] == w[1], "linear: x has shape {}, weight {}", text(s), text(w));
    const LinearShape shape{s[0], s[1], w[0]};
    require(!bias || bias.shape() == Shape{w[0]}, "linear: {} outputs, bias has shape {}", w[0],
            bias ? text(bias.shape()) : "");
    return x.graph->add(Forward(shape), {x, weight, bias}, {{{s[0], w[0]}, DType::f32}})[0];
}
