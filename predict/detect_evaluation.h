// What a detector finds on pictures of a data set, and what an evaluation of it leaves on disk.
//
// evaluation.json: {"task": "detect", "classes": [...], "parts": {"validation": {"metrics": to_json(BoxMetrics),
//   "pictures": [{"file", "camera", "width", "height", "truth": [[class, x, y, w, h], ...],
//   "found": [[class, x, y, w, h, score], ...]}]}, "test": ...}}; x, y, w, h are shares of the picture's sides, found
//   are boxes from a score of 0.05 on; parts without pictures are left out.
#pragma once

#include <filesystem>
#include <functional>

#include "data/loader.h"
#include "predict/box_metrics.h"
#include "predict/detector.h"

struct FoundBoxes {
    std::vector<uint32_t> samples;      // numbers in the data set, of the pictures that could be read
    std::vector<JudgedBoxes> pictures;  // one per sample
    std::vector<BadFile> bad_files;
    size_t overflown = 0;  // pictures without boxes, because numbers overflow within the network
};

// The pictures go through the network as `loader` letterboxes them: fit.h() and fit.w() must suit the network.
// `progress` is called after each batch with the number of pictures done; false stops early.
FoundBoxes find_boxes(Detector& detector, const Dataset& data, const std::vector<uint32_t>& samples,
                      const LoaderOptions& loader, Cache* cache = nullptr,
                      const std::function<bool(size_t)>& progress = {});

void write_box_evaluation(const std::filesystem::path& path, const Dataset& data,
                          const std::vector<std::pair<std::string, const FoundBoxes*>>& parts);
