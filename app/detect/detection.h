// One image's result and its ways into text: MegaDetector's digits, the line of a journal, the entry of a result
// file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/fit.h"
#include "predict/tiles.h"

struct Detection {
    int category;       // class index + 1, as MegaDetector counts
    double confidence;  // three digits, cut
    double x, y, w, h;  // of the image's sides; four digits, cut
};

struct ImageResult {
    std::string file;                        // relative to the base folder, '/' between parts
    std::vector<Detection> detections = {};  // best first
    std::string failure = {};                // "image access failure"; empty where the image was read
    std::string reason = {};                 // why, for people
    size_t h = 0, w = 0;                     // pixels, upright
    std::string date = {};                   // EXIF
    bool damaged = false;                    // decoded as far as the file goes
};

// From the network's input back to the image, with the rounding of MegaDetector's classic path: whole pixels in
// float32. `area`: the part of the image that the letterbox holds.
std::vector<Box> image_boxes(const std::vector<Box>& boxes, const Letterbox& letterbox, const Area& area);

// Whole pixels to sides of 1, cut to four digits; confidences to three.
std::vector<Detection> detections_of(const std::vector<Box>& image_boxes, size_t h, size_t w);

// Without options only what every reader of the format expects.
struct EntryOptions {
    bool size = false, date = false;
};
nlohmann::ordered_json megadetector_entry(const ImageResult& result, const EntryOptions& options);

nlohmann::ordered_json to_json(const ImageResult& result);         // everything
ImageResult result_from_json(const nlohmann::ordered_json& json);  // throws nlohmann's exceptions

// JSON in one line; bytes that are not UTF-8 become the replacement character.
std::string one_line(const nlohmann::ordered_json& json);
