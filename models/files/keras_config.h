// The architecture that Keras stores beside the weights, compared with the one that tundra builds.
//
// Known are keras.applications' ResNet-50, 101 and 152, flat or as a model inside others, with what changes nothing
// when a network is used (dropout, random augmentation) around it, with arithmetic on the pixels before it, and behind
// it global average pooling and one Dense layer. Everything else is a refusal that names the layer.
// https://github.com/keras-team/keras/blob/master/keras/src/saving/serialization_lib.py
#pragma once

#include "models/files/keras_layer.h"

struct KerasConfig {
    std::string name;  // "resnet50"; of a model inside another "sequential > resnet50"
    std::vector<KerasLayer> layers;
    std::string refusal;     // why tundra does not run it, "" if it does
    std::string activation;  // of the last layer: "softmax", "sigmoid", "linear"; "" without one
    std::string head;        // the name of the last layer
    std::string normalize;   // what the layers before the network do to pixels, as --normalize has it; "" if nothing
    double epsilon = 0;      // of every normalization
    size_t image_size = 0;   // 0: any
};

// "layer3.0.conv2", or "" if the name of a layer follows neither of keras.applications' schemes.
std::string torchvision_name(const std::string& layer, bool old_names);

KerasConfig read_keras_config(const std::string& text, const StoredVariable& stored);
