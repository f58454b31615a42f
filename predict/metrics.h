// Metrics of a classifier: accuracy overall, per class, per confidence and per camera, and the confusion matrix.
//
//   precision = correct / predicted   recall = correct / images   F1 = 2 * correct / (images + predicted)
// NaN (null in JSON) if the denominator is 0.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

struct LabelledPrediction {  // one image
    size_t label, predicted;
    float confidence;    // of the prediction, 0..1
    std::string camera;  // empty if unknown
};

struct Counts {
    size_t images = 0, correct = 0;
    double accuracy() const;
};

struct ClassScore {
    size_t images = 0, predicted = 0, correct = 0;
    double precision() const;
    double recall() const;
    double f1() const;
};

struct Metrics {
    Counts all;
    std::vector<ClassScore> classes;
    std::vector<size_t> confusion;      // (classes, classes): row = label, column = prediction
    std::array<Counts, 10> confidence;  // bin b holds b/10 <= confidence < (b + 1)/10, the last one also 1.0
    std::map<std::string, Counts> cameras;

    double macro_f1() const;  // mean over the classes that have images
};

// Errors: a label or a prediction that is not below `classes`, a confidence outside 0..1.
Metrics measure(std::span<const LabelledPrediction>, size_t classes);

nlohmann::json to_json(const Metrics&, std::span<const std::string> class_names);
