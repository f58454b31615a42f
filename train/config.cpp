// What a value of the configuration may be, presets, and what two configurations differ in.
#include "train/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"

namespace {

const std::vector<ConfigField>& table() {
    using C = TrainConfig;
    constexpr bool result = true, execution = false;
    static const std::vector<ConfigField> fields = {
        {"task", "data", "what is trained: a classifier, or a detector", result, &C::task, {"classify", "detect"}},
        {"recipe", "data", "where all other values start from", result, &C::recipe, {"default", "celis2024"}},
        {"data", "data", "folder of class folders, CSV of path,label; detect: COCO JSON or YOLO labels", execution,
         &C::data},
        {"classes", "data", "names in the order of the outputs; filled in from the data", result, &C::classes},
        {"split_by", "data", "what never lies in two parts", result, &C::split_by, {"sequence", "camera"}},
        {"validation", "data", "share for validation where the data has no parts", result, &C::validation, {}, 0, 0.9},
        {"test", "data", "share for testing where the data has no parts", result, &C::test, {}, 0, 0.9},

        {"model",
         "model",
         "network",
         result,
         &C::model,
         {"resnet50", "resnet101", "resnet152", "resnet50-keras", "resnet101-keras", "resnet152-keras", "yolov5n",
          "yolov5s", "yolov5m", "yolov5l", "yolov5x", "yolov5n6", "yolov5s6", "yolov5m6", "yolov5l6", "yolov5x6"}},
        {"image_size",
         "model",
         "side of its input in pixels; detect: the longer side",
         result,
         &C::image_size,
         {},
         32,
         4096},
        {"init", "model", "weights to start from; empty: random", result, &C::init},
        {"freeze", "model", "train the last layer only; detect: all but the backbone", result, &C::freeze},

        {"epochs", "length", "passes over the training images", result, &C::epochs, {}, 1, 1e6},
        {"batch", "length", "images per step", result, &C::batch, {}, 1, 65536},
        {"drop_last", "length", "leave out the images that do not fill a batch", result, &C::drop_last},
        {"seed", "length", "of weights, order and augmentation", result, &C::seed, {}, 0, 1.8e19},

        {"optimizer", "optimizer", "update rule", result, &C::optimizer, {"sgd", "adam", "adamw"}},
        {"lr", "optimizer", "highest learning rate", result, &C::lr, {}, 1e-12, 1000},
        {"momentum",
         "optimizer",
         "or beta1 of Adam, where the schedule does not cycle it",
         result,
         &C::momentum,
         {},
         0,
         0.9999},
        {"nesterov", "optimizer", "look ahead with the momentum", result, &C::nesterov},
        {"weight_decay", "optimizer", "pull of the weights to 0", result, &C::weight_decay, {}, 0, 1},
        {"decay_norm_and_bias", "optimizer", "apply it to norm and bias parameters too", result,
         &C::decay_norm_and_bias},
        {"average",
         "optimizer",
         "decay of the average of the weights that becomes the model (detect); 0: none",
         result,
         &C::average,
         {},
         0,
         0.99999},
        {"beta2", "optimizer", "of Adam", result, &C::beta2, {}, 0, 0.999999},
        {"epsilon", "optimizer", "of Adam", result, &C::epsilon, {}, 1e-16, 1},
        {"adam_form",
         "optimizer",
         "where epsilon stands: after or before the bias correction",
         result,
         &C::adam_form,
         {"torch", "keras"}},

        {"schedule", "schedule", "one-cycle curve", result, &C::schedule, {"torch", "fastai", "smith", "triangle"}},
        {"start_div", "schedule", "first rate = lr / start_div", result, &C::div_factor, {}, 1, 1e12},
        {"end_div", "schedule", "last rate = lr / end_div", result, &C::final_div, {}, 1, 1e12},
        {"rise",
         "schedule",
         "share of the steps in which the rate grows",
         result,
         &C::warmup_fraction,
         {},
         1e-6,
         0.999999},
        {"anneal", "schedule", "shape of the legs (torch)", result, &C::anneal, {"cosine", "linear"}},
        {"three_phase", "schedule", "fall to the first rate, then to the last (torch)", result, &C::three_phase},
        {"cycle_momentum", "schedule", "momentum runs against the rate", result, &C::cycle_momentum},
        {"momentum_high", "schedule", "at the lowest rate", result, &C::momentum_high, {}, 0, 0.9999},
        {"momentum_low", "schedule", "at the highest rate", result, &C::momentum_low, {}, 0, 0.9999},

        {"label_smoothing",
         "loss",
         "share of each label spread over all classes",
         result,
         &C::label_smoothing,
         {},
         0,
         0.99},
        {"class_weights", "loss", "none, balanced, or one number per class: 1,2.5", result, &C::class_weights},

        {"fit",
         "pictures",
         "stretch to the square, or crop its middle; detect: whole, in a square or a frame of the data's shape",
         result,
         &C::fit,
         {"stretch", "crop", "square", "frame"}},
        {"filter", "pictures", "how images are made smaller", result, &C::filter, {"antialias", "linear", "nearest"}},
        {"normalize",
         "pictures",
         "ImageNet mean and deviation, or x / 255",
         result,
         &C::normalize,
         {"imagenet", "unit"}},
        {"augment",
         "pictures",
         "how images are moved and lit",
         result,
         &C::augment,
         {"none", "standard", "keras", "mosaic"}},
        {"accept_damaged", "pictures", "use truncated and corrupt ones as far as they decode", result,
         &C::accept_damaged},

        {"select",
         "length",
         "weights that become the model: the last, or the best by validation",
         result,
         &C::select,
         {"last", "best"}},
        {"precision",
         "machine",
         "of activations and gradients",
         result,
         &C::precision,
         {"auto", "fp32", "bf16", "fp16"}},
        {"fused", "machine", "batch normalization inside the convolutions (resnets on cuda in fp16)", result,
         &C::fused},
        {"device", "machine", "where it runs", execution, &C::device, {"auto", "cpu", "cuda", "simt"}},
        {"threads", "machine", "0: all processors", execution, &C::threads, {}, 0, 4096},
        {"cache",
         "machine",
         "where decoded images are kept after the first epoch",
         execution,
         &C::cache,
         {"auto", "memory", "disk", "off"}},
        {"save_minutes", "machine", "time between checkpoints", execution, &C::save_minutes, {}, 0.001, 1e5},
        {"keep", "machine", "checkpoints kept, and the best", execution, &C::keep, {}, 1, 1000},
    };
    return fields;
}

// The keys whose value brings others; they are applied first, in this order.
constexpr std::string_view kLeaders[] = {"task", "recipe", "optimizer", "schedule"};

void take_optimizer_defaults(TrainConfig& config) {
    const bool sgd = config.optimizer == "sgd", detect = config.task == "detect";
    config.lr = sgd ? detect ? 0.01 : 0.05 : 1e-3;
    config.weight_decay = detect ? 5e-4 : sgd ? 1e-4 : config.optimizer == "adamw" ? 0.01 : 0;
    config.epsilon = 1e-8;
    config.adam_form = "torch";
    config.nesterov = sgd && detect;
}

void take_schedule_defaults(TrainConfig& config) {
    ScheduleOptions preset = schedule_preset(config.schedule, config.lr);
    config.div_factor = preset.div_factor, config.final_div = preset.final_div,
    config.warmup_fraction = preset.warmup_fraction;
    config.anneal = preset.cosine ? "cosine" : "linear";
    config.three_phase = preset.three_phase, config.cycle_momentum = preset.cycle_momentum;
    config.momentum_high = preset.momentum_high, config.momentum_low = preset.momentum_low;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
    std::string guess = nearest(word, candidates);
    return guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess);
}

