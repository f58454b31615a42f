// A whole detection: list of images, model, journal, old results, result file. What `tundra detect` does but for
// parsing options and talking.
#pragma once

#include <optional>

#include "app/detect/images_out.h"
#include "app/detect/result_file.h"
#include "app/detect/run.h"

constexpr double kModelThreshold = -1;  // instead of a threshold: the one that the model says is typical

struct DetectJob {
    std::vector<std::string> images;  // arguments, see app/jobs/image_list.h
    std::string base, out, format;    // format "": by the extension of `out`
    std::string model;                // weight file or run folder; "": the detector that comes with tundra
    std::string update;               // a result file whose entries are kept
    std::string shard;                // "3/8"
    size_t image_size = 0;            // 0: what the model says
    float threshold = 0.005f, overlap = 0.45f;
    bool tta = false;  // see Pass in predict/detector.h
    size_t tile = 0;   // side of tiles in pixels of the image; 0: none
    double tile_overlap = 0.5;
    size_t batch = 0, threads = 0;  // 0: what suits the device; what the machine has
    std::string device = "auto", precision = "auto";
    EntryOptions entry;
    ImagesOut images_out = {.threshold = kModelThreshold};
    std::function<void(const std::string&)> note = [](const std::string&) {};
    std::function<bool(const DetectCounts&, size_t total)> progress = {};  // false stops
    Network network = {};                                                  // for tests: instead of the model's
};

struct DetectOutcome {
    DetectCounts counts;
    size_t images = 0, kept = 0;                 // of the run; entries taken from `update`
    double threshold = 0;                        // of what is drawn, cropped and counted
    size_t detections = 0, with_detections = 0;  // at that threshold
    bool finished = false;
};

DetectOutcome detect(const DetectJob& job);
