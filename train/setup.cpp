#include "train/setup.h"

#include <cmath>

#include "base/processors.h"
#include "models/yolov5_start.h"
#include "predict/model_file.h"

namespace {

AugmentRanges augment_named(const std::string& name) {
    if (name == "standard") return {.flip = 0.5, .rotate = 5, .crop = 0.85, .brightness = 0.2, .contrast = 0.2};
    if (name == "keras") return {.flip = 0.5, .rotate = 40, .shear = 0.2, .shift = 0.2, .zoom = 0.2};
    return {};
}

}  // namespace

OptimizerConfig optimizer_config(const TrainConfig& c, DType precision) {
    OptimizerConfig o{.rule = c.optimizer,
                      .weight_decay = float(c.weight_decay),
                      .decay_vectors = c.decay_norm_and_bias,
                      .nesterov = c.nesterov,
                      .form = c.adam_form == "keras" ? AdamForm::keras : AdamForm::torch,
                      .beta2 = float(c.beta2),
                      .epsilon = float(c.epsilon),
                      .ema_decay = float(c.ema_decay)};
    if (precision == DType::f16) o.loss_scale = 65536, o.growth_interval = 2000;
    return o;
}

CacheMode cache_mode(const TrainConfig& c) {
    if (c.cache == "off") return CacheMode::off;
    if (c.cache == "memory") return CacheMode::memory;
    return c.cache == "disk" ? CacheMode::disk : CacheMode::automatic;
}

int thread_count(const TrainConfig& c) { return c.threads ? int(c.threads) : usable_processors(); }

DatasetOptions dataset_options(const TrainConfig& c, bool links) {
    return {.seed = c.seed,
            .split_by = c.split_by == "camera" ? SplitBy::camera : SplitBy::sequence,
            .validation = c.validation,
            .test = c.test,
            .threads = thread_count(c),
            .links = links};
}

Fit fit_of(const TrainConfig& c) {
    return {.size = size_t(c.image_size),
            .mode = c.fit == "crop" ? FitMode::crop : FitMode::stretch,
            .filter = c.filter == "nearest"  ? Filter::nearest
                      : c.filter == "linear" ? Filter::linear
                                             : Filter::antialias};
}

LoaderOptions loader_options(const TrainConfig& c, bool training) {
    LoaderOptions o{.batch = size_t(c.batch),
                    .fit = fit_of(c),
                    .seed = c.seed,
                    .threads = thread_count(c),
                    .accept_damaged = c.accept_damaged};
    if (training) {
        o.augment = augment_named(c.augment);
        o.shuffle = true;
        o.drop_last = c.drop_last;
    }
    return o;
}

DType precision_on(const TrainConfig& c, const Device& device) {
    return precision_named(c.precision, device, device.default_precision());
}

InitialModel initial_classifier(const TrainConfig& c, size_t classes,
                                const std::function<void(const std::string&)>& note) {
    if (c.init.empty()) {
        Model model = make_model(c.model, classes);
        StateDict state = initialize_state(model, c.seed);
        return {std::move(model), std::move(state)};
    }
    ModelFile file = read_model(c.init, {.initial = true});
    if (file.model.name != c.model)
        fail(Fault::usage, "--init {}: holds {}, the run trains {}", c.init, file.model.name, c.model);
    check_numbers(file.model, file.state, c.init);
    for (const std::string& text : file.notes) note(text);
    if (file.input.normalize != c.normalize)
        note(fmt::format("{} {} made for --normalize {}, the run trains with {}", c.init,
                         file.normalize_assumed ? "is assumed to be" : "was", file.input.normalize, c.normalize));
    Model& model = file.model;
    const size_t stored = std::exchange(model.classes, classes);
    StateDict state = initialize_state(model, c.seed);
    for (const auto& [name, tensor] : file.state)
        if (state.contains(name) && (stored == classes || !name.starts_with(model.head))) state[name] = tensor;
    if (!file.lacks.empty())
        note(fmt::format("{}: {}; what is missing starts from random weights", c.init, file.lacks));
    else if (stored != classes)
        note(fmt::format("{} has {} classes, the data {}: the last layer starts from random weights", c.init, stored,
                         classes));
    return {std::move(model), std::move(state)};
}

TrainerConfig trainer_config(const TrainConfig& c, const Dataset& data, const Model& model, DType precision) {
    return {
        .model = model,
        .batch = size_t(c.batch),
        .height = size_t(c.image_size),
        .width = size_t(c.image_size),
        .normalize = normalize_named(c.normalize),
        .loss = classification_loss(float(c.label_smoothing), class_weight_values(c, data.class_counts(Part::train))),
        .optimizer = optimizer_config(c, precision),
        .trained = [freeze = c.freeze,
                    head = model.head](const std::string& name) { return !freeze || name.starts_with(head); },
        .fold_frozen = c.freeze,
        .precision = precision};
}

DetectorModel initial_detector(const TrainConfig& c, const std::vector<std::string>& classes,
                               const std::function<void(const std::string&)>& note) {
    DetectorModel model{.file_name = c.model, .config = yolov5_config(c.model, classes.size()), .classes = classes};
    if (c.init.empty()) {
        model.state = initialize_yolov5(model.config, c.seed);
        return model;
    }
    DetectorModel from = read_detector_unfolded(c.init);
    if (from.config.channels != model.config.channels || from.config.repeats != model.config.repeats)
        fail(Fault::usage,
             "--init {}: holds a YOLOv5 of a different size than {} (see `tundra inspect`); name it with --model",
             c.init, c.model);
    if (from.classes == classes) return from;
    std::string text;
    model = retarget_yolov5(from, classes, c.seed, text);
    if (!text.empty()) note(text);
    return model;
}

Fit frame_for(const TrainConfig& c, const Dataset& data, size_t stride) {
    const auto rounded = [&](double side) {
        return std::max<size_t>(1, size_t(std::ceil(side / double(stride) - 1e-9))) * stride;
    };
    std::vector<double> shapes;
    for (const Sample& sample : data.samples)
        if (sample.part == Part::train && sample.h && sample.w) shapes.push_back(double(sample.h) / double(sample.w));
    double shape = 1;
    if (c.fit == "frame" && !shapes.empty()) {
        std::ranges::nth_element(shapes, shapes.begin() + ptrdiff_t(shapes.size() / 2));
        shape = shapes[shapes.size() / 2];
    }
    Fit fit = fit_of(c);
    fit.mode = FitMode::letterbox;
    fit.size = rounded(double(c.image_size) * std::min(1.0, 1 / shape));
    fit.height = rounded(double(c.image_size) * std::min(1.0, shape));
    return fit;
}

BoxAugment box_augment(const TrainConfig& c) {
    if (c.augment == "none") return {};
    BoxAugment options{
        .flip = 0.5, .zoom = c.augment == "mosaic" ? 0.5 : 0.25, .shift = 0.1, .brightness = 0.3, .contrast = 0.3};
    // The last tenth of the epochs shows unaltered images, as in use: Ge et al. 2021, https://arxiv.org/abs/2107.08430
    if (c.augment == "mosaic") options.mosaic = 1, options.mosaic_epochs = c.epochs - c.epochs / 10;
    return options;
}

std::function<bool(const std::string&)> layers_from(size_t first) {
    return [first](const std::string& name) {  // model.7.conv.weight -> 7
        return std::strtoul(name.c_str() + std::string_view("model.").size(), nullptr, 10) >= first;
    };
}