template <class Number>
Number parse_number(const Assignment& a, const ConfigField& field) {
    Number value{};
    const char* end = a.text.data() + a.text.size();
    auto [stopped, error] = std::from_chars(a.text.data(), end, value);
    if (error != std::errc() || stopped != end)
        fail(Fault::usage, "{}: {} = '{}' is not {}", a.source, a.key, a.text,
             std::is_integral_v<Number> ? "a whole number" : "a number");
    if (!(double(value) >= field.low && double(value) <= field.high))
        fail(Fault::usage, "{}: {} = {} must lie between {} and {}", a.source, a.key, a.text, field.low, field.high);
    return value;
}

std::vector<std::string> parse_list(const Assignment& a) {
    if (a.text.empty()) return {};
    auto list = nlohmann::json::parse(a.text, nullptr, false);
    if (!list.is_array() || !std::all_of(list.begin(), list.end(), [](auto& element) { return element.is_string(); }))
        fail(Fault::usage, "{}: {} = {} is not a list like [\"a\", \"b\"]", a.source, a.key, a.text);
    return list;
}

void set(TrainConfig& config, const ConfigField& field, const Assignment& a) {
    if (auto member = std::get_if<std::string TrainConfig::*>(&field.member)) {
        if (!field.choices.empty() &&
            std::find(field.choices.begin(), field.choices.end(), a.text) == field.choices.end())
            fail(Fault::usage, "{}: {} = '{}' must be one of {}{}", a.source, a.key, a.text,
                 fmt::join(field.choices, ", "), did_you_mean(a.text, field.choices));
        config.*(*member) = a.text;
    } else if (auto member = std::get_if<std::vector<std::string> TrainConfig::*>(&field.member)) {
        config.*(*member) = parse_list(a);
    } else if (auto member = std::get_if<double TrainConfig::*>(&field.member)) {
        config.*(*member) = parse_number<double>(a, field);
    } else if (auto member = std::get_if<uint64_t TrainConfig::*>(&field.member)) {
        config.*(*member) = parse_number<uint64_t>(a, field);
    } else {
        if (a.text != "true" && a.text != "false")
            fail(Fault::usage, "{}: {} = '{}' must be true or false", a.source, a.key, a.text);
        config.*std::get<bool TrainConfig::*>(field.member) = a.text == "true";
    }
}

