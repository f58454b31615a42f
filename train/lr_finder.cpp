// Smoothing, the end of the test, and the three ways to read the curve.
#include "train/lr_finder.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"

namespace {

constexpr size_t kMinSteps = 50;
constexpr size_t kMinPoints = 20;  // of a test that ended early; fewer do not show the curve

size_t steepest(std::span<const LrPoint> points) {
    size_t best = 1;
    double steepest_slope = INFINITY;
    for (size_t i = 1; i + 1 < points.size(); i++) {
        double slope = (points[i + 1].smooth - points[i - 1].smooth) /
                       std::log(points[i + 1].learning_rate / points[i - 1].learning_rate);
        if (slope < steepest_slope) steepest_slope = slope, best = i;
    }
    return best;
}

size_t valley(std::span<const LrPoint> points) {
    std::vector<size_t> length(points.size(), 1), previous(points.size(), SIZE_MAX);
    for (size_t i = 0; i < points.size(); i++)
        for (size_t j = 0; j < i; j++)
            if (points[i].smooth < points[j].smooth && length[j] + 1 > length[i])
                length[i] = length[j] + 1, previous[i] = j;
    size_t at = size_t(std::max_element(length.begin(), length.end()) - length.begin());
    for (size_t back = length[at] / 2; back > 0; back--) at = previous[at];
    return at;
}

}  // namespace

LrFinder::LrFinder(const LrFinderOptions& options) : options_(options) {
    if (!(options.first > 0 && options.last > options.first && std::isfinite(options.last)))
        fail(Fault::usage, "lr-find: the learning rates must be positive and grow, not from {} to {}", options.first,
             options.last);
    if (options.steps < kMinSteps)
        fail(Fault::usage, "lr-find: at least {} steps are needed, not {}", kMinSteps, options.steps);
}

double LrFinder::next_learning_rate() const {
    return options_.first *
           std::pow(options_.last / options_.first, double(points_.size()) / double(options_.steps - 1));
}

bool LrFinder::add(double loss) {
    require(!over_, "lr-find: the test ended after {} points", points_.size());
    over_ = true;
    if (!std::isfinite(loss)) return false;
    double weight = options_.smoothing;
    average_ = weight * average_ + (1 - weight) * loss;
    double smooth = average_ / (1 - std::pow(weight, double(points_.size() + 1)));
    points_.push_back({next_learning_rate(), loss, smooth});
    best_ = points_.size() == 1 ? smooth : std::min(best_, smooth);
    over_ = smooth > options_.divergence * best_ || points_.size() == options_.steps;
    return !over_;
}

LrSuggestion LrFinder::suggest() const {
    if (points_.size() < kMinPoints)
        fail(Fault::usage,
             "lr-find: the loss was finite for only {} steps, {} are needed: use more steps (now {}) or a "
             "lower last learning rate (now {})",
             points_.size(), kMinPoints, options_.steps, options_.last);
    std::span<const LrPoint> points = points_;
    size_t skipped = points.size() / 10;
    points = points.subspan(skipped, points.size() - skipped - 5);
    auto lowest = std::min_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.smooth < b.smooth; });
    return {.steepest = points[steepest(points)].learning_rate,
            .valley = points[valley(points)].learning_rate,
            .minimum_tenth = lowest->learning_rate / 10};
}
