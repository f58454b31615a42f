// Sums over an epoch.
#include "train/task.h"

#include <cmath>

void EpochSums::add(const std::optional<StepOutcome>& outcome, size_t step_pictures, double step_seconds) {
    pictures += step_pictures, seconds += step_seconds;
    if (!outcome) return;
    ++steps;
    loss += outcome->loss;
    parts.resize(outcome->parts.size());
    for (size_t i = 0; i < parts.size(); ++i) parts[i] += outcome->parts[i];
}

double EpochSums::mean(double sum) const { return steps ? sum / double(steps) : std::nan(""); }