std::vector<double> explicit_weights(const TrainConfig& config) {
    std::vector<double> weights;
    const std::string& text = config.class_weights;
    for (const char *at = text.data(), *end = at + text.size(); at < end; at++) {
        double weight = 0;
        auto [stopped, error] = std::from_chars(at, end, weight);
        if (error != std::errc() || !(weight > 0) || !std::isfinite(weight) || (stopped != end && *stopped != ','))
            fail(Fault::usage, "class_weights = '{}' must be none, balanced, or numbers above 0 like 1,2.5", text);
        weights.push_back(weight);
        at = stopped;
    }
    return weights;
}

// A setting of the other task would be ignored, and nobody would know.
void check_task(const TrainConfig& c) {
    const bool detect = c.task == "detect";
    const auto refuse = [&](std::string_view key, std::string_view value) {
        fail(Fault::usage, "{} = {} does not go with task = {}{}", key, value, c.task,
             !detect && c.model.starts_with("yolov5") ? "; --task detect trains detectors" : "");
    };
    if (c.model.starts_with("yolov5") != detect) refuse("model", c.model);
    if ((c.fit == "square" || c.fit == "frame") != detect) refuse("fit", c.fit);
    if ((c.augment == "mosaic" && !detect) || (c.augment == "keras" && detect)) refuse("augment", c.augment);
    if (c.average > 0 && !detect)
        refuse("average", value_text(c, *std::ranges::find(table(), "average", &ConfigField::key)));
    if (!detect) return;
    if (c.normalize != "unit") refuse("normalize", c.normalize);
    if (c.label_smoothing > 0) refuse("label_smoothing", fmt::format("{}", c.label_smoothing));
    if (c.class_weights != "none") refuse("class_weights", c.class_weights);
    if (c.recipe != "default") refuse("recipe", c.recipe);
}

// What no field can see by itself.
void check_together(const TrainConfig& config) {
    check_task(config);
    Schedule(schedule_options(config), 1);
    if (config.validation + config.test > 0.9)
        fail(Fault::usage, "validation = {} and test = {} leave too little to train on", config.validation,
             config.test);
    if (config.nesterov && config.optimizer != "sgd")
        fail(Fault::usage, "nesterov = true belongs to optimizer = sgd, not {}", config.optimizer);
    if (config.freeze && config.init.empty())
        fail(Fault::usage, "freeze = true needs weights to keep: give --init FILE");
    if (config.fused && (!config.model.starts_with("resnet") || config.model.ends_with("-keras") || config.freeze))
        fail(Fault::usage, "fused = true is for resnet50, 101 and 152 with all layers trained, not for {}{}",
             config.model, config.freeze ? " with freeze" : "");
    if (config.class_weights != "none" && config.class_weights != "balanced") explicit_weights(config);
}

}  // namespace

std::span<const ConfigField> config_fields() { return table(); }

std::string value_text(const TrainConfig& config, const ConfigField& field) {
    return std::visit(
        [&](auto member) -> std::string {
            const auto& value = config.*member;
            using Value = std::decay_t<decltype(value)>;
            constexpr bool quoted =
                std::is_same_v<Value, std::string> || std::is_same_v<Value, std::vector<std::string>>;
            if constexpr (quoted)
                return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
            else
                return fmt::format("{}", value);
        },
        field.member);
}

