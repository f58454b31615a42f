#include "train/optimizer.h"

#include <cmath>
#include <cstddef>

namespace {
constexpr ParameterRole kTrained[] = {ParameterRole::weight, ParameterRole::norm_or_bias};
constexpr ParameterRole kAveraged[] = {ParameterRole::weight, ParameterRole::norm_or_bias, ParameterRole::statistic};
constexpr size_t kHostPart = offsetof(StepState, loss_scale);  // bytes that the host writes before each step
}  // namespace

Optimizer::Optimizer(Parameters& parameters, const OptimizerConfig& config)
    : parameters_(parameters),
      config_(config),
      rule_(optimizer_rule(config.rule)),
      state_(parameters.device(), sizeof(StepState)) {
    last_.loss_scale = config.loss_scale;
    parameters.device().upload(state_.data(), &last_, sizeof last_);
    for (const ParameterRole role : kTrained) {
        const size_t bytes = parameters.group(role).trained() * sizeof(float);
        for (size_t i = 0; i < rule_.moments; ++i) moments_[size_t(role)][i] = Buffer(parameters.device(), bytes);
    }
    if (config.ema_decay == 0) return;
    ema_rate_ = Buffer(parameters.device(), sizeof(float));
    for (const ParameterRole role : kAveraged)
        ema_[size_t(role)] = Buffer(parameters.device(), parameters.group(role).master.bytes());
}

Value Optimizer::loss_scale(Graph& graph) const {
    return graph.external("loss scale", {1}, DType::f32, &state_.as<StepState>()->loss_scale);
}

// The trained range of a flat array.
Value Optimizer::external(Graph& graph, const char* name, void* data, DType dtype, const ParameterGroup& group) const {
    return graph.external(name, {group.trained()}, dtype,
                          static_cast<std::byte*>(data) + group.frozen * size_of(dtype));
}

void Optimizer::append(Graph& graph) const {
    const Value state = graph.external("step state", {sizeof(StepState) / sizeof(float)}, DType::f32, state_.data());
    Value gradient[2];
    for (const ParameterRole role : kTrained) {
        const ParameterGroup& group = parameters_.group(role);
        if (!group.trained()) continue;
        gradient[size_t(role)] = external(graph, "gradient", group.gradient.data(), group.dtype, group);
        check_finite(state, gradient[size_t(role)]);
    }
    for (const ParameterRole role : kTrained) {
        const ParameterGroup& group = parameters_.group(role);
        if (!group.trained()) continue;
        OptimizerOperands x{.state = state,
                            .gradient = gradient[size_t(role)],
                            .parameter = external(graph, "parameter", group.master.data(), DType::f32, group),
                            .moments = {},
                            .compute_copy = {}};
        if (group.dtype != DType::f32)
            x.compute_copy = external(graph, "compute copy", group.copy.data(), group.dtype, group);
        for (size_t i = 0; i < rule_.moments; ++i)
            x.moments[i] = graph.external("moment", {group.trained()}, DType::f32, moments_[size_t(role)][i].data());
        const bool decayed = role == ParameterRole::weight || config_.decay_vectors;
        rule_.step(x, {.weight_decay = decayed ? config_.weight_decay : 0,
                       .nesterov = config_.nesterov,
                       .beta2 = config_.beta2,
                       .epsilon = config_.epsilon,
                       .form = config_.form});
    }
    if (config_.ema_decay != 0)
        for (const ParameterRole role : kAveraged) {
            const ParameterGroup& group = parameters_.group(role);
            if (!group.count) continue;
            ema_update(state, graph.external("EMA rate", {1}, DType::f32, ema_rate_.data()),
                       graph.external("parameter", {group.count}, DType::f32, group.master.data()),
                       graph.external("EMA", {group.count}, DType::f32, ema_[size_t(role)].data()));
        }
    finish_step(state, config_.growth_interval);
}

void Optimizer::set(double learning_rate, double momentum, size_t step, const Write& write) {
    last_.learning_rate = float(learning_rate);
    last_.momentum = float(momentum);
    last_.bias_correction1 = float(1 - std::pow(momentum, double(step)));
    last_.bias_correction2 = float(1 - std::pow(double(config_.beta2), double(step)));
    write(state_.data(), {&last_, kHostPart});
    if (config_.ema_decay == 0) return;
    const auto rate = float(1 - double(config_.ema_decay) * (1 - std::exp(-double(step) / double(config_.ema_ramp))));
    write(ema_rate_.data(), {&rate, sizeof rate});
}

void Optimizer::set(double learning_rate, double momentum, size_t step) {
    set(learning_rate, momentum, step, [this](void* to, Piece piece) {
        parameters_.device().upload_async(to, {&piece, 1});
    });
}

void Optimizer::reset_ema() {
    if (config_.ema_decay == 0) return;
    for (const ParameterRole role : kAveraged) {
        std::vector<std::byte> bytes(ema_[size_t(role)].bytes());
        parameters_.device().download(bytes.data(), parameters_.group(role).master.data(), bytes.size());
        parameters_.device().upload(ema_[size_t(role)].data(), bytes.data(), bytes.size());
    }
}

std::vector<float> Optimizer::averaged(const Parameters::Entry& entry) const {
    if (config_.ema_decay == 0) return parameters_.get(entry.name);
    std::vector<float> values(numel(entry.shape));
    const Buffer& memory = ema_[size_t(entry.spec.role)];
    parameters_.device().download(values.data(), memory.as<float>() + entry.offset, values.size() * sizeof(float));
    return values;
}

StepState Optimizer::state() const {
    StepState state;
    parameters_.device().download(&state, state_.data(), sizeof state);
    return state;
}

std::vector<Optimizer::Slot> Optimizer::slots() const {
    std::vector<Slot> slots = {{"step_state", &state_}};
    const auto add = [&](const char* group, const char* what, const Buffer& memory) {
        if (memory.bytes()) slots.push_back({fmt::format("{}.{}", group, what), &memory});
    };
    for (const ParameterRole role : kTrained) {
        const char* group = role == ParameterRole::weight ? "weight" : "vector";
        add(group, "first_moment", moments_[size_t(role)][0]);
        add(group, "second_moment", moments_[size_t(role)][1]);
    }
    add("weight", "average", ema_[size_t(ParameterRole::weight)]);
    add("vector", "average", ema_[size_t(ParameterRole::norm_or_bias)]);
    add("statistic", "average", ema_[size_t(ParameterRole::statistic)]);
    return slots;
}
