// What MegaDetector's own tools do for a model: thresholds, padding, and the head of the result file.
// https://github.com/agentmorris/MegaDetector/blob/main/megadetector-output-format.md
#pragma once

#include "app/detect/result_file.h"
#include "models/files/yolov5_file.h"

struct Thresholds {
    double typical = 0.2, conservative = 0.1;  // MegaDetector's values for a model that it does not know
};
Thresholds thresholds_of(const YoloModel& model);

// Sides of the network's input are padded to multiples of this.
size_t padding_stride(const YoloModel& model);

// Categories and info, without completion time and settings of the run. `image_size`: at which the model runs.
ResultHead result_head(const YoloModel& model, size_t image_size);
