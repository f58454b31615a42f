#include "train/trainer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/op.h"
#include "engine/ops/join_gradients.h"
#include "train/ranks.h"

namespace {
// Without a wish for another number: where a step reads little, launching it may cost more than the GPU's work.
constexpr size_t kStepsPerGraph = 8, kSmallInputs = size_t(4) << 20;  // bytes
constexpr double kWorthwhile = 0.98;                                  // of the time
constexpr size_t kInterruptions = 4;                                  // of a comparison, which is then given up
}  // namespace

Trainer::Trainer(Device& device, Arena& arena, const TrainerConfig& config, const StateDict& initial)
    : config_(config),
      graph_(trace(device.image_channels(config.precision))),
      parameters_(device, *graph_, {.gradients = true, .trained = config.trained}),
      optimizer_(parameters_, config.optimizer),
      program_(arena, with_gradients(), parameters_, loss_.shown, {.eager = config.eager, .batch = config.batch}) {
    size_t bytes = sizeof(StepState);
    for (Value v : loss_.shown) bytes += numel(v.shape()) * sizeof(float);
    open_queue(device, bytes);
    for (auto& shown : shown_) shown = device.readback(bytes * (queue_ ? queue_->capacity() : 1));
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
    if (config_.join_gradients) join_gradients(*graph_);
    if (config_.ranks) {
        sum_over_ranks(*graph_, parameters_);
        wait_for_ranks(loss_.loss);
    }
    optimizer_.append(*graph_);
    return std::move(graph_);
}

// The scalars of the optimizer are written beside the inputs of the program.
void Trainer::open_queue(Device& device, size_t result_bytes) {
    const size_t wanted = config_.steps_per_graph, input_bytes = program_.input_bytes() + 8 * sizeof(StepState);
    const bool whole_words = config_.batch * config_.height * config_.width % 4 == 0;
    if (!device.facts().overlaps || config_.eager || wanted == 1 || !whole_words) return;
    if (config_.ranks) return;  // ranks agree before each step; and by its time each would choose for itself
    if (wanted == 0 && input_bytes > kSmallInputs) return;
    comparing_ = wanted == 0, grouped_ = !comparing_;
    queue_ = std::make_unique<StepQueue>(device, wanted ? wanted : kStepsPerGraph, input_bytes, result_bytes);
}

void Trainer::write(void* to, Piece piece) {
    grouped_ ? queue_->write(to, piece) : parameters_.device().upload_async(to, {&piece, 1});
}

template <class T>
void Trainer::write(std::string_view input, std::span<const T> values) {
    const auto found = inputs_.find(input);
    if (found == inputs_.end()) return;
    const size_t bytes = numel(found->second.shape()) * size_of(found->second.dtype());
    require(bytes == values.size_bytes(), "input {} has {} bytes, {} were given", input, bytes, values.size_bytes());
    write(const_cast<void*>(program_.address(found->second)), {values.data(), bytes});
}

std::vector<Piece> Trainer::results() const {
    std::vector<Piece> pieces;
    for (Value v : loss_.shown) pieces.push_back({program_.address(v), numel(v.shape()) * sizeof(float)});
    pieces.push_back({optimizer_.step_state().data(), sizeof(StepState)});
    return pieces;
}

void Trainer::read_back(std::span<const Piece> pieces, size_t steps) {
    shown_[starts_ % 2]->start(pieces);
    started_[starts_++ % 2] = {steps};
}

void Trainer::start_queued() {
    if (!queue_ || !queue_->queued()) return;
    const size_t steps = queue_->queued();
    program_.steps();  // bound, so that results have their addresses
    const Piece all = queue_->start(program_, results());
    read_back({&all, 1}, steps);
}

