// What tests of .cu kernels share: arrays in the device memory of simt, numbers rounded to a storage type, comparison.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/simt/runtime.h"
#include "kernels/types.h"

template <class T>
class DeviceArray {
public:
    explicit DeviceArray(size_t count) : count_(count), memory_(simt::device_malloc(std::max<size_t>(1, count) * sizeof(T))) {}
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        if (count_) simt::copy(memory_, values.data(), count_ * sizeof(T));
    }
    DeviceArray(const DeviceArray&) = delete;
    ~DeviceArray() { simt::device_free(memory_); }

    T* data() const { return static_cast<T*>(memory_); }
    std::vector<T> values() const {
        std::vector<T> to(count_);
        if (count_) simt::copy(to.data(), memory_, count_ * sizeof(T));
        return to;
    }

private:
    size_t count_;
    void* memory_;
};

template <class T>
std::vector<T> rounded_to(const std::vector<float>& values) {
    std::vector<T> to(values.size());
    for (size_t i = 0; i < values.size(); ++i) to[i] = T(values[i]);
    return to;
}

template <class T>
std::vector<float> widened(const std::vector<T>& values) {
    std::vector<float> to(values.size());
    for (size_t i = 0; i < values.size(); ++i) to[i] = float(values[i]);
    return to;
}

// Normal numbers that T holds exactly.
template <class T>
std::vector<float> random_values(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = float(T(normal(generator)));
    return values;
}

// Half a unit in the last place of T, relative: what storing a result costs.
template <class T>
constexpr double rounding = sizeof(T) == 4 ? 6e-8 : 0.0;
template <>
inline constexpr double rounding<bf16> = 1.0 / 256;
template <>
inline constexpr double rounding<fp16> = 1.0 / 2048;

// `sum_error` is relative to the largest expected value: the order of summation differs.
template <class T>
void expect_near_all(const std::vector<float>& got, const std::vector<float>& want, double sum_error) {
    ASSERT_EQ(got.size(), want.size());
    double largest = 0;
    for (const float value : want) largest = std::max(largest, std::fabs(double(value)));
    for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], rounding<T> * std::fabs(want[i]) + sum_error * largest) << "at " << i;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Runs `result` (which allocates, computes and reads back) under five orders of threads and blocks; all give these bits.
template <class Result>
auto under_all_schedules(const Result& result) {
    auto first = result();
    simt::for_each_schedule(3, [&] { EXPECT_TRUE(same_bits(result(), first)) << "depends on the order of threads"; });
    return first;
}
