// Whether the modules of a pickled YOLO without anchors compute what models/anchor_free.h builds from its tensors.
#pragma once

#include "models/files/weights.h"

struct AnchorFreeModules {
    double epsilon = 1e-3;    // of its normalizations
    bool plain_pool = false;  // AnchorFreeConfig::plain_pool
};

// Looks at the class of every module and at every setting that changes results: which layer reads which, activation,
// stride, padding, groups, dilation, epsilon, pooling, additions, heads of attention, strides of the levels. `family`
// as in AnchorFreeConfig, `file` with its tensors as they were read. Fault::usage with the name of the first module
// that differs; nothing is checked if the file has no pickled module.
AnchorFreeModules check_anchor_free_modules(const WeightFile& file, std::string_view family);
