// Whether a network may run in bf16 or int8: its answers beside those in float32, on the same images. What is found is
// stored in the metadata of its weight file. Only where bf16 passed does `--precision auto` consider it on the device
// cpu, and `tundra quantize` writes no file that has not passed.
//
// A row of the table compares one number; the check passes if no row loses more than its limit.
//   classifier   accuracy: 0.5 points; same class as in float32: 0.5 % of the images (in int8 only without labels)
//   detector     mAP50: 0.5 points (not in int8); recall of small, medium and large objects: 1 point
// An object is found by a box of its class with an IoU of 0.5 or more and a score of 0.2. Without true boxes those
// count that float32 finds with a score of 0.2; a score of 0.1 then suffices.
// Small and large are COCO's, below 32^2 and from 96^2 pixels on, in the network's input.
#pragma once

#include <filesystem>
#include <optional>

#include "predict/detect_evaluation.h"
#include "predict/predict.h"

struct CheckRow {
    std::string what;
    size_t count;  // images or objects
    double fp32, other, limit;
    bool decides() const { return limit < 1; }  // else it is only told
    bool holds() const { return fp32 - other <= limit + 1e-9; }
};

constexpr size_t kFewestLabelled = 100, kFewestUnlabelled = 1000;  // images, for a check to pass

struct PrecisionCheck {
    DType precision = DType::bf16;  // i8: int8
    size_t images = 0, fewest = 0;
    std::vector<CheckRow> rows = {};
    std::string weights = {};            // fingerprint() of what was checked, for a detector folded
    std::vector<uint32_t> samples = {};  // numbers of the images in the data set

    bool passed() const;
    std::vector<std::string> lines() const;  // the table for people, with the 95 % interval of each number
};

// Both of the same images in the same order.
PrecisionCheck compare_classes(const Predictions& fp32, const Predictions& other, bool labelled,
                               DType precision = DType::bf16);
// `side`: pixels of the longer side of the network's input.
PrecisionCheck compare_boxes(const FoundBoxes& fp32, const FoundBoxes& other, size_t classes, size_t side,
                             bool labelled, DType precision = DType::bf16);

// As it is stored, for bf16 under the key kBf16Check of the metadata, for int8 in the report under kInt8, and whether
// either of these texts says that these weights passed. One that cannot be read counts as none.
std::string to_text(const PrecisionCheck& check);
bool check_passed(const std::string& stored, const StateDict& weights);

// Replaces a safetensors file by itself with the result of the check. Fault::usage for another kind of file.
void store_check(const std::filesystem::path& path, const PrecisionCheck& check);
