// Losses: from the heads of a network to the value that is minimised and the named values of the log.
#pragma once

#include "models/model.h"
#include "train/step_stats.h"

struct TracedLoss {
    Value loss;                                                    // (1)
    std::vector<Value> shown;                                      // float values that are read back after each step
    std::function<StepStats(std::span<const float> shown)> stats;  // names them
    std::vector<std::pair<Value, std::vector<float>>> constants = {};  // inputs that are written once
};

// Adds the loss to the graph of the heads, with an input for the targets: "labels" or "boxes" as in data/loader.h.
using Loss = std::function<TracedLoss(Graph& graph, const std::vector<Value>& heads)>;

// Names of StepStats::parts.
inline const std::vector<std::string> kClassificationParts = {"correct"};
inline const std::vector<std::string> kDetectionParts = {"box", "objectness", "class"};

// Cross entropy of the one head. class_weights: one per class, or empty.
Loss classification_loss(float label_smoothing = 0, std::vector<float> class_weights = {});

// YOLOv5's loss. `nominal`: gains as for three levels, 640 x 640 pixels and 80 classes, which are scaled to the network
// and its input; max_boxes: rows per image in Batch::boxes.
struct DetectionLossConfig {
    size_t height, width, max_boxes;
    DetectLossOptions nominal = {};
};
Loss detection_loss(const Model& model, const DetectionLossConfig& config);
