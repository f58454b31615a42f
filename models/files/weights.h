// Reads every kind of weight file: PyTorch (zip and legacy, state dicts and whole pickled modules),
// safetensors, Keras .h5 and .keras. Float tensors become float32, integers int64; convolutions stay (c_out, c_in, h,
// w).
//
// In a checkpoint the weights are searched under ema, state_dict_ema, state_dict, model_state_dict, model, net, in this
// order, then at the top; a prefix `module.` that all names share is removed.
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

struct WeightFile {
    std::string path, layout;  // "PyTorch zip", "PyTorch legacy", "safetensors", "Keras HDF5"
    std::string source;        // where in a checkpoint the weights were: "ema"; "" at the top
    std::vector<StoredTensor> tensors;
    StateDict state;                                       // the float tensors
    std::map<std::string, std::vector<int64_t>> integers;  // the others
    std::map<std::string, std::string> metadata;           // texts and numbers stored with the weights
    RecognisedModel model;
    std::vector<std::string> notes{};  // for people: what was left out or taken on trust

    // The pickled module that the weights came from, `absent` in all other files: yaml, names, strides, epsilons.
    std::shared_ptr<const TorchFile> torch;
    PickleValue module;
};

// `mapped`: memory-map safetensors files instead of reading them; nobody may truncate the file meanwhile.
WeightFile read_weights(const std::filesystem::path& path, bool mapped = false);
RecognisedModel recognise(const WeightFile& file);

// The child of a pickled module by its dotted name, "model.0.bn"; `absent` if it is missing.
PickleValue child_module(PickleValue module, std::string_view name);
