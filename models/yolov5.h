// YOLOv5 in all its sizes: n, s, m, l, x on three levels (P5) and n6 .. x6 on four (P6), with the layer numbers of its
// files; t, which is our own, is as deep as n and half as wide: more pixels for the same time. Jocher et al. 2020,
// https://doi.org/10.5281/zenodo.3908559
//
// A stem that halves the image, stages that halve it again (convolution, then a C3 block), pooling in three windows
// (SPPF), then a path down to stride 8 and one up again, each step a concatenation and a C3; one head per level.
//   Conv        silu(norm(conv(x))): in training with the statistics of the batch, else folded into weights and bias
//   Bottleneck  x + Conv3x3(Conv1x1(x)); outside the backbone without the addition
//   C3          Conv1x1(concat(bottlenecks(Conv1x1(x)), Conv1x1(x)))
//   SPPF        Conv1x1(concat(a, p(a), p(p(a)), p(p(p(a))))) with a = Conv1x1(x) and p a max pool of stride 1
// Files of release 5.0 have the pooling before the last C3, whose bottlenecks then lack the addition as well.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/model.h"

struct YoloConfig {
    std::vector<size_t> channels;  // of the stem and of each stage: 5 numbers for P5, 6 for P6
    std::vector<size_t> repeats;   // bottlenecks in the C3 of each stage
    size_t head_repeats = 1;
    size_t classes = 3;
    size_t pool = 5;               // window of SPPF
    bool pool_first = false;       // release 5.0
    std::vector<BoxLevel> levels;  // 3 or 4
    double epsilon = 1e-3;         // of the normalization

    size_t largest_stride() const { return size_t(1) << channels.size(); }
    size_t detect_layer() const { return channels.size() == 6 ? 33 : 24; }
};

// "t" or "yolov5t", ..., "x6", with the anchors of YOLOv5's yaml files. Errors (usage): an unknown name.
YoloConfig yolov5_config(std::string_view name, size_t classes);

// Any depth and width, for tests.
YoloConfig yolov5_config(bool p6, double depth, double width, size_t classes);

Model make_model(const YoloConfig& config);

// x: (n, h, w, 3 or more channels, those from 3 on zero), sides multiples of the largest stride -> one head per level,
// (n, h / stride, w / stride, 3 * (5 + classes)). A layer NAME has NAME.conv.weight and, in a graph made for training,
// the four arrays of NAME.bn, else NAME.conv.bias; a head has weight and bias. Names are YOLOv5's.
std::vector<Value> yolov5(Value x, const YoloConfig& config);
