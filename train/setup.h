// From a configuration to the options of data set, loader and trainer.
#pragma once

#include "data/loader.h"
#include "engine/device.h"
#include "models/files/detector_file.h"
#include "train/config.h"
#include "train/trainer.h"

int thread_count(const TrainConfig& config);  // `threads`, where 0 means all processors of this process

DatasetOptions dataset_options(const TrainConfig& config, bool links = false);
Fit fit_of(const TrainConfig& config);
CacheMode cache_mode(const TrainConfig& config);

// `training`: shuffled and augmented; otherwise every image once, in order, unchanged.
LoaderOptions loader_options(const TrainConfig& config, bool training);

// Errors (usage): a precision that the device does not compute in.
DType precision_on(const TrainConfig& config, const Device& device);

OptimizerConfig optimizer_config(const TrainConfig& config, DType precision);

// ---- classifiers
// The network before the first step: new, or as much of the file `init` as fits; `note` then names the rest. Errors
// (usage): the file holds another network.
struct InitialModel {
    Model model;
    StateDict state;
};
InitialModel initial_classifier(const TrainConfig& config, size_t classes,
                                const std::function<void(const std::string&)>& note);
TrainerConfig trainer_config(const TrainConfig& config, const Dataset& data, const Model& model, DType precision);

// ---- detectors
// The network before the first step, with its normalization: new, or from the file `init`; `note` then names the
// outputs that start from new weights. Errors (usage): the file holds another network.
DetectorModel initial_detector(const TrainConfig& config, const std::vector<std::string>& classes,
                               const std::function<void(const std::string&)>& note);

// The input: image_size is the longer side; the other one follows from the median shape of the images, or is equal.
// Both are rounded up to a multiple of `stride`.
Fit frame_for(const TrainConfig& config, const Dataset& data, size_t stride);
BoxAugment box_augment(const TrainConfig& config);
// For TrainerConfig::trained: the layers of a YOLOv5, model.N, from `first` on.
std::function<bool(const std::string&)> layers_from(size_t first);
