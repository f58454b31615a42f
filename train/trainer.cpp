#include "train/trainer.h"

namespace {

bool in_head(const std::string& name) { return name.starts_with("fc."); }

StepFigures named(const TrainingProgram::Figures& figures) {
    return {figures.values[0], figures.values[1], figures.values[2], figures.state.loss_scale,
            figures.state.skipped_steps};
}

}  // namespace

Trainer::Trainer(Device& device, Arena& arena, const TrainerConfig& config, const StateDict& initial)
    : config_(config),
      training_(device, arena, trace(device.image_channels(config.precision)),
                {.optimizer = config.optimizer,
                 .trained = [&](const std::string& name) { return !config.freeze_backbone || in_head(name); },
                 .program = {.eager = config.eager, .batch = config.batch}}) {
    if (!config.class_weights.empty()) program().write<float>(class_weight_, config.class_weights);
    load(initial, "initial weights");
}

// With a frozen backbone the graph is one for inference up to the classifier: folded, without statistics.
TracedLoss Trainer::trace(size_t channels) {
    auto graph = std::make_unique<Graph>(config_.precision, !config_.freeze_backbone);
    const size_t n = config_.batch, size = config_.size, classes = config_.model.classes;
    images_ = graph->input("pictures", {n, size, size, 3}, DType::u8);
    transform_ = graph->input("transform", {n, 6}, DType::f32);
    color_ = graph->input("color", {n, 2}, DType::f32);
    labels_ = graph->input("labels", {n}, DType::i32);
    if (!config_.class_weights.empty()) {
        require(config_.class_weights.size() == classes, "{} class weights for {} classes",
                config_.class_weights.size(), classes);
        class_weight_ = graph->input("class weights", {classes}, DType::f32);
    }
    const Value x =
        image_batch(images_, transform_, color_,
                    {.out_h = size, .out_w = size, .out_channels = channels, .normalize = config_.normalize});
    const Value logits = resnet(x, config_.model);
    graph->layer = "loss";
    const CrossEntropyResult loss =
        cross_entropy(logits, labels_, {.smoothing = config_.label_smoothing, .class_weight = class_weight_});
    return {std::move(graph), loss.loss, {loss.loss, loss.correct}};
}

void Trainer::step(const TrainerBatch& batch, double learning_rate, double momentum, size_t step) {
    program().write(images_, batch.images);
    program().write(transform_, batch.transform);
    program().write(color_, batch.color);
    program().write(labels_, batch.labels);
    training_.step(learning_rate, momentum, step);
}

StepFigures Trainer::figures() const { return named(training_.figures()); }

std::optional<StepFigures> Trainer::previous_figures() const {
    const auto figures = training_.previous_figures();
    return figures ? std::optional(named(*figures)) : std::nullopt;
}

StateDict Trainer::state() const {
    StateDict state = download(parameters());
    if (!config_.freeze_backbone) return state;
    StateDict result = frozen_;
    for (auto& [name, tensor] : state)
        if (in_head(name)) result[name] = std::move(tensor);
    return result;
}

void Trainer::load(const StateDict& state, const std::string& where) {
    if (!config_.freeze_backbone) return upload(state, training_.parameters(), where);
    frozen_ = state;
    upload(state, training_.parameters(), where, {resnet_conv_bn_pairs(config_.model), config_.model.epsilon()});
}

StateDict initialize_state(const ResNetConfig& model, uint64_t seed) {
    const auto host = open_device("cpu");
    Graph graph(DType::f32, true);
    resnet(graph.input("x", {2, 64, 64, 3}, DType::f32), model);
    Parameters parameters(*host, graph);
    initialize(parameters, seed);
    return download(parameters);
}
