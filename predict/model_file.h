// A trained classifier on disk: its weights, and as metadata everything needed to use them.
#pragma once

#include <filesystem>

#include "data/fit.h"
#include "kernels/image.h"
#include "models/model.h"

struct ModelFile {
    Model model;
    std::vector<std::string> classes;
    Fit fit;
    std::string normalize = "imagenet";  // or "unit"
    StateDict state;
    std::vector<std::string> notes = {};           // of the file, for people: WeightFile::notes
    std::string lacks = {};                        // why it cannot predict: RecognisedModel::lacks
    uint64_t steps = 0;                            // of training; num_batches_tracked of every normalization
    std::map<std::string, std::string> more = {};  // further metadata: tundra's version, data, accuracy, ...
};

// ImageNet's mean and deviation per channel as torchvision has them, or x / 255.
Normalize normalize_named(std::string_view name);

// Loads with strict=True into torchvision's resnet50 (not the -keras models, whose convolutions have biases).
void write_model(const std::filesystem::path& path, const ModelFile& model);

std::string fingerprint(const StateDict& state);  // of names and values: equal for copies of the weights

// The weight file at `path`: a run folder's model.safetensors, else `path` itself. Errors (usage): it does not exist.
std::filesystem::path weight_file(const std::filesystem::path& path);

// `path`: a run folder, or any file that read_weights() knows. Unless the file says otherwise, the classes are named
// 0, 1, ... and the preprocessing is torchvision's: crop 224, ImageNet normalization. `mapped`: see read_weights().
ModelFile read_model(const std::filesystem::path& path, bool mapped = false);
