// add and activation.
#include "kernels/elementwise.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct AddOp final : KernelOp<AddOp> {
    std::string_view name() const override { return "add"; }
    template <class T>
    Add<T> call(Tensors in, Tensors out) const {
        return {.count = count(out[0].shape), .a = in[0].as<T>(), .b = in[1].as<T>(), .y = out[0].as<T>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override { return {c.grad[0], c.grad[0]}; }
};

struct Backward final : KernelOp<Backward> {
    Activation kind;
    explicit Backward(Activation kind) : kind(kind) {}
    std::string_view name() const override { return "activation_backward"; }
    template <class T>
    ActivationBackward<T> call(Tensors in, Tensors out) const {
        return {.count = count(out[0].shape),
                .activation = kind,
                .x = in[0].as<T>(),
                .dy = in[1].as<T>(),
                .dx = out[0].as<T>()};
    }
};

struct Forward final : KernelOp<Forward> {
    Activation kind;
    explicit Forward(Activation kind) : kind(kind) {}
    std::string_view name() const override { return "activation"; }
    template <class T>
    ActivationForward<T> call(Tensors in, Tensors out) const {
        return {.count = count(out[0].shape), .activation = kind, .x = in[0].as<T>(), .y = out[0].as<T>()};
    }
    std::vector<Value> backward(const BackwardArgs& c) const override {
        const Value x = c.in[0];
        return x.graph->add(Backward(kind), {x, c.grad[0]}, {{x.shape(), x.dtype()}});
    }
};

}  // namespace

Value add(Value a, Value b) {
    require(a.shape() == b.shape() && a.dtype() == b.dtype(), "add: shapes {} and {}, types {} and {}", text(a.shape()),
            text(b.shape()), name(a.dtype()), name(b.dtype()));
    return a.graph->add(AddOp(), {a, b}, {{a.shape(), a.dtype()}})[0];
}

Value activation(Value x, Activation kind) { return x.graph->add(Forward(kind), {x}, {{x.shape(), x.dtype()}})[0]; }
