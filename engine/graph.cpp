#include "engine/graph.h"

#include <algorithm>

#include "engine/op.h"
#include "engine/ops.h"

Value Graph::parameter(std::string name, Shape shape, ParameterSpec declaration) {
    for (size_t i = 0; i < values.size(); ++i)
        if (values[i].kind == Kind::parameter && values[i].name == name) {
            require(values[i].shape == shape, "parameter {} has shape {}, asked for again with {}", name,
                    text(values[i].shape), text(shape));
            return {this, int(i)};
        }
    const DType dtype = declaration.role == ParameterRole::weight ? compute : DType::f32;
    return value({std::move(name), std::move(shape), dtype, Kind::parameter, declaration});
}

std::vector<Value> Graph::add_node(std::shared_ptr<const Op> op, Values in, const std::vector<Output>& out) {
    Node node{op, {}, {}, layer};
    std::vector<Value> result;
    for (Value v : in) {
        require(!v || v.graph == this, "{}: an input belongs to another graph", op->name());
        node.in.push_back(v.id);
    }
    for (const Output& o : out) {
        result.push_back(value({std::string(op->name()), o.shape, o.dtype, Kind::temporary, {}}));
        node.out.push_back(result.back().id);
    }
    nodes.push_back(std::move(node));
    return result;
}

std::vector<Value> gradients(Value y, Value dy, Values wanted) {
    Graph& graph = *y.graph;
    require(y.shape() == dy.shape(), "gradients: y has shape {}, dy {}", text(y.shape()), text(dy.shape()));
    std::vector<std::vector<Value>> grad(graph.values.size());  // of each value, the parts whose sum is its gradient
    std::vector<bool> needed(graph.values.size());              // does it depend on something wanted?
    auto is_needed = [&](int i) { return i >= 0 && needed[size_t(i)]; };
    for (Value v : wanted) needed[size_t(v.id)] = true;
    for (const Node& node : graph.nodes)
        if (std::ranges::any_of(node.in, is_needed))
            for (int o : node.out) needed[size_t(o)] = true;

    auto sum_to = [&](std::vector<Value>& parts, size_t most) {
        while (parts.size() > most) {
            const Value last = parts.back();
            parts.pop_back();
            parts.back() = add(parts.back(), last);
        }
    };
    grad[size_t(y.id)] = {dy};
    for (size_t n = graph.nodes.size(); n-- > 0;) {
        const Node node = graph.nodes[n];  // a copy: backward() adds nodes
        std::vector<Value> in, out, dout;
        for (int i : node.in) in.push_back({&graph, i});
        for (size_t k = 0; k < node.out.size(); ++k) {
            std::vector<Value>& parts = grad[size_t(node.out[k])];
            sum_to(parts, k == 0 && node.op->adds_second_gradient() ? 2 : 1);
            out.push_back({&graph, node.out[k]});
            dout.push_back(parts.empty() ? Value{} : parts[0]);
        }
        if (!std::ranges::any_of(node.in, is_needed) || !std::ranges::any_of(dout, &Value::operator bool)) continue;
        BackwardArgs chain{in, out, dout, {}, {}};
        if (const auto& parts = grad[size_t(node.out[0])]; parts.size() > 1) chain.second_grad = parts[1];
        for (int i : node.in) chain.needed.push_back(is_needed(i));
        graph.layer = node.layer;
        const std::vector<Value> din = node.op->backward(chain);
        for (size_t i = 0; i < din.size(); ++i)
            if (din[i] && is_needed(in[i].id)) grad[size_t(in[i].id)].push_back(din[i]);
    }
    graph.layer.clear();
    std::vector<Value> result;
    for (Value v : wanted) {
        std::vector<Value>& parts = grad[size_t(v.id)];
        sum_to(parts, 1);
        result.push_back(parts.empty() ? Value{} : parts[0]);
    }
    return result;
}
