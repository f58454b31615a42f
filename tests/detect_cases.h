// Predictions for tests of SelectBoxes: random boxes with many overlaps and ties, and the exact edges of its rules.
#pragma once

#include <random>
#include <vector>

#include "kernels/detect.h"

struct SelectCase {
    size_t n, rows, classes;
    float threshold, overlap;
    size_t most;
    std::vector<float> boxes;
};

// Scores come in steps of 1/16, so that many are equal; half of the rows are below the threshold.
inline SelectCase random_select_case(size_t n, size_t rows, size_t classes, unsigned seed) {
    std::mt19937 generator(seed);
    const auto uniform = [&](int below) { return float(generator() % unsigned(below)); };
    SelectCase c{n, rows, classes, 0.2f, 0.45f, 20, {}};
    for (size_t i = 0; i < n * rows; ++i) {
        for (const float value :
             {uniform(40), uniform(40), 5 + uniform(20) * 1.37f, 5 + uniform(20) * 1.21f, uniform(17) / 16})
            c.boxes.push_back(value);
        for (size_t k = 0; k < classes; ++k) c.boxes.push_back(uniform(17) / 16);
    }
    return c;
}
