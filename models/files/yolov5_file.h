// A YOLOv5 detector out of a weight file: its size, classes, anchors and epsilon come from the tensors and the pickled
// module, its image size and thresholds from what MegaDetector files carry beside them.
#pragma once

#include <optional>

#include "models/files/weights.h"
#include "models/yolov5.h"

struct YoloModel {
    std::string file_name;  // without folders
    YoloConfig config;
    std::vector<std::string> classes;
    size_t image_size =
        1280;  // the long side that it was trained for; 1280 where the file does not say, as in MegaDetector
    std::string version = {};  // of MegaDetector, where the file says so; else ""
    std::optional<double> typical_threshold = {}, conservative_threshold = {};
    StateDict state = {};  // names as in models/yolov5.h; for training or folded for inference
};

// Fault::usage if the file holds another network, Fault::damaged if it contradicts itself. Focus layers (release 5.0)
// become the 6x6 convolution that computes the same.
YoloModel yolov5_model(WeightFile file);
YoloModel read_yolov5(const std::filesystem::path& path);

// The same with its normalization, to train it further. Fault::usage where the file holds folded weights.
YoloModel read_yolov5_unfolded(const std::filesystem::path& path);
YoloModel folded(YoloModel model);

// The same model as safetensors: weights in float32 as they are, and as metadata what read_yolov5() wants to know.
void write_yolov5(const std::filesystem::path& path, const YoloModel& model);