TrainConfig recipe_named(std::string_view name, std::string_view task) {
    TrainConfig config;
    config.task = task;
    if (task == "detect") {
        config.recipe = name;
        config.model = "yolov5s", config.image_size = 640;
        config.epochs = 50, config.batch = 16;
        take_optimizer_defaults(config);
        config.momentum = 0.937, config.decay_norm_and_bias = false, config.average = 0.9999;
        config.div_factor = 100, config.final_div = 100, config.warmup_fraction = 0.1, config.cycle_momentum = false;
        config.fit = "frame", config.filter = "linear", config.normalize = "unit", config.augment = "mosaic";
        config.select = "best";
    }
    if (name == "default") return config;
    constexpr std::string_view known[] = {"default", "celis2024"};
    if (name != "celis2024")
        fail(Fault::usage, "recipe '{}' is not one of default, celis2024{}", name, did_you_mean(name, known));
    config.recipe = name;
    config.model = "resnet50-keras";
    config.epochs = 55, config.batch = 64, config.drop_last = false;
    config.optimizer = "adam";
    take_optimizer_defaults(config);
    config.epsilon = 1e-7, config.adam_form = "keras";
    config.schedule = "triangle";
    take_schedule_defaults(config);
    config.filter = "nearest", config.normalize = "unit", config.augment = "keras";
    config.select = "best";
    return config;
}

void assign(TrainConfig& config, const std::vector<Assignment>& assignments) {
    std::vector<std::string_view> keys;
    for (const ConfigField& field : table()) keys.push_back(field.key);
    for (const Assignment& a : assignments)
        if (std::find(keys.begin(), keys.end(), a.key) == keys.end())
            fail(Fault::usage, "{}: '{}' is not a setting{}", a.source, a.key, did_you_mean(a.key, keys));

    auto field_of = [&](std::string_view key) -> const ConfigField& {
        return table()[size_t(std::find(keys.begin(), keys.end(), key) - keys.begin())];
    };
    for (std::string_view leader : kLeaders)
        for (const Assignment& a : assignments) {
            if (a.key != leader) continue;
            set(config, field_of(leader), a);
            if (leader == "task" || leader == "recipe") {
                TrainConfig start = recipe_named(leader == "task" ? "default" : config.recipe, config.task);
                start.data = config.data;
                config = start;
            }
            if (leader == "optimizer") take_optimizer_defaults(config);
            if (leader == "schedule") take_schedule_defaults(config);
        }
    for (const Assignment& a : assignments)
        if (std::find(std::begin(kLeaders), std::end(kLeaders), a.key) == std::end(kLeaders))
            set(config, field_of(a.key), a);
    check_together(config);
}

std::vector<std::string> config_differences(const TrainConfig& before, const TrainConfig& after) {
    std::vector<std::string> lines;
    for (const ConfigField& field : table()) {
        std::string was = value_text(before, field), is = value_text(after, field);
        if (field.makes_the_result && was != is) lines.push_back(fmt::format("{}: {} -> {}", field.key, was, is));
    }
    return lines;
}

std::string config_hash(const TrainConfig& config) {
    Hash hash;
    for (const ConfigField& field : table())
        if (field.makes_the_result) hash.add(field.key), hash.add(value_text(config, field));
    return hash.hex();
}

ScheduleOptions schedule_options(const TrainConfig& config) {
    return {.curve = curve_named(config.schedule),
            .peak = config.lr,
            .div_factor = config.div_factor,
            .final_div = config.final_div,
            .warmup_fraction = config.warmup_fraction,
            .cosine = config.anneal == "cosine",
            .three_phase = config.three_phase,
            .cycle_momentum = config.cycle_momentum,
            .momentum_high = config.momentum_high,
            .momentum_low = config.momentum_low,
            .momentum = config.momentum};
}

std::vector<float> class_weight_values(const TrainConfig& config, std::span<const size_t> images_per_class) {
    if (config.class_weights == "none") return {};
    std::vector<double> weights;
    if (config.class_weights == "balanced") {
        double images = double(std::accumulate(images_per_class.begin(), images_per_class.end(), size_t(0)));
        for (size_t own : images_per_class)
            weights.push_back(own ? images / (double(images_per_class.size()) * double(own)) : 0);
    } else {
        weights = explicit_weights(config);
        if (weights.size() != images_per_class.size())
            fail(Fault::usage, "class_weights has {} numbers, the data {} classes", weights.size(),
                 images_per_class.size());
    }
    return {weights.begin(), weights.end()};
}
