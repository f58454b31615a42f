// The interface of networks: one struct for all architectures, and the table of architectures.
//
// A new classifier is one file, models/NAME.cpp, which defines `ModelFamily NAME_family()`, and one line in the table
// of models/model.cpp. Training, prediction, weight files and the options of the command line follow from the table.
#pragma once

#include <map>
#include <optional>

#include "engine/int8.h"
#include "engine/ops.h"
#include "models/state.h"

struct Model {
    std::string name;    // as --model and weight files spell it
    size_t classes = 0;  // may be assigned: changes the head only
    std::string head;    // prefix of the parameters whose shapes depend on the classes: "fc."
    Folding folding{};   // its normalizations, to fold for inference; a detector's weights arrive folded
    // x: (n, h, w, 3 or more channels, those from 3 on zero) -> a classifier's logits (n, classes), float; or one head
    // per level of a detector, (n, h / stride, w / stride, 3 * (5 + classes)); without anchors, first one per level
    // with the distances to the sides, (.., 64), then one per level with the scores, (.., classes). A graph made for
    // training has batch_norm nodes and running statistics. Any other graph takes weights into which the normalization
    // is folded: each convolution NAME has NAME.weight and NAME.bias.
    std::function<std::vector<Value>(Value x, const Model&)> network{};
    size_t stride = 1;               // the sides of x are multiples of it
    std::vector<BoxLevel> levels{};  // of a detector, one per head
    bool anchors = true;             // of a detector: its boxes are relative to anchors
    StateDict constants{};           // stored in weight files beside the parameters: a detector's anchors
    Int8Layers int8{};               // of a quantized network (models/int8.h), whose weights arrive folded

    std::vector<Value> trace(Value x) const { return network(x, *this); }
};

// A network with new weights, initialized as its parameters are declared.
StateDict initialize_state(const Model& model, uint64_t seed);

// The parameters of the network in training, or folded, with the shapes that weight files have.
std::map<std::string, Shape> parameter_shapes(const Model& model, bool training = true);

struct StoredModel {  // the content of a weight file
    const std::string& path;
    const StateDict& state;
    const std::map<std::string, std::string>& metadata;
};

struct RecognisedModel {
    std::string text = "no network that tundra knows";  // one line for people
    std::string_view task = "";                         // "classify" or "detect"
    std::optional<Model> model{};                       // a classifier to which the weights belong
    size_t classes = 0;
    // Why it cannot predict although it has a model: no last layer, no statistics. A training may start from it.
    std::string lacks{};
    std::vector<std::string> class_names{};  // empty if the file has none
};

struct ModelFamily {
    std::string_view task;           // "classify" or "detect"
    std::vector<std::string> names;  // accepted by --model
    Model (*make)(std::string_view name, size_t classes);
    // From the names and shapes of the tensors; nothing if they belong to another family.
    std::optional<RecognisedModel> (*recognise)(const StoredModel&);
};

std::span<const ModelFamily> model_families();

// Errors here and below (usage): an unknown name; the message lists the known ones.
const ModelFamily& family_of(std::string_view name);
Model make_model(std::string_view name, size_t classes);
