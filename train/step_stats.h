// The results of a training step: one struct from the kernels' values to log, table and terminal.
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// "correct", "train_loss", "validation_map50", ...; NaN if undefined.
using NamedNumbers = std::vector<std::pair<std::string, double>>;

// Of one step, or after add() of several.
struct StepStats {
    double loss = 0;          // classify: cross entropy, mean over the images; detect: box + objectness + class
    NamedNumbers parts = {};  // by name: counts (classify: correct) or terms of the loss (detect)
    size_t steps = 0;         // whose loss and gradients were finite: only they count in loss and parts
    float loss_scale = 1, skipped_steps = 0;  // current scale; steps skipped since the start of the run

    // Filled in by the run:
    size_t images = 0;               // readable ones, without repetitions that fill the batch
    double seconds = 0, waited = 0;  // waited: for sums over ranks that nothing hid
    double learning_rate = 0, momentum = 0;

    double mean(double sum) const { return steps ? sum / double(steps) : std::nan(""); }
    double part(std::string_view name) const {  // NaN without one of that name
        for (const auto& [key, value] : parts)
            if (key == name) return value;
        return std::nan("");
    }

    // `lost`: the step had no finite loss or gradients, so that only its images and time count.
    void add(const StepStats& step, bool lost) {
        images += step.images, seconds += step.seconds, waited += step.waited;
        if (lost) return;
        ++steps;
        loss += step.loss;
        if (parts.empty())
            parts = step.parts;
        else
            for (size_t i = 0; i < parts.size(); ++i) parts[i].second += step.parts[i].second;
    }
};
