#include "train/trainer.h"

#include <cstring>

#include "train/ranks.h"

Trainer::Trainer(Device& device, Arena& arena, const TrainerConfig& config, const StateDict& initial)
    : config_(config),
      graph_(trace(device.image_channels(config.precision))),
      parameters_(device, *graph_, {.gradients = true, .trained = config.trained}),
      optimizer_(parameters_, config.optimizer),
      program_(arena, with_gradients(), parameters_, loss_.shown, {.eager = config.eager, .batch = config.batch}) {
    size_t bytes = sizeof(StepState);
    for (Value v : loss_.shown) bytes += numel(v.shape()) * sizeof(float);
    for (auto& shown : shown_) shown = device.readback(bytes);
    for (const auto& [input, values] : loss_.constants) program_.write<float>(input, values);
    load(initial, "initial weights");
}

std::unique_ptr<Graph> Trainer::trace(size_t channels) {
    auto graph = std::make_unique<Graph>(config_.precision, !config_.fold_frozen);
    graph->ranks = config_.ranks, graph->sync_batch_norm = config_.sync_batch_norm;
    const size_t n = config_.batch, h = config_.height, w = config_.width;
    const Value images = graph->input("images", {n, h, w, 3}, DType::u8),
                transform = graph->input("transform", {n, 6}, DType::f32),
                color = graph->input("color", {n, 2}, DType::f32);
    const Value x = image_batch(images, transform, color,
                                {.out_h = h, .out_w = w, .out_channels = channels, .normalize = config_.normalize});
    loss_ = config_.loss(*graph, config_.model.trace(x));
    for (size_t v = 0; v < graph->values.size(); ++v)
        if (graph->values[v].kind == ValueKind::input) inputs_[graph->values[v].name] = {graph.get(), int(v)};
    return graph;
}

std::unique_ptr<Graph> Trainer::with_gradients() {
    std::vector<Value> wanted;
    for (const Parameters::Entry& e : parameters_.entries())
        if (e.trained && e.spec.role != ParameterRole::statistic)
            wanted.push_back(graph_->parameter(e.name, e.shape, e.spec));
    const std::vector<Value> grads = gradients(loss_.loss, optimizer_.loss_scale(*graph_), wanted);
    for (size_t i = 0; i < wanted.size(); ++i)
        graph_->bind(grads[i], parameters_.gradient(graph_->values[size_t(wanted[i].id)].name));
    if (config_.ranks) {
        sum_over_ranks(*graph_, parameters_);
        wait_for_ranks(loss_.loss);
    }
    optimizer_.append(*graph_);
    return std::move(graph_);
}

template <class T>
void Trainer::write(std::string_view input, std::span<const T> values) {
    if (const auto found = inputs_.find(input); found != inputs_.end()) program_.write<T>(found->second, values);
}

void Trainer::step(const Batch& batch, double learning_rate, double momentum, size_t step) {
    write<uint8_t>("images", batch.images);
    write<float>("transform", batch.transform);
    write<float>("color", batch.color);
    write<int32_t>("labels", batch.labels);
    write<float>("boxes", batch.boxes);
    optimizer_.set(learning_rate, momentum, step);
    program_.run();
    std::vector<Piece> pieces;
    for (Value v : loss_.shown) pieces.push_back({program_.address(v), numel(v.shape()) * sizeof(float)});
    pieces.push_back({optimizer_.step_state().data(), sizeof(StepState)});
    shown_[steps_++ % 2]->start(pieces);
}

StepStats Trainer::stats_of(size_t step) const {
    const std::span<const std::byte> bytes = shown_[step % 2]->wait();
    std::vector<float> values((bytes.size() - sizeof(StepState)) / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    StepState state;
    std::memcpy(&state, bytes.data() + bytes.size() - sizeof state, sizeof state);
    StepStats stats = loss_.stats(values);
    stats.steps = 1;
    stats.loss_scale = state.loss_scale, stats.skipped_steps = state.skipped_steps;
    return stats;
}

StepStats Trainer::stats() const {
    require(steps_ > 0, "there are no statistics before the first step");
    return stats_of(steps_ - 1);
}

std::optional<StepStats> Trainer::previous_stats() const {
    if (steps_ < 2) return std::nullopt;
    return stats_of(steps_ - 2);
}

StateDict Trainer::completed(StateDict downloaded) const {
    StateDict state = frozen_;
    for (auto& [name, tensor] : downloaded)
        if (!config_.fold_frozen || config_.trained(name)) state[name] = std::move(tensor);
    state.insert(config_.model.constants.begin(), config_.model.constants.end());
    return state;
}

StateDict Trainer::state() const { return completed(download(parameters_)); }

StateDict Trainer::averaged() const {
    return completed(download(parameters_, [&](const Parameters::Entry& e) { return optimizer_.averaged(e); }));
}

void Trainer::load(const StateDict& state, const std::string& where) {
    if (config_.fold_frozen) frozen_ = state;
    upload(state, parameters_, where, config_.fold_frozen ? config_.model.folding : Folding{});
    optimizer_.reset_ema();
}

size_t Trainer::memory_bytes() const {
    size_t bytes = program_.plan().bytes + program_.input_bytes();
    for (const ParameterRole role : {ParameterRole::weight, ParameterRole::norm_or_bias, ParameterRole::statistic}) {
        const ParameterGroup& g = parameters_.group(role);
        bytes += g.master.bytes() + g.gradient.bytes() + g.copy.bytes();
    }
    for (const Optimizer::Slot& slot : optimizer_.slots()) bytes += slot.memory->bytes();
    return bytes;
}
