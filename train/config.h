// Every setting of a training run in one plain struct, and its text form, to repeat and compare runs.
//
// The text is lines of `key = value` (a subset of TOML): numbers, true or false, texts with or without double quotes,
// lists as ["a", "b"]; # starts a comment. Missing keys keep their value. Four keys are presets: they are applied
// before all other keys, wherever they stand in the file.
//   task       everything: the defaults of a classifier or a detector
//   recipe     everything, for the task
//   optimizer  lr, weight_decay, epsilon, adam_form, nesterov
//   schedule   start_div, end_div, rise, anneal, three_phase, cycle_momentum, momentum_high, momentum_low
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/schedule.h"

struct TrainConfig {
    std::string task = "classify";
    std::string recipe = "default";
    std::string data;                  // folder or CSV
    std::vector<std::string> classes;  // filled in from the data
    std::string split_by = "sequence";
    double validation = 0.08, test = 0.02;  // shares, if the data has no parts

    std::string model = "resnet50";
    uint64_t image_size = 224;
    std::string init;  // weight file; empty: random
    bool freeze = false;

    uint64_t epochs = 20, batch = 32, seed = 0;
    uint64_t micro_batch = 0;  // images that are computed together; 0: all of a rank
    bool drop_last = true;     // skip the incomplete last batch of an epoch

    std::string optimizer = "sgd";
    double learning_rate = 0.05;  // key "lr"; at the peak
    double momentum = 0.9;        // beta1 of Adam; used if the schedule does not cycle it
    bool nesterov = false;
    double weight_decay = 1e-4;
    bool decay_norm_and_bias = true;  // as torch.optim does; false: not norm and bias parameters
    double ema_decay = 0;             // key "average"; of the moving average of the weights; 0: none
    double beta2 = 0.999, epsilon = 1e-8;
    std::string adam_form = "torch";

    std::string schedule = "torch";
    double div_factor = 25, final_div = 25e4, warmup_fraction = 0.3;
    std::string anneal = "cosine";
    bool three_phase = false, cycle_momentum = true;
    double momentum_high = 0.95, momentum_low = 0.85;

    std::string scale_lr = "none";  // "linear": lr * batch / the task's default batch, with gradual warm-up

    double label_smoothing = 0;
    std::string class_weights = "none";  // "none", "balanced", or one number per class: "1,2.5"

    std::string fit = "stretch", filter = "antialias", normalize = "imagenet";
    std::string augment = "standard";  // data/augment.h, data/mosaic.h
    bool accept_damaged = true;        // use truncated and corrupt images as far as they decode

    std::string select = "last";  // which weights are the result: "last", or "best" by validation loss

    bool sync_batch_norm = false;  // with several ranks: statistics over the images of all of them

    std::string precision = "auto", device = "auto";
    uint64_t threads = 0;        // 0: all
    std::string cache = "auto";  // data/cache.h
    double save_minutes = 5;
    uint64_t keep = 2;  // checkpoints

    bool operator==(const TrainConfig&) const = default;
};

struct ConfigField {
    std::string_view key, group, help;
    // Whether the value changes the resulting model; other fields only say where and how the run is executed.
    bool makes_the_result;
    std::variant<std::string TrainConfig::*, std::vector<std::string> TrainConfig::*, double TrainConfig::*,
                 uint64_t TrainConfig::*, bool TrainConfig::*>
        member;
    std::vector<std::string_view> choices = {};  // for a text; empty: any
    double low = 0, high = 0;                    // limits of a number
};

// In the order in which they are written and shown.
std::span<const ConfigField> config_fields();
std::string value_text(const TrainConfig& config, const ConfigField& field);

// "default": SGD and the torch one-cycle. "celis2024": the paper, https://doi.org/10.1016/j.ecoinf.2024.102578.
// "detect" is the default of that task: YOLOv5's numbers.
TrainConfig recipe_named(std::string_view name, std::string_view task = "classify");

struct Assignment {
    std::string key, text;
    std::string source;  // its name in errors: "--lr" or "FILE:12"
};

// Errors here and below (usage) name the source, the value, and for an unknown key the nearest known one.
std::vector<Assignment> parse_config(std::string_view text, const std::string& file_name);
std::vector<Assignment> read_config(const std::string& path);
void assign(TrainConfig& config, const std::vector<Assignment>& assignments);
// Runs of earlier versions are read without a setting that there is no more, but training would give other weights.
void refuse_removed_settings(const std::vector<Assignment>& assignments);

std::string write_config(const TrainConfig& config);

// One line per field that differs and changes the result: "lr: 0.05 -> 0.1".
std::vector<std::string> config_differences(const TrainConfig& before, const TrainConfig& after);
std::string config_hash(const TrainConfig& config);  // of the fields that change the result

ScheduleOptions schedule_options(const TrainConfig& config);

// The weight of each class in the loss, or nothing for "none". Balanced: images / (classes * images of the class).
std::vector<float> class_weight_values(const TrainConfig& config, std::span<const size_t> images_per_class);
