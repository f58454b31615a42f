#include "train/loss.h"

Loss classification_loss(float label_smoothing, std::vector<float> class_weights) {
    return [=](Graph& graph, const std::vector<Value>& heads) {
        const Value logits = heads.at(0);
        const size_t classes = logits.shape()[1];
        graph.layer = "loss";
        TracedLoss traced;
        CrossEntropyOptions options{.smoothing = label_smoothing};
        if (!class_weights.empty()) {
            require(class_weights.size() == classes, "{} class weights for {} classes", class_weights.size(), classes);
            options.class_weight = graph.input("class weights", {classes}, DType::f32);
            traced.constants = {{options.class_weight, class_weights}};
        }
        const Value labels = graph.input("labels", {logits.shape()[0]}, DType::i32);
        const CrossEntropyResult result = cross_entropy(logits, labels, options);
        traced.loss = result.loss;
        traced.shown = {result.loss, result.correct};
        traced.stats = [](std::span<const float> v) {
            return StepStats{.loss = v[0], .parts = {{kClassificationParts[0], v[1]}}};
        };
        return traced;
    };
}

namespace {

// Box and class gains are scaled by the number of levels, the class gain also by the number of classes, objectness by
// the area of the input; the levels get their balance. Three levels, 80 classes and 640 x 640 pixels change nothing.
DetectLossOptions scaled_loss(const DetectLossOptions& nominal, const Model& model, size_t height, size_t width) {
    DetectLossOptions o = nominal;
    const float per_level = 3 / float(model.levels.size());
    o.box *= per_level;
    o.classes *= per_level * float(model.classes) / 80;
    o.objectness *= per_level * float(height * width) / (640 * 640);
    if (o.balance.empty())
        o.balance = model.levels.size() == 3 ? std::vector{4.0f, 1.0f, 0.4f} : std::vector{4.0f, 1.0f, 0.25f, 0.06f};
    return o;
}

}  // namespace

Loss detection_loss(const Model& model, const DetectionLossConfig& config) {
    const DetectLossOptions options = scaled_loss(config.nominal, model, config.height, config.width);
    return [=, levels = model.levels, classes = model.classes](Graph& graph, const std::vector<Value>& heads) {
        const Value boxes = graph.input("boxes", {heads.at(0).shape()[0], config.max_boxes, 5}, DType::f32);
        const DetectLossResult result = detect_loss(heads, boxes, levels, classes, options);
        TracedLoss traced;
        traced.loss = result.loss;
        traced.shown = {result.parts};
        traced.stats = [](std::span<const float> v) {
            StepStats stats{.loss = double(v[0]) + v[1] + v[2]};
            for (size_t i = 0; i < kDetectionParts.size(); ++i) stats.parts.emplace_back(kDetectionParts[i], v[i]);
            return stats;
        };
        return traced;
    };
}
