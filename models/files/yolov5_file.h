// A YOLOv5 from a weight file: its size, classes, anchors and epsilon come from the tensors and the pickled module.
#pragma once

#include "models/files/weights.h"
#include "models/yolov5.h"

// Focus layers (release 5.0) in `file` become the 6x6 convolution that computes the same. Fault::damaged if the file
// contradicts itself, Fault::usage if it has other layers than a YOLOv5 or more.
YoloConfig read_yolov5(WeightFile& file);
