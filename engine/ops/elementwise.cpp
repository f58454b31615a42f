// add
#include "kernels/elementwise.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/in_order.h"

namespace {

struct AddOp {
    static constexpr std::string_view name = "add";
    size_t count;
    void bind(auto& k, auto& slot) const {
        k.count = count;
        slot.in("a", k.a), slot.in("b", k.b);
        slot.out("y", k.y);
    }
    NamedValues backward(const BackwardArgs& node) const { return {{"da", node.grad("y")}, {"db", node.grad("y")}}; }
};

}  // namespace

std::shared_ptr<const Op> add_op(size_t count) { return std::make_shared<const KernelOp<Add, AddOp>>(AddOp{count}); }

Value add(Value a, Value b) {
    require(a.shape() == b.shape() && a.dtype() == b.dtype(), "add: shapes {} and {}, types {} and {}",
            to_string(a.shape()), to_string(b.shape()), to_string(a.dtype()), to_string(b.dtype()));
    return add_node<Add>(AddOp{numel(a.shape())}, {{"a", a}, {"b", b}}, {{"y", a}})["y"];
}
