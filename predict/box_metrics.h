// Metrics of a detector's boxes: average precision as COCO defines it, and counts for each confidence threshold.
//
// On each image and for each class, boxes are matched to true boxes by falling score: a box takes the unmatched true
// box with the highest intersection over union (IoU) if that reaches the threshold, and is then right (a true
// positive), else wrong (a false positive). Over all images, by falling score,
//   precision = right / (right + wrong)   recall = right / true boxes
//   AP = mean over recall 0, 0.01, ..., 1 of the maximum precision at that recall or above; 0 where it is not reached
//   mAP50: IoU 0.5, mean over the classes that have true boxes;  mAP: mean also over IoU 0.5, 0.55, ..., 0.95
// At most 100 boxes per image and class count. Source: pycocotools cocoeval.py (areas, crowds and detection limits
// aside), https://cocodataset.org/#detection-eval; tests/data/coco_ap.json holds its results.
//
// The table of thresholds counts all classes at IoU 0.5; F1 = 2 right / (found + true).
#pragma once

#include <array>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"

struct FoundBox {
    uint32_t category;
    float score;       // 0..1
    float x, y, w, h;  // shares of the image's sides, as in TrueBox
};

struct ImageBoxes {  // one image
    std::vector<TrueBox> truth;
    std::vector<FoundBox> found;  // in any order; ties keep it
    size_t h = 1, w = 1;          // pixels, in which IoU is measured
};

struct ThresholdRow {
    double threshold;
    size_t right = 0, wrong = 0, missed = 0;  // boxes: true positives, false positives, false negatives
    size_t full_found = 0, full = 0;          // images with objects: those with a detection, and all
    size_t empty_alarmed = 0, empty = 0;      // images without objects: those with a detection, and all
    double precision() const;                 // NaN without a denominator
    double recall() const;
    double f1() const;
};

struct ClassBoxes {
    size_t truth = 0, right = 0, wrong = 0;  // the latter two at the proposed threshold
    double ap50 = 0, ap = 0;                 // NaN without true boxes
    std::vector<float> precision;            // at recall 0, 0.01, ..., 1, IoU 0.5; empty without true boxes
};

struct BoxMetrics {
    size_t images = 0;
    double map50 = 0, map = 0;        // NaN without true boxes
    std::array<double, 10> map_at{};  // IoU 0.5, 0.55, ..., 0.95
    std::vector<ClassBoxes> classes;
    std::vector<ThresholdRow> thresholds;  // 0.05, 0.1, ..., 0.95
    size_t proposed = 0;                   // index of the best F1 in `thresholds`

    const ThresholdRow& best() const { return thresholds[proposed]; }
};

// Errors: a category that is not below `classes`, a score outside 0..1.
BoxMetrics measure_boxes(const std::vector<ImageBoxes>& images, size_t classes);

double iou(const TrueBox& truth, const FoundBox& found, size_t h, size_t w);  // intersection over union

nlohmann::json to_json(const BoxMetrics&, const std::vector<std::string>& class_names);
