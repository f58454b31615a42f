// Presets, assignments and their checks, and the differences between two configurations.
#include "train/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "engine/device.h"
#include "models/model.h"

namespace {

constexpr std::string_view kRemoved = "fused";  // a setting of earlier versions
// The keys whose value sets others; they are applied first, in this order.
constexpr std::string_view kPresets[] = {"task", "recipe", "optimizer", "schedule"};

void take_optimizer_defaults(TrainConfig& config) {
    const OptimizerRule& rule = optimizer_rule(config.optimizer);
    const bool detect = config.task == "detect";
    config.learning_rate = detect ? rule.detector_learning_rate : rule.learning_rate;
    config.weight_decay = detect ? 5e-4 : rule.weight_decay;
    config.epsilon = 1e-8;
    config.adam_form = "torch";
    config.nesterov = detect && rule.has_nesterov;
}

void take_schedule_defaults(TrainConfig& config) {
    ScheduleOptions preset = schedule_preset(config.schedule, config.learning_rate);
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
        const bool gpus = field.key == "device" && !gpus_in(a.text).empty();
        if (!field.choices.empty() && !gpus &&
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

// Settings that do not change what runs of earlier versions are, which lack them.
bool is_newer_default(const TrainConfig& config, std::string_view key) {
    return (key == "scale_lr" && config.scale_lr == "none") || (key == "sync_batch_norm" && !config.sync_batch_norm) ||
           (key == "micro_batch" && !config.micro_batch);
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

// A setting of the other task would be ignored in silence.
void check_task(const TrainConfig& c) {
    const bool detect = c.task == "detect";
    const auto refuse = [&](std::string_view key, std::string_view value) {
        fail(Fault::usage, "{} = {} does not go with task = {}{}", key, value, c.task,
             !detect && family_of(c.model).task == "detect" ? "; --task detect trains detectors" : "");
    };
    if (family_of(c.model).task != c.task) refuse("model", c.model);
    if ((c.fit == "square" || c.fit == "frame") != detect) refuse("fit", c.fit);
    if ((c.augment == "mosaic" && !detect) || (c.augment == "keras" && detect)) refuse("augment", c.augment);
    if (c.ema_decay > 0 && !detect)
        refuse("average", value_text(c, *std::ranges::find(config_fields(), "average", &ConfigField::key)));
    if (!detect) return;
    if (c.normalize != "unit") refuse("normalize", c.normalize);
    if (c.label_smoothing > 0) refuse("label_smoothing", fmt::format("{}", c.label_smoothing));
    if (c.class_weights != "none") refuse("class_weights", c.class_weights);
    if (c.recipe != "default") refuse("recipe", c.recipe);
}

// Checks that take more than one field.
void check_together(const TrainConfig& config) {
    check_task(config);
    Schedule(schedule_options(config), 1);
    if (config.validation + config.test > 0.9)
        fail(Fault::usage, "validation = {} and test = {} leave too little to train on", config.validation,
             config.test);
    if (config.nesterov && !optimizer_rule(config.optimizer).has_nesterov)
        fail(Fault::usage, "nesterov = true belongs to optimizer = sgd, not {}", config.optimizer);
    if (config.freeze && config.init.empty())
        fail(Fault::usage, "freeze = true needs weights to keep: give --init FILE");
    if (config.class_weights != "none" && config.class_weights != "balanced") explicit_weights(config);
}

}  // namespace

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
        config.momentum = 0.937, config.decay_norm_and_bias = false, config.ema_decay = 0.9999;
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

void assign(TrainConfig& config, const std::vector<Assignment>& given) {
    std::vector<std::string_view> keys;
    for (const ConfigField& field : config_fields()) keys.push_back(field.key);
    std::vector<Assignment> assignments = given;
    std::erase_if(assignments, [](const Assignment& a) { return a.key == kRemoved; });
    for (const Assignment& a : assignments)
        if (std::find(keys.begin(), keys.end(), a.key) == keys.end())
            fail(Fault::usage, "{}: '{}' is not a setting{}", a.source, a.key, did_you_mean(a.key, keys));

    auto field_of = [&](std::string_view key) -> const ConfigField& {
        return config_fields()[size_t(std::find(keys.begin(), keys.end(), key) - keys.begin())];
    };
    for (std::string_view preset_key : kPresets)
        for (const Assignment& a : assignments) {
            if (a.key != preset_key) continue;
            set(config, field_of(preset_key), a);
            if (preset_key == "task" || preset_key == "recipe") {
                TrainConfig start = recipe_named(preset_key == "task" ? "default" : config.recipe, config.task);
                start.data = config.data;
                config = start;
            }
            if (preset_key == "optimizer") take_optimizer_defaults(config);
            if (preset_key == "schedule") take_schedule_defaults(config);
        }
    for (const Assignment& a : assignments)
        if (std::find(std::begin(kPresets), std::end(kPresets), a.key) == std::end(kPresets))
            set(config, field_of(a.key), a);
    check_together(config);
}

void refuse_removed_settings(const std::vector<Assignment>& assignments) {
    for (const Assignment& a : assignments)
        if (a.key == kRemoved && a.text != "false")
            fail(Fault::usage,
                 "{}: {} = {} (normalization inside the convolutions) was removed, because it saved too little; delete "
                 "the line to train without it, or continue with the version that made the run",
                 a.source, a.key, a.text);
}

std::vector<std::string> config_differences(const TrainConfig& before, const TrainConfig& after) {
    std::vector<std::string> lines;
    for (const ConfigField& field : config_fields()) {
        std::string was = value_text(before, field), is = value_text(after, field);
        if (field.makes_the_result && was != is) lines.push_back(fmt::format("{}: {} -> {}", field.key, was, is));
    }
    return lines;
}

std::string config_hash(const TrainConfig& config) {
    Hash hash;
    for (const ConfigField& field : config_fields())
        if (field.makes_the_result && !is_newer_default(config, field.key)) {
            hash.add(field.key), hash.add(value_text(config, field));
            if (field.key == "precision") hash.add(kRemoved), hash.add("false");  // older runs continue
        }
    return hash.hex();
}

ScheduleOptions schedule_options(const TrainConfig& config) {
    const double batches = double(config.batch) / double(recipe_named("default", config.task).batch),
                 factor = config.scale_lr == "linear" ? batches : 1;
    const bool ramps = factor > 1;
    return {.curve = curve_named(config.schedule),
            .learning_rate = factor * config.learning_rate,
            .div_factor = config.div_factor,
            .final_div = config.final_div,
            .warmup_fraction = config.warmup_fraction,
            .cosine = config.anneal == "cosine",
            .three_phase = config.three_phase,
            .cycle_momentum = config.cycle_momentum,
            .momentum_high = config.momentum_high,
            .momentum_low = config.momentum_low,
            .momentum = config.momentum,
            .ramp_from = ramps ? 1 / factor : 1,
            .ramp_share = ramps ? std::min(1.0, 5 / double(config.epochs)) : 0};
}

std::vector<float> class_weight_values(const TrainConfig& config, std::span<const size_t> images_per_class) {
    if (config.class_weights == "none") return {};
    std::vector<double> weights;
    if (config.class_weights == "balanced") {
        double images = double(std::accumulate(images_per_class.begin(), images_per_class.end(), size_t(0)));
        for (size_t count : images_per_class)
            weights.push_back(count ? images / (double(images_per_class.size()) * double(count)) : 0);
    } else {
        weights = explicit_weights(config);
        if (weights.size() != images_per_class.size())
            fail(Fault::usage, "class_weights has {} numbers, the data {} classes", weights.size(),
                 images_per_class.size());
    }
    return {weights.begin(), weights.end()};
}
