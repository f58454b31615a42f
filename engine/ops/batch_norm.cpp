// batch_norm in training, with the activation and the residual addition that follow it.
#include "kernels/batch_norm.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Backward final : KernelOp<Backward> {
    BatchNormShape shape;
    explicit Backward(const BatchNormShape& s) : shape(s) {}
    std::string_view name() const override { return "batch_norm_backward"; }
    // dx takes the place of x, the gradient of the residual that of dy: they are read once before and once while
    // written.
    int overwrites(size_t output) const override { return output == 0 ? 0 : output == 3 ? 2 : -1; }
    double bytes(Tensors in, Tensors out) const override {  // x, y, dy and dy2 are read twice
        double sum = Op::bytes(in, out);
        for (size_t i = 0; i < 4; ++i) sum += in[i].data ? double(in[i].bytes()) : 0;
        return sum;
    }
    template <class T>
    BatchNormBackward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .x = in[0].as<T>(),
                .y = in[1].as<T>(),
                .dy = in[2].as<T>(),
                .dy2 = in[3].as<T>(),
                .scale = in[4].as<float>(),
                .shift = in[5].as<float>(),
                .mean = in[6].as<float>(),
                .rstd = in[7].as<float>(),
                .dx = out[0].as<T>(),
                .dscale = out[1].as<float>(),
                .dshift = out[2].as<float>(),
                .dresidual = out.size() > 3 ? out[3].as<T>() : nullptr};
    }
};

struct Forward final : KernelOp<Forward> {
    BatchNormShape shape;
    float momentum;
    Forward(const BatchNormShape& s, float momentum) : shape(s), momentum(momentum) {}
    std::string_view name() const override { return "batch_norm"; }
    int overwrites(size_t output) const override { return output == 0 ? 3 : -1; }  // the residual
    double bytes(Tensors in, Tensors out) const override { return Op::bytes(in, out) + double(in[0].bytes()); }
    template <class T>
    BatchNormForward<T> call(Tensors in, Tensors out) const {
        return {.shape = shape,
                .momentum = momentum,
                .x = in[0].as<T>(),
                .scale = in[1].as<float>(),
                .shift = in[2].as<float>(),
                .residual = in[3].as<T>(),
                .running_mean = in[4].as<float>(),
                .running_var = in[5].as<float>(),
                .y = out[0].as<T>(),
                .mean = (in[6].data ? in[6] : out[1]).as<float>(),
                .rstd = (in[6].data ? in[7] : out[2]).as<float>(),
                .sums_given = in[6].data != nullptr};
    }
    bool adds_second_gradient() const override { return true; }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        const Value x = c.in[0], scale = c.in[1], shift = c.in[2], residual = c.in[3];
        // Only the gradient of relu reads y; without it y need not live until the backward pass.
        const Value y = shape.activation == Activation::relu ? c.out[0] : Value{};
        std::vector<Graph::Output> out = {
            {x.shape(), x.dtype()}, {scale.shape(), DType::f32}, {shift.shape(), DType::f32}};
        if (residual) out.push_back({residual.shape(), residual.dtype()});
        std::vector<Value> grad = x.graph->add(
            Backward(shape),
            {x, y, c.grad[0], c.second_grad, scale, shift, c.in[6] ? c.in[6] : c.out[1], c.in[6] ? c.in[7] : c.out[2]},
            out);
        grad.resize(8);
        return grad;
    }
};

}  // namespace

Value batch_norm(Value x, Value scale, Value shift, const BatchNormOptions& o) {
    require(!x.shape().empty(), "batch_norm: x is a scalar");
    const size_t channels = x.shape().back(), rows = count(x.shape()) / channels;
    require(scale.shape() == Shape{channels} && shift.shape() == Shape{channels},
            "batch_norm: x has {} channels, scale {}, shift {}", channels, text(scale.shape()), text(shift.shape()));
    require(rows > 1, "batch_norm: x has shape {}; statistics need more than one row per channel", text(x.shape()));
    require(!o.residual || o.residual.shape() == x.shape(), "batch_norm: x has shape {}, residual {}", text(x.shape()),
            o.residual ? text(o.residual.shape()) : "");
    require(bool(o.running_mean) == bool(o.running_var), "batch_norm: running_mean and running_var come together");
    require(o.activation != Activation::silu || !o.residual, "batch_norm: silu takes no residual");
    const BatchNormShape shape{rows, channels, o.eps, o.activation};
    if (o.mean)  // with rstd: the statistics are there already, and the running ones are up to date
        return x.graph->add(Forward(shape, 0), {x, scale, shift, o.residual, {}, {}, o.mean, o.rstd},
                            {{x.shape(), x.dtype()}})[0];
    return x.graph->add(Forward(shape, o.momentum),
                        {x, scale, shift, o.residual, o.running_mean, o.running_var, {}, {}},
                        {{x.shape(), x.dtype()}, {{channels}, DType::f32}, {{channels}, DType::f32}})[0];
}
