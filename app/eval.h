// Shared by `tundra eval` of classifiers and of detectors.
#pragma once

#include "app/jobs/machine.h"
#include "app/terminal.h"
#include "data/loader.h"
#include "predict/precision_check.h"
#include "predict/preprocessing.h"
#include "train/config.h"

struct EvalOptions {
    std::string model, data, part, out;
    double min_accuracy = 0, min_map50 = 0;
    bool check_bf16 = false, unlabelled = false;
    InputOptions input;  // of a classifier
    MachineOptions machine;
};

// The configuration of a run folder on top of `config`, or `config` for a weight file.
TrainConfig config_of(const std::string& model, TrainConfig config);

// The data to measure on: the run's data with the run's parts, or DATA with its parts. `open` is
// open_dataset or open_box_dataset.
Dataset open_data(const EvalOptions& o, TrainConfig config, Dataset (*open)(const std::string&, const DatasetOptions&));

// `part` may be empty and then becomes "test", or else "validation" or "all".
std::vector<uint32_t> images_of_part(const Dataset& data, std::string& part);

// Numbers the data's classes as the model does, by name. A class that the model does not know is an error: its images
// or boxes could never be right.
void match_classes(Dataset& data, const std::vector<std::string>& classes);

void print_notes(Progress& progress, const Dataset& data, const std::vector<FailedImage>& bad_files);

// DATA of --unlabelled: images as `tundra classify` takes them, without classes.
Dataset images_without_labels(const EvalOptions& o);

// Fault::usage for --check-bf16 of a quantized model.
void refuse_check_of(const std::string& int8_report, const std::string& model);

// Prints the result of --check-bf16 and stores it in the model; Fault::runtime if it did not pass.
int end_check(const EvalOptions& o, Progress& progress, const PrecisionCheck& check);

int eval_detector(EvalOptions& options);
int eval_survey(const EvalOptions& options);  // prints, and writes survey.html into its folder
