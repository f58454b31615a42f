// Runs a detector on images of a data set, and writes the file of its evaluation.
//
// evaluation.json: {"task": "detect", "classes": [...], "parts": {"validation": {"metrics": to_json(BoxMetrics),
//   "pictures": [{"file", "camera", "width", "height", "truth": [[class, x, y, w, h], ...],
//   "found": [[class, x, y, w, h, score], ...]}]}, "test": ...}}; x, y, w, h are shares of the image's sides; found
//   holds boxes with a score of at least 0.05; parts without images are left out.
#pragma once

#include <filesystem>
#include <functional>

#include "data/loader.h"
#include "predict/box_metrics.h"
#include "predict/detector.h"

struct FoundBoxes {
    std::vector<uint32_t> samples;   // numbers in the data set, of the images that could be read
    std::vector<ImageBoxes> images;  // one per sample
    std::vector<FailedImage> bad_files;
    size_t overflown = 0;  // images without boxes because numbers overflow in the network
};

// The network sees the images as `loader` letterboxes them: fit.h() and fit.w() must be multiples of its stride.
// `progress` is called after each batch with the number of images done; false stops early.
FoundBoxes find_boxes(Detector& detector, const Dataset& data, const std::vector<uint32_t>& samples,
                      const LoaderOptions& loader, Cache* cache = nullptr,
                      const std::function<bool(size_t)>& progress = {});

void write_box_evaluation(const std::filesystem::path& path, const Dataset& data,
                          const std::vector<std::pair<std::string, const FoundBoxes*>>& parts);
