// Runs a classifier on images of a data set.
#pragma once

#include <functional>

#include "data/loader.h"
#include "predict/classifier.h"
#include "predict/metrics.h"

struct Prediction {
    uint32_t sample;  // number in the data set
    uint32_t label, predicted;
    float confidence;                  // probability of `predicted`
    float loss;                        // cross entropy with the label, from the logits: never clipped
    std::vector<float> probabilities;  // one per class
};

struct Predictions {
    std::vector<Prediction> rows;  // of the images that could be read, in the order of `samples`
    std::vector<FailedImage> bad_files;
    LoaderCounts counts;

    double mean_loss() const;  // NaN without rows
    Metrics metrics(const Dataset& data) const;
};

// `progress` is called after each batch with the number of images done; false stops early.
Predictions predict(Classifier& classifier, const Dataset& data, const std::vector<uint32_t>& samples,
                    const LoaderOptions& loader, Cache* cache = nullptr,
                    const std::function<bool(size_t)>& progress = {});
