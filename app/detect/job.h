// A whole detection: list of images, model, journal, earlier results, result file. Everything that `tundra detect` does
// except parsing options and printing.
#pragma once

#include <set>

#include "app/detect/image_outputs.h"
#include "app/detect/result_file.h"
#include "app/detect/run.h"
#include "app/jobs/machine.h"

constexpr double kModelThreshold = -1;  // means the typical threshold of the model

// What the models of a run are called and say, for the table of a survey.
struct RunParts {
    const DetectRun& run;
    ResultHead head;                            // as in result files
    nlohmann::ordered_json settings;            // info.custom_metadata.tundra
    std::vector<std::string> species, quality;  // classes
    double threshold;                           // of boxes that count
};

struct DetectJob {
    std::vector<std::string> images;     // arguments, see app/jobs/image_list.h
    std::string base, out, format;       // format "": by the extension of `out`
    std::string model;                   // weight file or run folder; "": the detector that comes with tundra; or a
                                         // result file of an earlier run or of SpeciesNet
    std::string classify, quality;       // classifiers of the boxes (or a result file) and of whole images; "": none
    std::string update;                  // a result file whose entries are kept
    std::string shard;                   // "3/8"
    const HandedWork* handed = nullptr;  // of a helper: its images
    size_t image_size = 0;               // 0: from the model
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
    // A survey instead of a result file: `out` names its JSON, its journal stays as the store of all answers, and keeps
    // images of earlier runs.
    bool survey = false;
    std::function<void(const Names&, const ResultHead&, const std::vector<std::string>& species,
                       const std::vector<std::string>& quality)>
        check = {};  // before any image is looked at
    std::function<void(const std::set<std::string>&)> changed =
        {};                                           // files that are others than those looked at before
    std::function<void(const RunParts&)> write = {};  // instead of the result file
};

struct DetectOutcome {
    DetectCounts counts = {};
    size_t images = 0, kept = 0;                 // of the run; entries taken from `update`
    double threshold = 0;                        // of drawn, cropped and counted detections
    size_t detections = 0, with_detections = 0;  // at that threshold
    bool finished = false;
};

DetectOutcome detect(const DetectJob& job);
