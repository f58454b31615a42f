// ResNet for classification: He et al. 2015, https://arxiv.org/abs/1512.03385.
//
// resnet50, 101, 152         "v1.5": the stride of a stage sits in its first 3x3 convolution; names, shapes and numbers
//                            of torchvision, so that weight files interchange; initial values too, but that the last
//                            scale of each block starts at 0 (torchvision's zero_init_residual)
// resnet50-keras, ...        "v1": the stride sits in the first 1x1 convolution, every convolution has a bias, batch
//                            normalization with epsilon 1.001e-5 and momentum 0.99 in Keras' sense; parameters carry
//                            torchvision's names, plus the biases
#pragma once

#include "engine/graph.h"

struct ResNetConfig {
    size_t depth = 50;  // 50, 101 or 152
    bool keras = false;
    size_t classes = 2;
    size_t width = 64;                // channels of the stem; other widths are for tests
    float keras_epsilon = 1.001e-5f;  // 1e-3 in files of the original keras-applications
    bool fused = false;               // in training, normalizations inside the convolutions (norm_conv); not with keras
    float epsilon() const { return keras ? keras_epsilon : 1e-5f; }
};

// "resnet50", "resnet101-keras", ...; another name is an Error that lists the known ones.
ResNetConfig resnet_config(std::string_view name, size_t classes);
std::string model_name(const ResNetConfig&);

// Values of a graph that tests and reports look at, by torchvision's names.
using Taps = std::vector<std::pair<std::string, Value>>;

// x: (n, h, w, 3 or more channels, those from 3 on zero) -> logits (n, classes), float.
// A graph made for training has batch_norm nodes and running statistics. Any other graph takes weights into which the
// normalization is folded: each convolution NAME has NAME.weight and NAME.bias (Folding in models/state.h).
Value resnet(Value x, const ResNetConfig& config, Taps* taps = nullptr);

// The names of every convolution and of the normalization that follows it.
std::vector<std::pair<std::string, std::string>> resnet_conv_bn_pairs(const ResNetConfig& config);
