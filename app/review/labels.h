// Training data from what people said about a survey.
//
//   quality   labels.csv of path,label,camera: every reviewed image; bad if its class or quality is bad, else good
//   species   crops/ and labels.csv: each animal of a reviewed image whose species is known, cut out as
//             `tundra detect --crops` does
//   boxes     labels.json, COCO: the boxes of reviewed images as confirmed, moved to another category, and drawn;
//             removed and repeated ones are absent, so that the detector learns to leave them out
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/review/corrections.h"
#include "app/review/folder.h"

struct TrainingLabels {
    std::filesystem::path data;  // for `tundra train`
    std::vector<std::string> notes;
};

// Writes into `out`, which is created. `with`: labelled images to train on as well, as `tundra train` takes them; "":
// none. An image that is in both has the label of its review. Fault::usage if nothing was reviewed that can be a label,
// and if the classes of `with` are others.
TrainingLabels write_training_labels(const SurveyFolder& survey, const CorrectionLog& corrections,
                                     const std::string& what, const std::filesystem::path& out,
                                     const std::string& with = "");
