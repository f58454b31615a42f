// The optimizer's steps over flat arrays. They change their inputs in place: parameters live outside the plan.
#include "kernels/optimizer.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

// Arrays that are read and written count as two passes.
struct Sgd {
    static constexpr std::string_view name = "sgd_step";
    size_t count;
    SgdOptions o;
    void bind(auto& k, auto& slot) const {
        k.count = count, k.weight_decay = o.weight_decay, k.nesterov = o.nesterov;
        slot.in("gradient", k.gradient), slot.in("state", k.state);
        slot.in("parameter", k.parameter, 2), slot.in("momentum", k.momentum, 2), slot.in("copy", k.copy);
    }
};

struct Adam {
    static constexpr std::string_view name = "adam_step";
    size_t count;
    AdamOptions o;
    void bind(auto& k, auto& slot) const {
        k.count = count, k.weight_decay = o.weight_decay, k.beta2 = o.beta2;
        k.epsilon = o.epsilon, k.decoupled = o.decoupled, k.form = o.form;
        slot.in("gradient", k.gradient), slot.in("state", k.state), slot.in("parameter", k.parameter, 2);
        slot.in("first", k.first, 2), slot.in("second", k.second, 2), slot.in("copy", k.copy);
    }
};

struct Average {
    static constexpr std::string_view name = "average_step";
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
    float growth_interval, largest_scale;
    void bind(auto& k, auto& slot) const {
        k.growth_interval = growth_interval, k.largest_scale = largest_scale;
        slot.in("state", k.state);
    }
};

void require_flat(const char* op, Value gradient, std::initializer_list<Value> arrays) {
    for (Value v : arrays)
        require(v.shape() == gradient.shape(), "{}: gradient has shape {}, another array {}", op,
                to_string(gradient.shape()), to_string(v.shape()));
}

}  // namespace

void sgd_step(Value state, Value gradient, Value parameter, Value momentum, Value copy, const SgdOptions& o) {
    require_flat("sgd_step", gradient, {parameter, momentum});
    add_node<SgdStep>(
        Sgd{numel(gradient.shape()), o},
        {{"gradient", gradient}, {"state", state}, {"parameter", parameter}, {"momentum", momentum}, {"copy", copy}},
        {});
}

void adam_step(Value state, Value gradient, Value parameter, Value first, Value second, Value copy,
               const AdamOptions& o) {
    require_flat("adam_step", gradient, {parameter, first, second});
    add_node<AdamStep>(Adam{numel(gradient.shape()), o},
                       {{"gradient", gradient},
                        {"state", state},
                        {"parameter", parameter},
                        {"first", first},
                        {"second", second},
                        {"copy", copy}},
                       {});
}

void average_step(Value state, Value rate, Value parameter, Value average) {
    require(rate.shape() == Shape{1} && parameter.shape() == average.shape(),
            "average_step: rate has shape {}, parameter {}, average {}", to_string(rate.shape()),
            to_string(parameter.shape()), to_string(average.shape()));
    add_node<EmaUpdate>(Average{numel(parameter.shape())},
                        {{"state", state}, {"rate", rate}, {"parameter", parameter}, {"average", average}}, {});
}

void check_finite(Value state, Value gradient) {
    add_node<CheckFinite>(Check{numel(gradient.shape())}, {{"gradient", gradient}, {"state", state}}, {});
}

void finish_step(Value state, float growth_interval, float largest_scale) {
    add_node<FinishStep>(Finish{growth_interval, largest_scale}, {{"state", state}}, {});
}
