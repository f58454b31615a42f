// Which images belong together, and what a validation set that tears them apart is worth.
#pragma once

#include "data/dataset.h"

// Numbers of samples that must not lie in two parts, each from the earliest to the latest.
//
// SplitBy::sequence  images of one camera with the same sequence; without a sequence those that were taken at most
//                    60 s after the one before (a burst). An image without sequence and time is alone.
// SplitBy::camera    all images of a camera. An image without a camera is alone.
std::vector<std::vector<uint32_t>> groups_of(const std::vector<Sample>& samples, std::vector<uint32_t> numbers,
                                             SplitBy by);

// Every reason why images of one scene may lie in train and in validation all the same, for people: no dates or
// cameras, time-lapse, parts that were given and tear bursts apart. `made`: tundra made the parts.
std::vector<std::string> split_warnings(const Dataset& data, SplitBy by, bool made);
