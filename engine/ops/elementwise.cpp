// add
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

}  // namespace

Value add(Value a, Value b) {
    require(a.shape() == b.shape() && a.dtype() == b.dtype(), "add: shapes {} and {}, types {} and {}", text(a.shape()),
            text(b.shape()), name(a.dtype()), name(b.dtype()));
    return a.graph->add(AddOp(), {a, b}, {{a.shape(), a.dtype()}})[0];
}
