// Reads every kind of weight file: PyTorch (zip and legacy, state dicts and whole pickled modules),
// safetensors, Keras .h5 and .keras. Float tensors become float32, integers int64; convolutions stay (c_out, c_in, h,
// w).
//
// The network is found wherever a checkpoint holds it, and its tensors get the names of models/resnet.h and
// models/yolov5.h (models/files/find_network.h). Of an unknown network everything is read under its own names.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "models/files/torch_file.h"
#include "models/model.h"
#include "models/state.h"

struct StoredTensor {
    std::string name;
    DType dtype;  // in the file
    Shape shape;
};

// The key of metadata under which a file has the result of predict/precision_check.h.
constexpr const char* kBf16Check = "tundra.bf16";

struct WeightFile {
    std::string path, layout;  // "PyTorch zip", "PyTorch legacy", "safetensors", "Keras HDF5"
    std::string source;        // where in a checkpoint the weights were: "ema"; "" at the top
    std::string prefix;        // what stood in front of their names there: "module."
    std::vector<StoredTensor> tensors;
    StateDict state;                                       // the float tensors
    StateDict int8{};                                      // scales and ranges of a quantized network: models/int8.h
    std::map<std::string, std::vector<int64_t>> integers;  // the others
    std::map<std::string, std::string> metadata;           // texts and numbers stored with the weights
    RecognisedModel model;
    std::vector<std::string> notes;  // for people: what was left out, assumed, or asked for and not run

    // The pickled module that the weights came from, `absent` in all other files: yaml, names, strides, epsilons.
    std::shared_ptr<const TorchFile> torch;
    PickleValue module;
};

// `mapped`: memory-map safetensors files instead of reading them; nobody may truncate the file meanwhile.
WeightFile read_weights(const std::filesystem::path& path, bool mapped = false);

// The child of a pickled module by its dotted name, "model.0.bn"; `absent` if it is missing.
PickleValue child_module(PickleValue module, std::string_view name);