// By the steps of the run itself, which are the same either way: the time between eight of them one by one, then that
// between graphs, each way once the host is as far ahead as it ever is.
void Trainer::compare_graphs() {
    if (!comparing_) return;
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - compared_since_).count();
    const size_t turn = ++compared_ % kStepsPerGraph ? 0 : compared_ / kStepsPerGraph;
    if (turn == 1 || turn == 6) compared_since_ = now;
    if (turn == 2) alone_ = seconds, grouped_ = true;
    if (turn >= 8 && !queue_->queued()) stop_comparing(seconds / 2 < kWorthwhile * alone_);
}

void Trainer::stop_comparing(bool grouped) {
    comparing_ = false, grouped_ = grouped;
    if (grouped_) return;
    shown_[(starts_ - 1) % 2]->wait();  // nothing reads the queue any more
    queue_.reset();
}

void Trainer::step(const Batch& batch, double learning_rate, double momentum, size_t step) {
    write<uint8_t>("images", batch.images);
    write<float>("transform", batch.transform);
    write<float>("color", batch.color);
    write<int32_t>("labels", batch.labels);
    write<float>("boxes", batch.boxes);
    optimizer_.set(learning_rate, momentum, step, [this](void* to, Piece piece) { write(to, piece); });
    if (!grouped_) {
        program_.run();
        read_back(results(), 1);
    } else if (queue_->end_step(); queue_->full()) {
        start_queued();
    }
    compare_graphs();
}

std::vector<StepStats> Trainer::stats_of(size_t start) const {
    const std::span<const std::byte> all = shown_[start % 2]->wait();
    const size_t steps = started_[start % 2].steps, size = all.size() / steps;
    std::vector<StepStats> result;
    for (size_t i = 0; i < steps; ++i) {
        const std::span<const std::byte> bytes = all.subspan(i * size, size);
        std::vector<float> values((size - sizeof(StepState)) / sizeof(float));
        std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
        StepState state;
        std::memcpy(&state, bytes.data() + size - sizeof state, sizeof state);
        StepStats& stats = result.emplace_back(loss_.stats(values));
        stats.steps = 1;
        stats.loss_scale = state.loss_scale, stats.skipped_steps = state.skipped_steps;
    }
    return result;
}

bool Trainer::joins_gradients() {
    return std::ranges::any_of(
        program_.steps(), [](const Step& step) { return step.op->name() == "conv_backward_data" && step["dx2"].data; });
}

StepStats Trainer::stats() {
    start_queued();
    require(starts_ > 0, "there are no statistics before the first step");
    return stats_of(starts_ - 1).back();
}

std::vector<StepStats> Trainer::untold(size_t start) {
    return std::exchange(started_[start % 2].told, true) ? std::vector<StepStats>() : stats_of(start);
}

std::vector<StepStats> Trainer::arrived() { return starts_ < 2 ? std::vector<StepStats>() : untold(starts_ - 2); }

std::vector<StepStats> Trainer::finish() {
    std::vector<StepStats> result;
    const auto add = [&](const std::vector<StepStats>& more) { result.insert(result.end(), more.begin(), more.end()); };
    add(arrived());
    if (queue_ && queue_->queued()) {
        if (starts_) add(untold(starts_ - 1));
        start_queued();
    }
    if (starts_) add(untold(starts_ - 1));
    const size_t begin = grouped_ ? 2 * kStepsPerGraph : 0;
    if (!comparing_ || compared_ == begin) return result;
    compared_ = begin;  // what comes now would count as time of steps
    if (++interrupted_ == kInterruptions) stop_comparing(false);
    return result;
}

void Trainer::require_finished() const { require(!queue_ || !queue_->queued(), "steps are queued"); }

StateDict Trainer::completed(StateDict downloaded) const {
    StateDict state = frozen_;
    for (auto& [name, tensor] : downloaded)
        if (!config_.fold_frozen || config_.trained(name)) state[name] = std::move(tensor);
    state.insert(config_.model.constants.begin(), config_.model.constants.end());
    return state;
}

StateDict Trainer::state() const {
    require_finished();
    return completed(download(parameters_));
}

StateDict Trainer::averaged() const {
    require_finished();
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
    if (queue_) bytes += queue_->memory_bytes();
    return bytes;
}
