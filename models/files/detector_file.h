// A detector from a weight file: its network and classes come from the tensors and the pickled module
// (models/files/yolov5_file.h, models/files/anchor_free_file.h), its image size and thresholds from the metadata of
// MegaDetector files and from the settings of its training.
#pragma once

#include "models/anchor_free.h"
#include "models/files/weights.h"
#include "models/yolov5.h"

struct DetectorModel {
    std::string file_name;                        // without folders
    YoloConfig config = {};                       // of a YOLOv5
    std::optional<AnchorFreeConfig> others = {};  // of another network; then `config` means nothing
    std::vector<std::string> classes;
    // The long side that it was trained for; 1280, as in MegaDetector, if the file does not say.
    size_t image_size = 1280;
    std::string size_note = {};  // about a size that neither the file nor its name (MDv5a, MDv5b) says
    std::string version = {};    // of MegaDetector; empty if the file does not say
    // Confidences that MegaDetector's users work with: from the file, else by its name.
    double typical_threshold = 0.2, conservative_threshold = 0.1;
    std::vector<std::string> notes = {};           // of the file, for people: WeightFile::notes
    std::string bf16_check = {};                   // of the file: see predict/precision_check.h
    Int8Layers int8 = {};                          // of a quantized detector: models/int8.h
    std::string int8_report = {};                  // kInt8 of its metadata
    std::map<std::string, std::string> more = {};  // further metadata to write
    StateDict state = {};                          // names as in models/yolov5.h; for training or folded for inference

    // Boxes are scaled back as ultralytics does it, with whole pixels of padding: app/detect/detection.h
    bool whole_padding = false;

    Model network() const;
    size_t letterbox_stride() const;  // the sides of a letterboxed image are multiples of it
};

// Fault::usage if the file holds another network, Fault::damaged if it contradicts itself.
DetectorModel detector_model(WeightFile file);
DetectorModel read_detector(const std::filesystem::path& path);

// The same with its normalization, to train it further. Fault::usage if the file holds folded weights.
DetectorModel read_detector_unfolded(const std::filesystem::path& path);
DetectorModel folded(DetectorModel model);

// A published form ("yolov5x6", "yolo11s", "yolov9c") with random weights, to measure its speed; one without anchors
// finds few boxes, as on real images. Errors (usage): an unknown name.
DetectorModel random_detector(Device& device, const std::string& name);

// The model as safetensors: its weights in float32, and as metadata everything else that read_detector() returns.
void write_detector(const std::filesystem::path& path, const DetectorModel& model);
