// batch_norm in training, with the activation and the residual addition that follow it.
#include "kernels/batch_norm.h"

#include <algorithm>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/join_gradients.h"

namespace {

struct Backward {
    static constexpr std::string_view name = "batch_norm_backward";
    BatchNormShape shape;
    bool residual;
    Ranks* ranks;
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.ranks = ranks;
        // With a residual g is written to dresidual and read there: kernels/batch_norm.h.
        const int passes = residual ? 1 : 2;
        slot.in("x", k.x, 2), slot.in("y", k.y), slot.in("dy", k.dy, passes), slot.in("dy2", k.dy2, passes);
        slot.in("scale", k.scale), slot.in("shift", k.shift), slot.in("mean", k.mean), slot.in("rstd", k.rstd);
        slot.out("dx", k.dx, "x"), slot.out("dscale", k.dscale), slot.out("dshift", k.dshift);
        slot.out("dresidual", k.dresidual, "dy", 2);
    }
};

struct Forward {
    static constexpr std::string_view name = "batch_norm";
    BatchNormShape shape;
    float momentum;
    Ranks* ranks;
    void bind(auto& k, auto& slot) const {
        k.shape = shape, k.momentum = momentum, k.ranks = ranks;
        slot.in("x", k.x, 2), slot.in("scale", k.scale), slot.in("shift", k.shift), slot.in("residual", k.residual);
        slot.in("running_mean", k.running_mean), slot.in("running_var", k.running_var);
        slot.out("y", k.y, "residual"), slot.out("mean", k.mean), slot.out("rstd", k.rstd);
    }
    NamedValues backward(const BackwardArgs& node) const {
        NamedValues in = node.pick({"x", "scale", "mean", "rstd"});
        const bool residual = bool(node["residual"]);
        // The activation's input is computed again from x; only with a residual relu's gradient reads y, which else
        // need not live until the backward pass.
        if (shape.activation != Activation::none) in[residual ? "y" : "shift"] = node[residual ? "y" : "shift"];
        std::tie(in["dy"], in["dy2"]) = node.two_grads("y");
        return add_node<BatchNormBackward>(
            Backward{shape, residual, ranks}, in,
            {{"dx", in["x"]}, {"dscale", in["scale"]}, {"dshift", node["shift"]}, {"dresidual", node["residual"]}});
    }
};

}  // namespace

Value batch_norm(Value x, Value scale, Value shift, const BatchNormOptions& o) {
    require(!x.shape().empty(), "batch_norm: x is a scalar");
    const size_t channels = x.shape().back(), rows = numel(x.shape()) / channels;
    require(scale.shape() == Shape{channels} && shift.shape() == Shape{channels},
            "batch_norm: x has {} channels, scale {}, shift {}", channels, to_string(scale.shape()),
            to_string(shift.shape()));
    require(rows > 1, "batch_norm: x has shape {}; statistics need more than one row per channel",
            to_string(x.shape()));
    require(!o.residual || o.residual.shape() == x.shape(), "batch_norm: x has shape {}, residual {}",
            to_string(x.shape()), o.residual ? to_string(o.residual.shape()) : "");
    require(bool(o.running_mean) == bool(o.running_var), "batch_norm: running_mean and running_var come together");
    require(o.activation != Activation::silu || !o.residual, "batch_norm: silu takes no residual");
    const BatchNormShape shape{rows, channels, o.eps, o.activation};
    return add_node<BatchNormForward>(Forward{shape, o.momentum, x.graph->sync_batch_norm ? x.graph->ranks : nullptr},
                                      {{"x", x},
                                       {"scale", scale},
                                       {"shift", shift},
                                       {"residual", o.residual},
                                       {"running_mean", o.running_mean},
                                       {"running_var", o.running_var}},
                                      {{"y", x}, {"mean", scale}, {"rstd", scale}})["y"];
}

namespace {

using BackwardOp = KernelOp<BatchNormBackward, Backward>;

int& operand(Node& node, std::string_view name) {
    const std::vector<Operand> list = node.op->operands().in;
    return node.in.at(size_t(std::ranges::find(list, name, &Operand::name) - list.begin()));
}

// The convolution that gives one of the two gradients, which nobody else reads. One without a stride if there is a
// choice: cuDNN computes each pixel of dx then from one of dy.
std::vector<Node>::iterator convolution_before(Graph& graph, const Node& norm) {
    const auto side = [&](int id) { return graph.values[size_t(id)].shape.at(1); };
    auto chosen = graph.nodes.end();
    for (auto node = graph.nodes.begin(); &*node != &norm; ++node) {
        if (node->op->name() != "conv_backward_data" || (*node)["dx2"] >= 0) continue;
        const int dx = (*node)["dx"];
        if (dx != norm["dy"] && dx != norm["dy2"]) continue;
        const auto reads = [&](const Node& other) { return std::ranges::count(other.in, dx); };
        if (std::ranges::count_if(graph.nodes, reads) != 1 || graph.values[size_t(dx)].address) continue;
        if (chosen == graph.nodes.end() || side(dx) == side((*node)["dy"])) chosen = node;
    }
    return chosen;
}

}  // namespace

void join_gradients(Graph& graph) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        Node& norm = graph.nodes[n];
        const auto* op = dynamic_cast<const BackwardOp*>(norm.op.get());
        if (!op || !op->self.residual || norm["y"] < 0 || norm["dy"] < 0 || norm["dy2"] < 0) continue;
        const int of_residual = norm["dresidual"];
        if (of_residual < 0 || graph.values[size_t(of_residual)].address) continue;  // somebody wants it elsewhere
        const auto found = convolution_before(graph, norm);
        if (found == graph.nodes.end()) continue;
        const int g = (*found)["dx"], other = g == norm["dy"] ? norm["dy2"] : norm["dy"];
        operand(*found, "dx2") = other, operand(*found, "x") = norm["y"];

        Backward linear = op->self;
        linear.shape.activation = Activation::none, linear.residual = false;
        norm.op = std::make_shared<const BackwardOp>(linear);
        operand(norm, "dy") = g, operand(norm, "dy2") = operand(norm, "y") = -1;
        std::ranges::replace(norm.out, of_residual, -1);
        for (size_t later = n + 1; later < graph.nodes.size(); ++later)
            std::ranges::replace(graph.nodes[later].in, of_residual, g);
        std::rotate(found, found + 1, graph.nodes.begin() + ptrdiff_t(n));  // behind the other gradient
    }
}
