// Finds images that belong together, and warns of splits that separate them.
#pragma once

#include "data/dataset.h"

// Groups of samples that must be in the same part, each in order of time.
//
// SplitBy::sequence  images of one camera with the same sequence; without a sequence those that were taken at most
//                    60 s after the one before (a burst). An image without sequence and time is alone.
// SplitBy::camera    all images of a camera. An image without a camera is alone.
std::vector<std::vector<uint32_t>> groups_of(const std::vector<Sample>& samples, std::vector<uint32_t> numbers,
                                             SplitBy by);

// Reasons, for people, why images of one scene may still be in both train and validation: no dates or cameras,
// time-lapse, given parts that divide bursts. `made`: tundra made the parts.
std::vector<std::string> split_warnings(const Dataset& data, SplitBy by, bool made);
