// A YOLOv5 before its first training step: new, or with the weights of one that was trained for other classes.
#pragma once

#include "models/files/detector_file.h"

// Convolutions start as declared; heads expect few objects and all classes alike (Lin et al. 2017,
// https://arxiv.org/abs/1708.02002, 4.1): sigmoid(bias) is about 8 objects in an image of 640 pixels, and 0.6 /
// classes. Like weight files, the state holds the anchors.
StateDict initialize_yolov5(const YoloConfig& config, uint64_t seed);

// The network of `from` (with its normalization) for other classes. The heads keep box, objectness, and the classes
// that `from` has by name; the other classes start from new weights, and `note` names them.
DetectorModel retarget_yolov5(const DetectorModel& from, const std::vector<std::string>& classes, uint64_t seed,
                              std::string& note);
