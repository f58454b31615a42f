#include "engine/graph.h"

#include <algorithm>

#include "engine/op.h"
#include "engine/ops.h"

Value Graph::parameter(std::string name, Shape shape, ParameterSpec spec) {
    for (size_t i = 0; i < values.size(); ++i)
        if (values[i].kind == ValueKind::parameter && values[i].name == name) {
            require(values[i].shape == shape, "parameter {} has shape {}, requested again with {}", name,
                    to_string(values[i].shape), to_string(shape));
            return {this, int(i)};
        }
    const DType dtype = spec.role == ParameterRole::weight ? compute : DType::f32;
    return value({std::move(name), std::move(shape), dtype, ValueKind::parameter, spec});
}

NamedValues add_node(std::shared_ptr<const Op> op, const NamedValues& in, const std::vector<OutputSpec>& out) {
    const Operands operands = op->operands();
    const auto require_known = [&](const std::vector<Operand>& list, const std::string& name) {
        require(std::ranges::count(list, name, &Operand::name) == 1, "{} has no operand {}", op->name(), name);
    };
    Graph* graph = nullptr;
    for (const auto& [name, v] : in) {
        require_known(operands.in, name);
        if (!graph) graph = v.graph;
        require(!v || v.graph == graph, "{}: {} belongs to another graph", op->name(), name);
    }
    require(graph != nullptr, "{}: no input", op->name());
    NamedValues made;
    for (const OutputSpec& o : out) {
        require_known(operands.out, o.name);
        if (o.there) made[o.name] = graph->value({fmt::format("{}.{}", op->name(), o.name), o.shape, o.dtype});
    }
    const auto ids = [](const std::vector<Operand>& list, const NamedValues& values) {
        std::vector<int> result;
        for (const Operand& o : list) result.push_back(values.contains(o.name) ? values.at(o.name).id : -1);
        return result;
    };
    graph->nodes.push_back({op, ids(operands.in, in), ids(operands.out, made), graph->layer});
    return made;
}

std::vector<Value> gradients(Value y, Value dy, Values wanted) {
    Graph& graph = *y.graph;
    require(y.shape() == dy.shape(), "gradients: y has shape {}, dy {}", to_string(y.shape()), to_string(dy.shape()));
    BackwardArgs::Parts parts(graph.values.size());
    std::vector<bool> needed(graph.values.size());  // depends on a wanted value
    auto is_needed = [&](int i) { return i >= 0 && needed[size_t(i)]; };
    auto has_grad = [&](int i) { return i >= 0 && !parts[size_t(i)].empty(); };
    for (Value v : wanted) needed[size_t(v.id)] = true;
    for (const Node& node : graph.nodes)
        if (std::ranges::any_of(node.in, is_needed))
            for (int o : node.out)
                if (o >= 0) needed[size_t(o)] = true;

    parts[size_t(y.id)] = {dy};
    for (size_t n = graph.nodes.size(); n-- > 0;) {
        const Node node = graph.nodes[n];  // a copy: backward() adds nodes
        if (!std::ranges::any_of(node.in, is_needed) || !std::ranges::any_of(node.out, has_grad)) continue;
        graph.layer = node.layer;
        const NamedValues grads = node.op->backward({graph, node, parts, needed});
        const Operands operands = node.op->operands();
        for (const auto& [name, grad] : grads) {
            if (!name.starts_with('d')) continue;  // an intermediate of its own
            const auto of = std::ranges::find(operands.in, name.substr(1), &Operand::name);
            require(of != operands.in.end(), "{}: a gradient is called {}, which no input is", node.op->name(), name);
            const int input = node.in[size_t(of - operands.in.begin())];
            if (grad && is_needed(input)) parts[size_t(input)].push_back(grad);
        }
    }
    graph.layer.clear();
    std::vector<Value> result;
    for (Value v : wanted) {
        std::vector<Value>& terms = parts[size_t(v.id)];
        for (; terms.size() > 1; terms.pop_back()) terms[terms.size() - 2] = add(terms[terms.size() - 2], terms.back());
        result.push_back(terms.empty() ? Value{} : terms[0]);
    }
    return result;
}
