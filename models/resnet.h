// ResNet for classification: He et al. 2015, https://arxiv.org/abs/1512.03385.
//
// resnet50, 101, 152   "v1.5": the stride of a stage is in its first 3x3 convolution. Names, shapes and numbers are
//                      torchvision's, so that weight files interchange; so are the initial values, except that the
//                      last scale of each block starts at 0 (torchvision's zero_init_residual).
// resnet50-keras, ...  "v1": the stride is in the first 1x1 convolution, every convolution has a bias, and batch
//                      normalization has epsilon 1.001e-5 and (in Keras' sense) momentum 0.99. Parameters carry
//                      torchvision's names, plus the biases.
#pragma once

#include "models/model.h"

struct ResNetConfig {
    size_t depth = 50;  // 50, 101 or 152
    bool keras = false;
    size_t classes = 2;
    size_t width = 64;  // channels of the stem; other widths are for tests
    float stored_epsilon =
        0;  // of the normalization, where a file states it: 1e-3 with the original keras-applications
    float epsilon() const { return stored_epsilon > 0 ? stored_epsilon : keras ? 1.001e-5f : 1e-5f; }
};

Model make_model(const ResNetConfig& config);

// x: (n, h, w, 3 or more channels, those from 3 on zero) -> logits (n, classes), float; Model::network says more.
Value resnet(Value x, const ResNetConfig& config);
