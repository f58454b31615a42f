#include "app/detect/stages.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

void ClassQueue::add(size_t file, const std::string& name, std::span<const uint8_t> inputs) {
    const size_t one = stage_.fit.bytes(), count = inputs.size() / one;
    if (!count) return done_(file, {});
    waiting_.push_back({.file = file, .missing = count, .name = name, .answers = {}});
    for (size_t i = 0; i < count; ++i) {
        const auto input = inputs.subspan(i * one, one);
        pixels_.insert(pixels_.end(), input.begin(), input.end());
        if (pixels_.size() == stage_.batch * one) run();
    }
}

void ClassQueue::flush() {
    if (!pixels_.empty()) run();
}

void ClassQueue::run() {
    const std::vector<float> probabilities = stage_.network(pixels_);
    pixels_.clear();
    size_t image = 0;
    for (size_t at = 0; at < probabilities.size(); at += stage_.classes) {
        while (waiting_[image].missing == 0) ++image;
        Waiting& w = waiting_[image];
        const auto answer = std::span(probabilities).subspan(at, stage_.classes);
        if (!std::ranges::all_of(answer, [](float p) { return std::isfinite(p); }))
            fail(Fault::not_finite, "{}: the classifier's output is not finite", w.name);
        w.answers.emplace_back(answer.begin(), answer.end());
        if (--w.missing == 0) done_(w.file, w.answers);
    }
    std::erase_if(waiting_, [](const Waiting& w) { return w.missing == 0; });
}
