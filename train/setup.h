// From the words of a configuration to the values that data set, loader and trainer take.
#pragma once

#include "data/loader.h"
#include "engine/device.h"
#include "models/files/yolov5_file.h"
#include "train/config.h"
#include "train/trainer.h"

int thread_count(const TrainConfig& config);  // where it says 0: what this process may use

DatasetOptions dataset_options(const TrainConfig& config);
Fit fit_of(const TrainConfig& config);
CacheMode cache_mode(const TrainConfig& config);

// training: shuffled and augmented; else every image once, in order, as it is.
LoaderOptions loader_options(const TrainConfig& config, bool training);

// Errors (usage): a precision that the device does not compute in.
DType precision_on(const TrainConfig& config, const Device& device);

OptimizerConfig optimizer_config(const TrainConfig& config, DType precision);
TrainerConfig trainer_config(const TrainConfig& config, const Dataset& data, DType precision);

// The network before the first step: new, or from the file that `init` names as far as it fits; then `note` says what
// does not. A Keras file brings its own epsilon into `model`. Errors (usage): another network.
StateDict initial_state(const TrainConfig& config, ResNetConfig& model, std::string& note);

// ---- detectors
// The network before the first step, with its normalization: new, or from the file that `init` names; then `note` says
// what starts anew. Errors (usage): another network.
YoloModel initial_detector(const TrainConfig& config, const std::vector<std::string>& classes,
                           const std::function<void(const std::string&)>& note);

// The input: image_size is the longer side; the other follows from the median shape of the images, or is the same.
// Both are rounded up to `stride`.
Fit frame_for(const TrainConfig& config, const Dataset& data, size_t stride);
BoxAugment box_augment(const TrainConfig& config);
