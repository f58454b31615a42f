// The learning rate range test: the learning rate grows from step to step, and the loss shows where it is too high.
//
//   learning_rate(i) = first * (last / first)^(i / (steps - 1))
//   smooth(i)        = running mean of the loss with weight `smoothing` on the past, corrected for its start at 0
// The test ends early when the loss is not finite or smooth > `divergence` * its best so far. Suggestions, from the
// smoothed loss without the first tenth and the last five points:
//   steepest       where the loss falls fastest over log(learning rate)
//   valley         the middle of the longest falling subsequence
//   minimum / 10   a tenth of the learning rate with the lowest loss
// Smith 2017, https://arxiv.org/abs/1506.01186; the three rules are fastai's,
// https://docs.fast.ai/callback.schedule.html
#pragma once

#include <cstddef>
#include <vector>

struct LrFinderOptions {
    double first = 1e-7, last = 10;
    size_t steps = 100;  // at least 50
    double smoothing = 0.9, divergence = 4;
};

struct LrPoint {
    double learning_rate, loss, smooth;
};

struct LrSuggestion {
    double steepest, valley, minimum_tenth;
};

class LrFinder {
public:
    explicit LrFinder(const LrFinderOptions& = {});

    double next_learning_rate() const;                              // for the next step
    bool add(double loss);                                          // of that step; false: the test has ended
    const std::vector<LrPoint>& points() const { return points_; }  // finite ones only

    // Errors (usage): fewer than 20 finite points, with the reason and what to change.
    LrSuggestion suggest() const;

private:
    LrFinderOptions options_;
    std::vector<LrPoint> points_;
    double average_ = 0, best_ = 0;
    bool over_ = false;
};
