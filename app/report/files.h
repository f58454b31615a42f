// Reads the files of a run, as far as they exist and can be read, for its report.
//
// An unfinished or old run or a damaged file leaves parts empty; `missing` says which and why, one sentence each.
#pragma once

#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "predict/box_metrics.h"
#include "predict/metrics.h"
#include "train/config.h"

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

struct StepLine {
    double step, loss, rate, momentum;  // NaN if the log has none
    double box, objectness, classes;    // the losses of a detector
};

struct EpochLine {
    double step, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, seconds, map50, map;
};

struct ClassifiedImage {
    std::string file;
    size_t label, predicted;
    double confidence, loss;
};

struct EvaluatedPart {
    std::string name;  // "validation", "test"
    double loss = kUnknown;
    std::vector<ClassifiedImage> images;
    Metrics metrics;
    size_t left_out = 0;  // invalid predictions in the file
};

struct BoxImage {
    std::string file, camera;
    ImageBoxes boxes;  // found: with a score of at least 0.05
};

struct EvaluatedBoxes {  // of a detector
    std::string name;
    nlohmann::json metrics;  // to_json(BoxMetrics)
    std::vector<BoxImage> images;
};

struct UnreadableFile {
    std::string path, code, text;
    bool used;
};

struct RunFiles {
    std::filesystem::path folder;
    nlohmann::json record;  // run.json, or null
    std::string config_text;
    TrainConfig config;       // defaults for missing keys
    bool has_config = false;  // whether the text was valid
    std::vector<StepLine> steps;
    std::vector<EpochLine> epochs;
    std::vector<std::string> classes;
    std::vector<EvaluatedPart> parts;       // of a classifier
    std::vector<EvaluatedBoxes> box_parts;  // of a detector
    std::vector<UnreadableFile> bad_files;
    bool has_bad_files = false;
    std::vector<std::string> missing;  // plain text

    const nlohmann::json& last_session() const;
    bool is_detector() const { return config.task == "detect"; }
    bool finished() const;
    std::string last_event() const;  // of the last session: "start", "epoch", "stop", ...
    double last_step() const;        // NaN before the first one
    double steps_per_epoch() const;  // NaN before the first epoch ends
    // The part for the details: the test images if there are enough of them. Null without an evaluation.
    const EvaluatedPart* main_part() const;
    const EvaluatedBoxes* main_boxes() const;
};

// Errors: Fault::usage for a folder without a run.
RunFiles read_run_files(const std::filesystem::path& folder);
