// The result of one image and its text forms: MegaDetector's digits, the line of a journal, the entry of a result file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "data/fit.h"
#include "predict/tiles.h"

// Classes of a classifier with their probabilities, most probable first.
using ClassScores = std::vector<std::pair<uint32_t, float>>;

struct Detection {
    int category;              // class index + 1, as MegaDetector counts
    double confidence;         // truncated to three digits
    double x, y, w, h;         // shares of the image's sides, truncated to four digits
    ClassScores classes = {};  // of the crop, if it was classified
};

struct ImageResult {
    std::string file;                        // relative to the base folder, '/' between parts
    std::vector<Detection> detections = {};  // best first
    std::string failure = {};                // "image access failure"; empty if the image was read
    std::string reason = {};                 // details, for people
    size_t h = 0, w = 0;                     // pixels, upright
    std::string date = {};                   // EXIF
    bool damaged = false;                    // only in part decodable
    std::string camera = {}, sequence = {};  // a survey's: serial number, and the camera's own number of the burst
    std::vector<float> quality = {};         // probabilities of a quality model
};

ClassScores class_scores(const std::vector<float>& probabilities);

// From the network's input back to the image, with the rounding of MegaDetector's classic inference: whole pixels in
// float32. `region`: the part of the image in the letterbox. `whole_padding`: as for a model of ultralytics 8.4, where
// the padding is whole pixels and each axis has its own scale; MegaDetector's results follow the release installed.
std::vector<Box> image_boxes(const std::vector<Box>& boxes, const Letterbox& letterbox, const ImageRegion& region,
                             bool whole_padding = false);

// From whole pixels to shares of the sides, truncated to four digits; confidences to three.
std::vector<Detection> detections_of(const std::vector<Box>& image_boxes, size_t h, size_t w);

// Fields beyond those that every reader of the format expects.
struct EntryOptions {
    bool size = false, date = false;
    std::vector<std::string> quality = {};  // names of the quality model's classes
};
nlohmann::ordered_json megadetector_entry(const ImageResult& result, const EntryOptions& options);

constexpr size_t kTopClasses = 5;  // that result files list for each box

nlohmann::ordered_json to_json(const ImageResult& result);         // with all fields
ImageResult result_from_json(const nlohmann::ordered_json& json);  // throws nlohmann's exceptions
