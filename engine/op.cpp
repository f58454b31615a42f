#include "engine/op.h"

#include "engine/ops.h"
#include "engine/plan.h"

namespace {

// The operand of this name. If an input and an output share the name (a value that is given or computed), the
// one that is present.
template <class Item, class IsThere>
Item find(const Op& op, const std::vector<Item>& in, const std::vector<Item>& out, std::string_view name, Item absent,
          const IsThere& is_there) {
    const Operands list = op.operands();
    bool known = false;
    const auto look = [&](const std::vector<Operand>& operands, const std::vector<Item>& items) {
        for (size_t i = 0; i < operands.size(); ++i) {
            if (operands[i].name != name) continue;
            known = true;
            if (is_there(items[i])) absent = items[i];
        }
    };
    look(list.in, in), look(list.out, out);
    require(known, "{} has no operand {}", op.name(), name);
    return absent;
}

void sum_to(std::vector<Value>& parts, size_t max_parts) {
    while (parts.size() > max_parts) {
        const Value last = parts.back();
        parts.pop_back();
        parts.back() = add(parts.back(), last);
    }
}

}  // namespace

int Node::operator[](std::string_view name) const {
    return find(*op, in, out, name, -1, [](int id) { return id >= 0; });
}

Tensor Step::operator[](std::string_view name) const {
    return find(*op, in, out, name, Tensor{}, [](const Tensor& t) { return t.data != nullptr; });
}

double Op::bytes(Tensors in, Tensors out) const {
    const Operands list = operands();
    double sum = 0;
    for (size_t i = 0; i < in.size(); ++i) sum += in[i].data ? list.in[i].passes * double(in[i].bytes()) : 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i].data ? list.out[i].passes * double(out[i].bytes()) : 0;
    return sum;
}

NamedValues BackwardArgs::pick(std::initializer_list<const char*> names) const {
    NamedValues values;
    for (const char* name : names) values[name] = (*this)[name];
    return values;
}

bool BackwardArgs::needed(std::string_view input) const {
    const int id = node_[input];
    return id >= 0 && needed_[size_t(id)];
}

Value BackwardArgs::grad(std::string_view output) const {
    const int id = node_[output];
    if (id < 0 || parts_[size_t(id)].empty()) return {};
    sum_to(parts_[size_t(id)], 1);
    return parts_[size_t(id)][0];
}

std::pair<Value, Value> BackwardArgs::two_grads(std::string_view output) const {
    std::vector<Value>& parts = parts_[size_t(node_[output])];
    sum_to(parts, 2);
    return {parts.empty() ? Value{} : parts[0], parts.size() < 2 ? Value{} : parts[1]};
}

Value BackwardArgs::only_grad(std::string_view output) const {
    for (int id : node_.out)
        require(id < 0 || parts_[size_t(id)].empty() || id == node_[output], "{}: only {} has a gradient",
                node_.op->name(), output);
    return grad(output);
}
