// Post-training quantization: the ranges of a network's activations on images, and the network in int8.
// Nagel et al. 2021, https://arxiv.org/abs/2106.08295
#pragma once

#include <functional>
#include <map>
#include <span>

#include "data/loader.h"
#include "engine/plan.h"
#include "models/model.h"

// What convolutions give while a network in float32 runs on images, one at a time.
class RangeRecorder {
public:
    void add(const Step& step);  // as ProgramOptions::after_step
    void end_image(bool counts);
    size_t images() const { return images_; }

    // Of each layer the mean over the images of an image's lowest and highest number: a single odd image does not cost
    // all others their resolution. Each holds 0.
    std::map<std::string, Range> ranges() const;

private:
    std::map<std::string, Range> image_{};
    std::map<std::string, std::pair<double, double>> sums_{};
    size_t images_ = 0;
};

// Runs `network` (pixels of one image) on the samples that can be read; returns those that cannot, or only in part.
// `progress` as in predict().
std::vector<FailedImage> calibrate(const std::function<void(std::span<const uint8_t>)>& network,
                                   RangeRecorder& recorder, const Dataset& data, const std::vector<uint32_t>& samples,
                                   const LoaderOptions& loader, const std::function<bool(size_t)>& progress = {});

// The images that set the ranges, and of the others those that check the result; both spread evenly over the data.
constexpr size_t kMostCalibrationImages = 200, kMostCheckedImages = 5000;
struct CalibrationSplit {
    std::vector<uint32_t> calibration, holdout;
};
CalibrationSplit calibration_split(const std::vector<uint32_t>& samples);
// How many samples leave so many for the check.
size_t images_needed(size_t holdout);
