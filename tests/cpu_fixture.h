// Shared by the tests of the CPU device: numbers, a device with scratch memory full of NaN, and a comparison.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/device.h"

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

inline Floats random_floats(size_t count, unsigned seed, float mean = 0, float deviation = 1) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> distribution(mean, deviation);
    Floats values(count);
    for (float& value : values) value = distribution(generator);
    return values;
}

// For results: elements that are not written stay NaN.
inline Floats unwritten(size_t count) { return Floats(count, std::numeric_limits<float>::quiet_NaN()); }

struct CpuDevice : Cpu {
    std::vector<double> memory;

    explicit CpuDevice(int thread_count = 2, size_t bytes = 64 << 20)
        : memory(bytes / sizeof(double), std::numeric_limits<double>::quiet_NaN()) {
        threads = thread_count;
        scratch = {memory.data(), memory.size() * sizeof(double)};
    }
};

// Every element within `tolerance` of the largest one expected.
template <class Values>
void expect_close(const Values& expected, const Floats& result, double tolerance, const char* what = "") {
    ASSERT_EQ(expected.size(), result.size()) << what;
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::fabs(value));
    for (size_t i = 0; i < result.size(); ++i)
        ASSERT_LE(std::fabs(double(expected[i]) - double(result[i])), tolerance * largest)
            << what << "[" << i << "]: expected " << expected[i] << ", got " << result[i];
}
