// The optimizer's steps over flat arrays, and the table of update rules. They change their inputs in place: parameters
// live outside the plan.
#include "kernels/optimizer.h"

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/in_order.h"

namespace {

// Arrays that are read and written count as two passes.
struct Sgd {
    static constexpr std::string_view name = "sgd_step";
    size_t count;
    OptimizerOptions o;
    void bind(auto& k, auto& slot) const {
        k.count = count, k.weight_decay = o.weight_decay, k.nesterov = o.nesterov;
        slot.in("gradient", k.gradient), slot.in("state", k.state);
        slot.in("parameter", k.parameter, 2), slot.in("momentum", k.momentum, 2);
        slot.in("compute_copy", k.compute_copy);
    }
};

struct Adam {
    static constexpr std::string_view name = "adam_step";
    size_t count;
    OptimizerOptions o;
    bool decoupled;
    void bind(auto& k, auto& slot) const {
        k.count = count, k.weight_decay = o.weight_decay, k.beta2 = o.beta2;
        k.epsilon = o.epsilon, k.decoupled = decoupled, k.form = o.form;
        slot.in("gradient", k.gradient), slot.in("state", k.state), slot.in("parameter", k.parameter, 2);
        slot.in("m", k.m, 2), slot.in("v", k.v, 2), slot.in("compute_copy", k.compute_copy);
    }
};

struct Ema {
    static constexpr std::string_view name = "ema_update";
    size_t count;
    void bind(auto& k, auto& slot) const {
        k.count = count;
        slot.in("state", k.state), slot.in("rate", k.rate);
        slot.in("parameter", k.parameter), slot.in("average", k.average, 2);
    }
};

struct Check {
    static constexpr std::string_view name = "check_finite";
    size_t count;
    void bind(auto& k, auto& slot) const {
        k.count = count;
        slot.in("gradient", k.gradient), slot.in("state", k.state);
    }
};

struct Finish {
    static constexpr std::string_view name = "finish_step";
    float growth_interval, max_scale;
    void bind(auto& k, auto& slot) const {
        k.growth_interval = growth_interval, k.max_scale = max_scale;
        slot.in("state", k.state);
    }
};

// The operands of every rule; the moments are added.
NamedValues flat_operands(std::string_view rule, const OptimizerOperands& x) {
    for (const Value v : {x.parameter, x.moments[0], x.moments[1]})
        if (v)  // a rule may have fewer moments
            require(v.shape() == x.gradient.shape(), "{}: gradient has shape {}, another array {}", rule,
                    to_string(x.gradient.shape()), to_string(v.shape()));
    return {{"gradient", x.gradient}, {"state", x.state}, {"parameter", x.parameter}, {"compute_copy", x.compute_copy}};
}

void sgd_step(const OptimizerOperands& x, const OptimizerOptions& o) {
    NamedValues in = flat_operands(Sgd::name, x);
    in["momentum"] = x.moments[0];
    add_node<SgdStep>(Sgd{numel(x.gradient.shape()), o}, in, {});
}

template <bool decoupled>
void adam_step(const OptimizerOperands& x, const OptimizerOptions& o) {
    NamedValues in = flat_operands(Adam::name, x);
    in["m"] = x.moments[0], in["v"] = x.moments[1];
    add_node<AdamStep>(Adam{numel(x.gradient.shape()), o, decoupled}, in, {});
}

constexpr OptimizerRule kRules[] = {
    {"sgd", 1, 0.05, 0.01, 1e-4, true, sgd_step},
    {"adam", 2, 1e-3, 1e-3, 0, false, adam_step<false>},
    {"adamw", 2, 1e-3, 1e-3, 0.01, false, adam_step<true>},
};

}  // namespace

std::span<const OptimizerRule> optimizer_rules() { return kRules; }

const OptimizerRule& optimizer_rule(std::string_view name) {
    for (const OptimizerRule& rule : kRules)
        if (rule.name == name) return rule;
    fail(Fault::usage, "unknown optimizer '{}'", name);
}

std::shared_ptr<const Op> ema_op(size_t count) {
    return std::make_shared<const KernelOp<FloatKernel<EmaUpdate>::For, Ema>>(Ema{count});
}

void ema_update(Value state, Value rate, Value parameter, Value average) {
    require(rate.shape() == Shape{1} && parameter.shape() == average.shape(),
            "ema_update: rate has shape {}, parameter {}, average {}", to_string(rate.shape()),
            to_string(parameter.shape()), to_string(average.shape()));
    add_node<EmaUpdate>(Ema{numel(parameter.shape())},
                        {{"state", state}, {"rate", rate}, {"parameter", parameter}, {"average", average}}, {});
}

void check_finite(Value state, Value gradient) {
    add_node<CheckFinite>(Check{numel(gradient.shape())}, {{"gradient", gradient}, {"state", state}}, {});
}

void finish_step(Value state, float growth_interval, float max_scale) {
    add_node<FinishStep>(Finish{growth_interval, max_scale}, {{"state", state}}, {});
}
