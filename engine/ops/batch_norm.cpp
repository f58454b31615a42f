// batch_norm in training, with the activation and the residual addition that follow it.
#include "kernels/batch_norm.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/joined_gradient.h"

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
        const auto [dy, dy2] = node.two_grads("y");
        if (residual && shape.activation == Activation::relu)
            if (const Value g = joined_gradient(dy, dy2, node["y"])) {
                BatchNormShape linear = shape;
                linear.activation = Activation::none;
                in["dy"] = g;
                NamedValues grads =
                    add_node<BatchNormBackward>(Backward{linear, false, ranks}, in,
                                                {{"dx", in["x"]}, {"dscale", in["scale"]}, {"dshift", node["shift"]}});
                grads["dresidual"] = g;
                return grads;
            }
        // The activation's input is computed again from x; only with a residual relu's gradient reads y, which else
        // need not live until the backward pass.
        if (shape.activation != Activation::none) in[residual ? "y" : "shift"] = node[residual ? "y" : "shift"];
        in["dy"] = dy, in["dy2"] = dy2;
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
