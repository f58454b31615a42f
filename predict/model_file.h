// A trained classifier on disk: weights with torchvision's names, and as metadata all that is needed to use them.
#pragma once

#include <filesystem>

#include "data/fit.h"
#include "kernels/image.h"
#include "models/resnet.h"
#include "models/state.h"

struct ModelFile {
    ResNetConfig model;
    std::vector<std::string> classes;
    Fit fit;
    std::string normalize = "imagenet";  // or "unit"
    StateDict state;
    uint64_t steps = 0;                            // of training; num_batches_tracked of every normalization
    std::map<std::string, std::string> more = {};  // further metadata: tundra's version, data, accuracy, ...
};

// ImageNet's mean and deviation per channel as torchvision has them, or x / 255.
Normalize normalize_named(std::string_view name);

// Loads with strict=True into torchvision's resnet50 (not the -keras models, whose convolutions have biases).
void write_model(const std::filesystem::path& path, const ModelFile& model);

std::string fingerprint(const StateDict& state);  // of names and values: the same weights in another file have the same

// The file that a model's name means: of a run folder its model.safetensors. Fault::usage if it is not there.
std::filesystem::path weight_file(const std::filesystem::path& path);

// `path`: a run folder, its model.safetensors, or any file that read_weights() knows. A file that does not say its
// classes or its preprocessing gets the numbers 0, 1, ... and torchvision's: crop 224, ImageNet normalisation. `mapped`
// as read_weights() has it.
ModelFile read_model(const std::filesystem::path& path, bool mapped = false);
