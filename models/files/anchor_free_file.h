// The weights of a YOLO without anchors (models/anchor_free.h) as its network takes them.
#pragma once

#include "models/anchor_free.h"
#include "models/files/weights.h"

struct AnchorFreeWeights {
    AnchorFreeConfig config;
    // Folded; each RepConv is one 3x3 convolution, and a convolution in groups is one over all channels, with zeros.
    StateDict state;
    bool ultralytics = false;  // written by that package, else by the authors of YOLOv9
};

// Fault::damaged if tensors are missing, or have other shapes than the network or the description in the file says;
// Fault::usage if the file has more than the network, other modules, or tensors alone. `file` loses its tensors.
AnchorFreeWeights read_anchor_free(WeightFile& file);
