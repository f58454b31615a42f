#include "predict/quantize.h"

#include <algorithm>

#include "engine/op.h"

void RangeRecorder::add(const Step& step) {
    if (step.op->name() != "conv" && step.op->name() != "depthwise_conv") return;
    const Tensor& y = step.out[0];
    const std::span values(y.as<const float>(), numel(y.shape));
    float low = 0, high = 0;
#pragma omp simd reduction(min : low) reduction(max : high)
    for (size_t i = 0; i < values.size(); ++i) low = std::min(low, values[i]), high = std::max(high, values[i]);
    image_[step.layer] = {low, high};
}

void RangeRecorder::end_image(bool counts) {
    if (counts) {
        ++images_;
        for (const auto& [layer, range] : image_)
            sums_[layer].first += double(range.low), sums_[layer].second += double(range.high);
    }
    image_.clear();
}

std::map<std::string, Range> RangeRecorder::ranges() const {
    std::map<std::string, Range> ranges;
    for (const auto& [layer, sum] : sums_) {
        Range range{float(sum.first / double(images_)), float(sum.second / double(images_))};
        if (range.high - range.low < 1e-20f) range.high = 1;  // always 0
        ranges[layer] = range;
    }
    return ranges;
}

std::vector<FailedImage> calibrate(const std::function<void(std::span<const uint8_t>)>& network,
                                   RangeRecorder& recorder, const Dataset& data, const std::vector<uint32_t>& samples,
                                   const LoaderOptions& options, const std::function<bool(size_t)>& progress) {
    LoaderOptions one_by_one = options;
    one_by_one.batch = 1;
    one_by_one.shuffle = one_by_one.drop_last = false;
    one_by_one.epochs = 1;
    one_by_one.boxes.reset();
    one_by_one.augment = {};
    Loader loader(data, samples, one_by_one);
    for (size_t done = 0; done < samples.size();) {
        const Batch& batch = loader.next();
        const bool readable = batch.labels[0] >= 0;
        if (readable) network(batch.images);
        recorder.end_image(readable);
        ++done;
        if (progress && !progress(done)) break;
    }
    return loader.bad_files();
}

CalibrationSplit calibration_split(const std::vector<uint32_t>& samples) {
    // Deals `from` to two lists, of which `chosen` gets `count`, spread evenly.
    const auto deal = [](const std::vector<uint32_t>& from, size_t count, auto& chosen, auto& others) {
        for (size_t i = 0, n = from.size(); i < n; ++i)
            ((i + 1) * count / n > i * count / n ? chosen : others).push_back(from[i]);
    };
    const size_t n = samples.size(), count = std::min(kMostCalibrationImages, (n + 4) / 5);
    CalibrationSplit split;
    std::vector<uint32_t> rest, unused;
    deal(samples, count, split.calibration, rest);
    deal(rest, std::min(kMostCheckedImages, rest.size()), split.holdout, unused);
    return split;
}

size_t images_needed(size_t holdout) { return holdout + std::min(kMostCalibrationImages, (holdout + 3) / 4); }
