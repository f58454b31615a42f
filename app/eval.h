// What the two kinds of `tundra eval` share.
#pragma once

#include "app/jobs/model.h"
#include "data/dataset.h"

struct EvalOptions {
    std::string model, data, part, json;
    double min_accuracy = 0, min_map50 = 0;
    MachineOptions machine;
    bool quiet = false;
};

// `part` may be empty, and then becomes the test images, or what there is.
std::vector<uint32_t> images_of_part(const Dataset& data, std::string& part);

bool is_detector(const std::string& model);  // a run folder or weight file
int eval_detector(EvalOptions& options);
