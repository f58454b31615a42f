// The optimizer's steps over flat arrays. They change their inputs in place: parameters live outside the plan.
#include "kernels/optimizer.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Sgd final : KernelOp<Sgd> {
    SgdOptions o;
    explicit Sgd(const SgdOptions& o) : o(o) {}
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
                .compute_copy = in[4].as<T>()};
    }
};

struct Adam final : KernelOp<Adam> {
    AdamOptions o;
    explicit Adam(const AdamOptions& o) : o(o) {}
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
                .decoupled = o.decoupled,
                .form = o.form,
                .state = in[1].as<StepState>(),
                .gradient = in[0].as<T>(),
                .parameter = in[2].as<float>(),
                .m = in[3].as<float>(),
                .v = in[4].as<float>(),
                .compute_copy = in[5].as<T>()};
    }
};

struct Average final : FloatOp<Average> {
    std::string_view name() const override { return "average_step"; }
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

void require_flat(const char* op, Value gradient, std::initializer_list<Value> arrays) {
    for (Value v : arrays)
        require(v.shape() == gradient.shape(), "{}: gradient has shape {}, another array {}", op,
                text(gradient.shape()), text(v.shape()));
}

}  // namespace

void sgd_step(Value state, Value gradient, Value parameter, Value momentum, Value copy, const SgdOptions& o) {
    require_flat("sgd_step", gradient, {parameter, momentum});
    state.graph->add(Sgd(o), {gradient, state, parameter, momentum, copy}, {});
}

void adam_step(Value state, Value gradient, Value parameter, Value first, Value second, Value copy,
               const AdamOptions& o) {
    require_flat("adam_step", gradient, {parameter, first, second});
    state.graph->add(Adam(o), {gradient, state, parameter, first, second, copy}, {});
}

void average_step(Value state, Value rate, Value parameter, Value average) {
    require(rate.shape() == Shape{1} && parameter.shape() == average.shape(),
            "average_step: rate has shape {}, parameter {}, average {}", text(rate.shape()), text(parameter.shape()),
            text(average.shape()));
    state.graph->add(Average(), {state, rate, parameter, average}, {});
}

void check_finite(Value state, Value gradient) { state.graph->add(Check(), {gradient, state}, {}); }

void finish_step(Value state, float growth_interval, float largest_scale) {
    state.graph->add(Finish(growth_interval, largest_scale), {state}, {});
}
