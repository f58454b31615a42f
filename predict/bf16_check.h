// Whether a network may run in bf16: its answers beside those in float32, on the same images. What is found is stored
// in the metadata of its weight file, and only where it passed does `--precision auto` consider bf16 on the device cpu.
//
// A row of the table compares one number; the check passes if bf16 loses no more than the row's limit in any of them.
//   classifier   accuracy: 0.5 points; same class as in float32: 0.5 % of the images (all of them without labels)
//   detector     mAP50: 0.5 points; recall of small, medium and large objects: 1 point. An object is found by a box of
//                its class with an IoU of 0.5 or more and a score of 0.2. Without true boxes those count that float32
//                finds with a score of 0.2; a score of 0.1 then suffices.
// Small and large are COCO's, below 32^2 and from 96^2 pixels on, in the network's input.
#pragma once

#include <filesystem>
#include <optional>

#include "predict/detect_evaluation.h"
#include "predict/predict.h"

struct Bf16Row {
    std::string what;
    size_t count;  // images or objects
    double fp32, bf16, limit;
    bool holds() const { return fp32 - bf16 <= limit + 1e-9; }
};

constexpr size_t kFewestLabelled = 100, kFewestUnlabelled = 1000;  // images, for a check to pass

struct Bf16Check {
    size_t images = 0, fewest = 0;
    std::vector<Bf16Row> rows = {};
    std::string weights = {};  // fingerprint() of what was checked, for a detector folded

    bool passed() const;
    std::vector<std::string> lines() const;  // the table for people, with the 95 % interval of each number
};

// Both of the same images in the same order.
Bf16Check compare_classes(const Predictions& fp32, const Predictions& bf16, bool labelled);
// `side`: pixels of the longer side of the network's input.
Bf16Check compare_boxes(const FoundBoxes& fp32, const FoundBoxes& bf16, size_t classes, size_t side, bool labelled);

// As it is stored, under the key kBf16Check of the metadata, and whether that says that these weights passed. A text
// that cannot be read counts as none.
std::string to_text(const Bf16Check& check);
bool bf16_passed(const std::string& stored, const StateDict& weights);

// Replaces a safetensors file by itself with the result of the check. Fault::usage for another kind of file.
void store_check(const std::filesystem::path& path, const Bf16Check& check);
