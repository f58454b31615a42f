// Repeat detections: the same box at one camera again and again, such as a rock that the detector takes for an animal.
//
// A group holds the boxes of one category whose intersection over union with the group's first box, in the order of
// the images, reaches `iou`; a box may enter several groups. With days = hours = 0 these are the candidates of the
// package megadetector (https://github.com/agentmorris/MegaDetector, repeat_detection_elimination) for equal settings.
// An animal that rests gives the same box, too, but not on several days.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

struct RepeatOptions {
    double min_confidence = 0.1, max_confidence = 1;
    double iou = 0.9;
    double max_area = 0.2;    // of the image
    size_t occurrences = 20;  // boxes of a group
    size_t days = 3;          // different dates on which its boxes were seen
    size_t hours = 6;         // different hours, of all days together
};

struct CameraBox {
    int category = 0;
    double confidence = 0;
    double x = 0, y = 0, w = 0, h = 0;  // shares of the image's sides
    int64_t time = -1;                  // seconds since 1970; -1: unknown, which counts for no day and no hour
};

// Groups of numbers of `boxes`, those of one camera in the order of its images. Groups by their first box.
std::vector<std::vector<uint32_t>> find_repeats(std::span<const CameraBox> boxes, const RepeatOptions& options);
// Whether the options let the box take part; for callers who look dates up only where they are needed.
bool may_repeat(const CameraBox& box, const RepeatOptions& options);
