#include "train/trainer.h"

#include <cstring>

namespace {

bool in_head(const std::string& name) { return name.starts_with("fc."); }

}  // namespace

Trainer::Trainer(Device& device, Arena& arena, const TrainerConfig& config, const State& initial)
    : config_(config),
      graph_(trace_network(picture_channels(device, config.precision))),
      parameters_(device, *graph_,
                  {.gradients = true, .trained = [&](const std::string& name) { return !config.freeze_backbone || in_head(name); }}),
      optimizer_(parameters_, config.optimizer),
      program_(arena, with_gradients(std::move(graph_)), parameters_,
               std::vector{values_.loss.loss, values_.loss.correct, values_.loss.sample_loss},
               {.eager = config.eager, .batch = config.batch}) {
    for (auto& figures : figures_) figures = device.readback(3 * sizeof(float) + sizeof(StepState));
    if (!config.class_weights.empty()) program_.write<float>(values_.class_weight, config.class_weights);
    load(initial, "initial weights");
}

// With a frozen backbone the graph is one for inference up to the classifier: folded, without statistics.
std::unique_ptr<Graph> Trainer::trace_network(size_t channels) {
    auto graph = std::make_unique<Graph>(config_.precision, !config_.freeze_backbone);
    const size_t n = config_.batch, size = config_.size, classes = config_.model.classes;
    Values& v = values_;
    v.pictures = graph->input("pictures", {n, size, size, 3}, DType::u8);
    v.transform = graph->input("transform", {n, 6}, DType::f32);
    v.color = graph->input("color", {n, 2}, DType::f32);
    v.labels = graph->input("labels", {n}, DType::i32);
    if (!config_.class_weights.empty()) {
        require(config_.class_weights.size() == classes, "{} class weights for {} classes", config_.class_weights.size(), classes);
        v.class_weight = graph->input("class weights", {classes}, DType::f32);
    }
    const Value x =
        image_batch(v.pictures, v.transform, v.color, {.out_h = size, .out_w = size, .out_channels = channels, .normalize = config_.normalize});
    v.loss = cross_entropy(resnet(x, config_.model), v.labels,
                           {.smoothing = config_.label_smoothing, .class_weight = v.class_weight});
    return graph;
}

std::unique_ptr<Graph> Trainer::with_gradients(std::unique_ptr<Graph> graph) {
    std::vector<Value> wanted;
    for (const Parameters::Entry& e : parameters_.entries())
        if (e.trained && e.declaration.role != Role::statistic) wanted.push_back(graph->parameter(e.name, e.shape, e.declaration));
    const std::vector<Value> grads = gradients(values_.loss.loss, optimizer_.loss_scale(*graph), wanted);
    for (size_t i = 0; i < wanted.size(); ++i)
        graph->place(grads[i], parameters_.gradient(graph->values[size_t(wanted[i].id)].name));
    optimizer_.append(*graph);
    return graph;
}

void Trainer::step(const TrainerBatch& batch, double learning_rate, double momentum, size_t step) {
    program_.write(values_.pictures, batch.pictures);
    program_.write(values_.transform, batch.transform);
    program_.write(values_.color, batch.color);
    program_.write(values_.labels, batch.labels);
    optimizer_.set(learning_rate, momentum, step);
    program_.run();
    const Readback::Piece pieces[] = {{program_.address(values_.loss.loss), sizeof(float)},
                                      {program_.address(values_.loss.correct), 2 * sizeof(float)},
                                      {optimizer_.step_state().data(), sizeof(StepState)}};
    figures_[steps_++ % 2]->start(pieces);
}

StepFigures Trainer::figures_of(size_t step) const {
    const std::byte* bytes = figures_[step % 2]->wait().data();
    float loss[3];  // then correct, correct in five
    StepState state;
    std::memcpy(loss, bytes, sizeof loss);
    std::memcpy(&state, bytes + sizeof loss, sizeof state);
    return {loss[0], loss[1], loss[2], state.loss_scale, state.skipped_steps};
}

StepFigures Trainer::figures() const {
    require(steps_ > 0, "there are no figures before the first step");
    return figures_of(steps_ - 1);
}

std::optional<StepFigures> Trainer::previous_figures() const {
    if (steps_ < 2) return std::nullopt;
    return figures_of(steps_ - 2);
}

size_t picture_channels(const Device& device, DType precision) { return device.kind() == "cuda" && precision != DType::f32 ? 8 : 3; }

State Trainer::state() const {
    State state = download(parameters_);
    if (!config_.freeze_backbone) return state;
    State result = frozen_;
    for (auto& [name, tensor] : state)
        if (in_head(name)) result[name] = std::move(tensor);
    return result;
}

void Trainer::load(const State& state, const std::string& where) {
    if (!config_.freeze_backbone) return upload(state, parameters_, where);
    frozen_ = state;
    upload(fold_batch_norm(state, resnet_conv_bn_pairs(config_.model), config_.model.epsilon()), parameters_, where);
}

size_t Trainer::memory_bytes() const {
    size_t bytes = program_.plan().bytes + program_.input_bytes();
    for (const Role role : {Role::weight, Role::vector, Role::statistic}) {
        const ParameterGroup& g = parameters_.group(role);
        bytes += g.master.bytes() + g.gradient.bytes() + g.copy.bytes();
    }
    for (const Optimizer::Slot& slot : optimizer_.slots()) bytes += slot.memory->bytes();
    return bytes;
}

State initialize_state(const ResNetConfig& model, uint64_t seed) {
    const auto host = open_device("cpu");
    Graph graph(DType::f32, true);
    resnet(graph.input("x", {2, 64, 64, 3}, DType::f32), model);
    Parameters parameters(*host, graph);
    initialize(parameters, seed);
    return download(parameters);
}
