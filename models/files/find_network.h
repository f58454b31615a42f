// Finds the network among the tensors of a checkpoint, wherever it stands and whatever is in front of its names.
//
// One rule: a network is where two of its tensors stand behind the same text, `conv1.weight` and
// `layer1.0.conv1.weight` of a ResNet, `model.0.conv.weight` and `model.1.conv.weight` of a YOLOv5. That text is its
// prefix: "state_dict.model.", "module._orig_mod.", "net.feature.". Two other ways to name a ResNet are known: the
// children of a Sequential (0, 1, 4, 5, 6, 7; fastai and others) and those of transformers. The last layer is the one
// linear layer beside that takes what the network gives, whatever its name. docs/weights.md explains the rules.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

struct CheckpointTensor {
    std::string name{};
    Shape shape{};
    bool real = true;       // floating point; the others are counters
    size_t container = 0;   // TorchContent's; 0 for files without containers
    std::string storage{};  // equal for tensors that are one; "" if nobody knows
};

struct FoundNetwork {
    bool found = false;
    std::string container{}, prefix{};  // "state_dict." and "model."; of the whole name
    std::vector<std::string> names{};   // of each tensor in the network; "" for all others
    std::vector<std::string> notes{};   // what was left out
    std::string lacks{};                // why there is no last layer to use; "" if there is one
    std::string trouble{};              // why it cannot be used at all
    bool transformers = false;
};

// `classes`: how many outputs the checkpoint speaks of elsewhere, 0 if it does not; decides between two last layers.
FoundNetwork find_network(std::span<const CheckpointTensor> tensors, size_t classes);
