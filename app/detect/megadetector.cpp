#include "app/detect/megadetector.h"

#include <algorithm>

#include "app/jobs/names.h"
#include "base/text.h"

Thresholds thresholds_of(const YoloModel& model) {
    const std::string name = lower(model.file_name);
    Thresholds t;
    if (name.find("v5a") != name.npos || name.find("v5b") != name.npos) t.conservative = 0.05;
    if (name.find("redwood") != name.npos) t.typical = 0.3;
    return {model.typical_threshold.value_or(t.typical), model.conservative_threshold.value_or(t.conservative)};
}

// MegaDetector pads to multiples of 64 if the model's training size is 1280, at whatever size it runs, and of 32
// otherwise; the network may need 64 in any case. The long side is a multiple of what the network needs, so every side
// is.
size_t padding_stride(const YoloModel& model) {
    return std::max<size_t>(model.image_size == 1280 ? 64 : 32, model.config.largest_stride());
}

ResultHead result_head(const YoloModel& model, size_t image_size) {
    ResultHead head;
    for (size_t i = 0; i < model.classes.size(); ++i) {
        // The format forbids blank names.
        const bool blank = model.classes[i].find_first_not_of(" \t\r\n") == std::string::npos;
        head.categories[std::to_string(i + 1)] = blank ? fmt::format("class {}", i) : json_name(model.classes[i]);
    }
    const Thresholds t = thresholds_of(model);
    head.info = {{"detector", json_name(model.file_name)},
                 {"detection_completion_time", ""},
                 {"detector_metadata",
                  {{"megadetector_version", model.version.empty() ? "unknown" : json_name(model.version)},
                   {"typical_detection_threshold", t.typical},
                   {"conservative_detection_threshold", t.conservative},
                   {"image_size", image_size}}}};
    return head;
}
