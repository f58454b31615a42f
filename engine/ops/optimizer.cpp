// The optimizer's steps over flat arrays, and the table of update rules. They change their inputs in place: parameters
// live outside the plan.
#include "kernels/optimizer.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Sgd final : KernelOp<Sgd> {
    OptimizerOptions o;
    explicit Sgd(const OptimizerOptions& o) : o(o) {}
    std::string_view name() const override { return "sgd_step"; }
    double bytes(Tensors in, Tensors out) const override {  // parameter and momentum are written too
        return Op::bytes(in, out) + double(in[2].bytes() + in[3].bytes());
    }
    template <class T>
    SgdStep<T> call(Tensors in, Tensors) const {
        return {.count = count(in[0].shape),
                .weight_decay = o.weight_decay,
                .nesterov = o.nesterov,
                .state = in[1].as<StepState>(),
                .gradient = in[0].as<T>(),
                .parameter = in[2].as<float>(),
                .momentum = in[3].as<float>(),
                .copy = in[4].as<T>()};
    }
};

struct Adam final : KernelOp<Adam> {
    OptimizerOptions o;
    bool decoupled;
    Adam(const OptimizerOptions& o, bool decoupled) : o(o), decoupled(decoupled) {}
    std::string_view name() const override { return "adam_step"; }
    double bytes(Tensors in, Tensors out) const override {  // parameter and moments are written too
        return Op::bytes(in, out) + double(in[2].bytes() + in[3].bytes() + in[4].bytes());
    }
    template <class T>
    AdamStep<T> call(Tensors in, Tensors) const {
        return {.count = count(in[0].shape),
                .weight_decay = o.weight_decay,
                .beta2 = o.beta2,
                .epsilon = o.epsilon,
                .decoupled = decoupled,
                .form = o.form,
                .state = in[1].as<StepState>(),
                .gradient = in[0].as<T>(),
                .parameter = in[2].as<float>(),
                .first = in[3].as<float>(),
                .second = in[4].as<float>(),
                .copy = in[5].as<T>()};
    }
};

struct Ema final : FloatOp<Ema> {
    std::string_view name() const override { return "ema_update"; }
    double bytes(Tensors in, Tensors out) const override {
        return Op::bytes(in, out) + double(in[3].bytes());
    }  // written too
    EmaUpdate call(Tensors in, Tensors) const {
        return {.count = count(in[2].shape),
                .state = in[0].as<StepState>(),
                .rate = in[1].as<float>(),
                .parameter = in[2].as<float>(),
                .average = in[3].as<float>()};
    }
};

struct Check final : KernelOp<Check> {
    std::string_view name() const override { return "check_finite"; }
    template <class T>
    CheckFinite<T> call(Tensors in, Tensors) const {
        return {.count = count(in[0].shape), .gradient = in[0].as<T>(), .state = in[1].as<StepState>()};
    }
};

struct Finish final : FloatOp<Finish> {
    float growth_interval, largest_scale;
    Finish(float growth_interval, float largest_scale)
        : growth_interval(growth_interval), largest_scale(largest_scale) {}
    std::string_view name() const override { return "finish_step"; }
    FinishStep call(Tensors in, Tensors) const { return {growth_interval, largest_scale, in[0].as<StepState>()}; }
};

void require_flat(std::string_view rule, const OptimizerOperands& x) {
    for (const Value v : {x.parameter, x.moments[0], x.moments[1]})
        if (v)  // a rule may have fewer moments
            require(v.shape() == x.gradient.shape(), "{}: gradient has shape {}, another array {}", rule,
                    text(x.gradient.shape()), text(v.shape()));
}

void sgd_step(const OptimizerOperands& x, const OptimizerOptions& o) {
    require_flat("sgd_step", x);
    x.state.graph->add(Sgd(o), {x.gradient, x.state, x.parameter, x.moments[0], x.compute_copy}, {});
}

template <bool decoupled>
void adam_step(const OptimizerOperands& x, const OptimizerOptions& o) {
    require_flat("adam_step", x);
    x.state.graph->add(Adam(o, decoupled),
                       {x.gradient, x.state, x.parameter, x.moments[0], x.moments[1], x.compute_copy}, {});
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
    fail(Fault::usage, "optimizer '{}' is not known", name);
}

void ema_update(Value state, Value rate, Value parameter, Value average) {
    require(rate.shape() == Shape{1} && parameter.shape() == average.shape(),
            "ema_update: rate has shape {}, parameter {}, average {}", text(rate.shape()), text(parameter.shape()),
            text(average.shape()));
    state.graph->add(Ema(), {state, rate, parameter, average}, {});
}

void check_finite(Value state, Value gradient) { state.graph->add(Check(), {gradient, state}, {}); }

void finish_step(Value state, float growth_interval, float largest_scale) {
    state.graph->add(Finish(growth_interval, largest_scale), {state}, {});
}
