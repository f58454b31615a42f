// A whole detection: list of images, model, journal, earlier results, result file. Everything that `tundra detect` does
// except parsing options and printing.
#pragma once

#include "app/detect/image_outputs.h"
#include "app/detect/result_file.h"
#include "app/detect/run.h"
#include "app/jobs/machine.h"

constexpr double kModelThreshold = -1;  // means the typical threshold of the model

struct DetectJob {
    std::vector<std::string> images;  // arguments, see app/jobs/image_list.h
    std::string base, out, format;    // format "": by the extension of `out`
    std::string model;                // weight file or run folder; "": the detector that comes with tundra
    std::string update;               // a result file whose entries are kept
    std::string shard;                // "3/8"
    size_t image_size = 0;            // 0: from the model
    float threshold = 0.005f, iou = 0.45f;
    bool tta = false;  // see Pass in predict/detector.h
    size_t tile = 0;   // side of tiles in pixels of the image; 0: none
    double tile_overlap = 0.5;
    MachineOptions machine = {};
    EntryOptions entry = {};
    ImageOutputs outputs = {.threshold = kModelThreshold};
    std::function<void(const std::string&)> note = [](const std::string&) {};
    std::function<bool(const DetectCounts&, size_t total)> progress = {};  // false stops
    Network network = {};                                                  // for tests: instead of the model's
    Device* network_device = nullptr;                                      // its device
};

struct DetectOutcome {
    DetectCounts counts = {};
    size_t images = 0, kept = 0;                 // of the run; entries taken from `update`
    double threshold = 0;                        // of drawn, cropped and counted detections
    size_t detections = 0, with_detections = 0;  // at that threshold
    bool finished = false;
};

DetectOutcome detect(const DetectJob& job);
