// Splits a data set into train, validation and test so that no two of them show the same moment, or the same camera:
// groups_of() of data/bursts.h stay together.
//
// Seed and name of the first image determine the order of the groups. Each goes to test, else to validation, if more
// than half of it is still needed there (share of each class, rounded; validation at least one), else to train. A class
// left without validation (or test) images gives up its smallest group, if that is at most half (a tenth) of the class.
#pragma once

#include "data/dataset.h"

struct SplitRequest {
    uint64_t seed;
    SplitBy by;
    double validation, test;  // shares, 0 to leave a part out
    size_t classes;
};

// Assigns `part` of the samples whose part is train; others are left alone. samples: by name, with camera and time.
void split_samples(std::vector<Sample>& samples, const SplitRequest& request);
