#include "app/detect/megadetector.h"

#include "app/jobs/names.h"

ResultHead result_head(const DetectorModel& model, size_t image_size) {
    ResultHead head;
    for (size_t i = 0; i < model.classes.size(); ++i) {
        // The format forbids blank names.
        const bool blank = model.classes[i].find_first_not_of(" \t\r\n") == std::string::npos;
        head.categories[std::to_string(i + 1)] = blank ? fmt::format("class {}", i) : json_name(model.classes[i]);
    }
    head.info = {{"detector", json_name(model.file_name)},
                 {"detection_completion_time", ""},
                 {"detector_metadata",
                  {{"megadetector_version", model.version.empty() ? "unknown" : json_name(model.version)},
                   {"typical_detection_threshold", model.typical_threshold},
                   {"conservative_detection_threshold", model.conservative_threshold},
                   {"image_size", image_size}}}};
    return head;
}
