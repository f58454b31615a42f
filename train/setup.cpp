#include "train/setup.h"

#include "engine/processors.h"
#include "train/model_file.h"

namespace {

AugmentRanges augment_named(const std::string& name) {
    if (name == "standard") return {.flip = 0.5, .rotate = 5, .crop = 0.85, .brightness = 0.2, .contrast = 0.2};
    if (name == "keras") return {.flip = 0.5, .rotate = 40, .shear = 0.2, .shift = 0.2, .zoom = 0.2};
    return {};
}

OptimizerConfig optimizer_config(const TrainConfig& c, DType precision) {
    OptimizerConfig o{.kind = c.optimizer == "sgd" ? OptimizerConfig::Kind::sgd : OptimizerConfig::Kind::adam,
                      .weight_decay = float(c.weight_decay),
                      .decay_vectors = c.decay_norm_and_bias,
                      .nesterov = c.nesterov,
                      .form = c.adam_form == "keras" ? AdamForm::keras : AdamForm::torch,
                      .beta2 = float(c.beta2),
                      .epsilon = float(c.epsilon),
                      .decoupled = c.optimizer == "adamw"};
    if (precision == DType::f16) o.loss_scale = 65536, o.growth_interval = 2000;
    return o;
}

}  // namespace

int thread_count(const TrainConfig& c) { return c.threads ? int(c.threads) : usable_processors(); }

DatasetOptions dataset_options(const TrainConfig& c) {
    return {.seed = c.seed,
            .split_by = c.split_by == "camera" ? SplitBy::camera : SplitBy::sequence,
            .validation = c.validation,
            .test = c.test,
            .threads = thread_count(c)};
}

Fit fit_of(const TrainConfig& c) {
    return {.size = size_t(c.image_size),
            .mode = c.fit == "crop" ? FitMode::crop : FitMode::stretch,
            .filter = c.filter == "nearest" ? Filter::nearest : c.filter == "linear" ? Filter::linear : Filter::antialias};
}

LoaderOptions loader_options(const TrainConfig& c, bool training) {
    LoaderOptions o{.batch = size_t(c.batch), .fit = fit_of(c), .seed = c.seed, .threads = thread_count(c),
                    .accept_damaged = c.accept_damaged};
    if (training) {
        o.augment = augment_named(c.augment);
        o.shuffle = true;
        o.drop_last = c.drop_last;
    }
    return o;
}

DType precision_on(const TrainConfig& c, const Device& device) {
    if (device.kind() == "cpu" && c.precision != "auto" && c.precision != "fp32")
        fail(Fault::usage, "--precision {}: the device cpu computes in fp32", c.precision);
    const std::string named = c.precision == "auto" ? device.kind() == "cuda" ? "bf16" : "fp32" : c.precision;
    if (c.fused && (device.architecture() < 90 || named != "fp16"))  // all that cuDNN has engines for
        fail(Fault::usage, "--fused: needs --precision fp16 and a GPU of compute capability 9.0 or newer; this is {} in {}",
             device.description(), named);
    return named == "bf16" ? DType::bf16 : named == "fp16" ? DType::f16 : DType::f32;
}

TrainerConfig trainer_config(const TrainConfig& c, const Dataset& data, DType precision) {
    ResNetConfig model = resnet_config(c.model, data.classes.size());
    model.fused = c.fused;
    return {.model = model,
            .batch = size_t(c.batch),
            .size = size_t(c.image_size),
            .normalize = normalize_named(c.normalize),
            .optimizer = optimizer_config(c, precision),
            .label_smoothing = float(c.label_smoothing),
            .class_weights = class_weight_values(c, data.class_counts(Part::train)),
            .precision = precision,
            .freeze_backbone = c.freeze};
}

State initial_state(const TrainConfig& c, ResNetConfig& model, std::string& note) {
    State state = initialize_state(model, c.seed);
    if (c.init.empty()) return state;
    const ModelFile file = read_model(c.init);
    if (file.model.depth != model.depth || file.model.keras != model.keras)
        fail(Fault::usage, "--init {}: holds {}, the run trains {}", c.init, model_name(file.model), c.model);
    model.keras_epsilon = file.model.keras_epsilon;
    const bool same_head = file.model.classes == model.classes;
    for (const auto& [name, tensor] : file.state)
        if (state.contains(name) && (same_head || !name.starts_with("fc."))) state[name] = tensor;
    if (!same_head)
        note = fmt::format("{} has {} classes, the data {}: the last layer starts anew", c.init, file.model.classes, model.classes);
    return state;
}
