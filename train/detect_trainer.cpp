#include "train/detect_trainer.h"

namespace {

// model.7.conv.weight -> 7
size_t layer_of(const std::string& name) {
    return size_t(std::strtoul(name.c_str() + std::string_view("model.").size(), nullptr, 10));
}

DetectFigures named(const TrainingProgram::Figures& figures) {
    const std::vector<float>& v = figures.values;
    float matches = 0;
    for (size_t level = 4; level < v.size(); ++level) matches += v[level];
    return {v[0], v[1], v[2], v[3], matches, figures.state.loss_scale, figures.state.skipped_steps};
}

}  // namespace

DetectLossOptions scaled_loss(const DetectLossOptions& nominal, const YoloConfig& model, size_t height, size_t width) {
    DetectLossOptions o = nominal;
    const float per_level = 3 / float(model.levels.size());
    o.box *= per_level;
    o.classes *= per_level * float(model.classes) / 80;
    o.objectness *= per_level * float(height * width) / (640 * 640);
    if (o.balance.empty())
        o.balance = model.levels.size() == 3 ? std::vector{4.0f, 1.0f, 0.4f} : std::vector{4.0f, 1.0f, 0.25f, 0.06f};
    return o;
}

DetectTrainer::DetectTrainer(Device& device, Arena& arena, const DetectTrainerConfig& config, const StateDict& initial)
    : config_(config),
      training_(device, arena, trace(device.image_channels(config.precision)),
                {.optimizer = config.optimizer,
                 .trained = [&](const std::string& name) { return layer_of(name) >= config.frozen_layers; },
                 .program = {.eager = config.eager, .batch = config.batch}}) {
    load(initial, "initial weights");
}

TracedLoss DetectTrainer::trace(size_t channels) {
    auto graph = std::make_unique<Graph>(config_.precision, true);
    const size_t n = config_.batch, h = config_.height, w = config_.width;
    images_ = graph->input("pictures", {n, h, w, 3}, DType::u8);
    transform_ = graph->input("transform", {n, 6}, DType::f32);
    color_ = graph->input("color", {n, 2}, DType::f32);
    boxes_ = graph->input("boxes", {n, config_.most_boxes, 5}, DType::f32);
    const Value x = image_batch(images_, transform_, color_,
                                {.out_h = h, .out_w = w, .out_channels = channels, .normalize = config_.normalize});
    const DetectLossResult loss = detect_loss(yolov5(x, config_.model), boxes_, config_.model.levels,
                                              config_.model.classes, scaled_loss(config_.loss, config_.model, h, w));
    return {std::move(graph), loss.loss, {loss.loss, loss.parts, loss.matches}};
}

void DetectTrainer::step(const DetectTrainerBatch& batch, double learning_rate, double momentum, size_t step) {
    program().write(images_, batch.images);
    program().write(transform_, batch.transform);
    program().write(color_, batch.color);
    program().write(boxes_, batch.boxes);
    training_.step(learning_rate, momentum, step);
}

DetectFigures DetectTrainer::figures() const { return named(training_.figures()); }

std::optional<DetectFigures> DetectTrainer::previous_figures() const {
    const auto figures = training_.previous_figures();
    return figures ? std::optional(named(*figures)) : std::nullopt;
}

StateDict DetectTrainer::state() const {
    StateDict state = download(parameters());
    state.insert(anchor_tensor(config_.model));
    return state;
}

StateDict DetectTrainer::averaged() const {
    StateDict state =
        download(parameters(), [&](const Parameters::Entry& e) { return training_.optimizer().averaged(e); });
    state.insert(anchor_tensor(config_.model));
    return state;
}

void DetectTrainer::load(const StateDict& state, const std::string& where) {
    upload(state, training_.parameters(), where);
    training_.optimizer().reset_ema();
}
