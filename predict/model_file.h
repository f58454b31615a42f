// A trained classifier on disk: its weights, and as metadata everything needed to use them.
#pragma once

#include <filesystem>

#include "models/files/weights.h"
#include "models/model.h"
#include "predict/preprocessing.h"

struct ModelFile {
    Model model;
    std::vector<std::string> classes;
    Preprocessing input;
    StateDict state;
    uint64_t steps = 0;                            // of training; num_batches_tracked of every normalization
    std::map<std::string, std::string> more = {};  // further metadata: tundra's version, data, accuracy, ...
    std::vector<std::string> notes = {};           // for people: what was assumed, left out or overridden
    std::string lacks = {};                        // RecognisedModel::lacks
    std::string bf16_check = {};                   // of the file: predict/precision_check.h
    std::string int8_report = {};                  // of a quantized model: kInt8 of its metadata
    bool normalize_assumed = false;                // input.normalize: neither the file nor an option says it
};

// Loads with strict=True into torchvision's resnet50 (not the -keras models, whose convolutions have biases).
void write_model(const std::filesystem::path& path, const ModelFile& model);

std::string fingerprint(const StateDict& state);  // of names and values: equal for copies of the weights

// The weight file at `path`: a run folder's model.safetensors, else `path` itself. Errors (usage): it does not exist.
std::filesystem::path weight_file(const std::filesystem::path& path);

// The names that --classes gives, "a,b,c" or a file with one name per line. Errors (usage): not as many as `outputs`, a
// name is empty or occurs twice.
std::vector<std::string> class_names(const std::string& option, size_t outputs, const std::string& where);

struct ReadModel {
    bool mapped = false;   // see read_weights()
    bool initial = false;  // to train it further: a network without its last layer will do
    InputOptions input{};
};

// `path`: a run folder, or any file that read_weights() knows. The input is that of preprocessing_of(); unless the file
// or the options say otherwise, the classes are named 0, 1, ... A network with one output becomes one of two, of which
// the first is 0: softmax then gives the sigmoid of the other. Errors, beside those of read_weights(): Fault::usage if
// it is no classifier, lacks something, or its classes do not exclude each other.
ModelFile read_model(const std::filesystem::path& path, const ReadModel& how = {});

// Fault::damaged if a tensor of the network has a number that it cannot use: bad_number(). For read_model()'s states;
// apart from it so that the caller can look while it loads them.
void check_numbers(const Model& model, const StateDict& state, const std::string& where);

// A classifier's metadata, as read_model() takes it without further words, for the file that `tundra import` writes.
void store(const ModelFile& m, std::map<std::string, std::string>& metadata);
