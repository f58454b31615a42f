// Shared by the tests of the CUDA kernels on `simt` and, in builds with nvcc, on `ptx`: arrays in device memory,
// numbers as a type would store them, and runs under several orders of threads.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <tuple>

#include "kernels/types.h"
#include "tests/cpu_fixture.h"
#include "tests/device_array.h"
#include "virtual_gpu/ptx/runtime.h"
#include "virtual_gpu/simt/runtime.h"

struct SimtDevice : Simt {
    using Handle = Simt;
    DeviceArray<char> memory;
    explicit SimtDevice(size_t bytes = 4 << 20) : memory(bytes) { scratch = {memory.get(), bytes}; }
};

// While it lives, what this thread launches on a Cuda device is executed from nvcc's PTX. Approximate instructions give
// results two units off: that is what the hardware may do.
struct PtxDevice : Cuda {
    using Handle = Cuda;
    DeviceArray<char> memory;
    ptx::Session session;
    explicit PtxDevice(size_t bytes = 4 << 20) : memory(bytes) {
        scratch = {memory.get(), bytes};
        ptx::config().off_by = 2;
    }
    ~PtxDevice() { ptx::config().off_by = 0; }
};

template <class T>
std::vector<T> stored(const Floats& values) {
    std::vector<T> result;
    for (const float value : values) result.push_back(T(value));
    return result;
}

template <class T>
Floats floats(const std::vector<T>& values) {
    Floats result;
    for (const T& value : values) result.push_back(float(value));
    return result;
}

// The numbers that T can hold: both sides of a comparison start from the same ones.
template <class T>
Floats representable(const Floats& values) {
    return floats(stored<T>(values));
}

// Half a unit in the last place of T, relative: the error of storing a result.
template <class T>
constexpr double rounding() {
    return std::is_same_v<T, bf16> ? 0x1p-8 : std::is_same_v<T, fp16> ? 0x1p-11 : 0;
}

// `result` was computed in float, within `tolerance` of the largest number expected, and then stored as T.
template <class T>
void expect_stored(const Floats& expected, const std::vector<T>& result, double tolerance, const std::string& what) {
    ASSERT_EQ(expected.size(), result.size()) << what;
    double largest = 0;
    for (const float value : expected) largest = std::max(largest, std::fabs(double(value)));
    const double subnormal = std::is_same_v<T, fp16> ? 0x1p-25 : 0;  // half a step of fp16 near 0
    for (size_t i = 0; i < result.size(); ++i) {
        const double want = expected[i], got = float(result[i]);
        ASSERT_LE(std::fabs(want - got),
                  (tolerance + 1e-7) * largest + 1.01 * rounding<T>() * std::fabs(want) + subnormal)
            << what << "[" << i << "]: expected " << want << ", got " << got;
    }
}

template <class... T>
bool same_bits(const std::tuple<std::vector<T>...>& a, const std::tuple<std::vector<T>...>& b) {
    const auto same = [](const auto& u, const auto& v) {
        return u.size() == v.size() && (u.empty() || std::memcmp(u.data(), v.data(), u.size() * sizeof u[0]) == 0);
    };
    return std::apply(
        [&](const auto&... u) { return std::apply([&](const auto&... v) { return (same(u, v) && ...); }, b); }, a);
}

// Runs body() in order, reversed and in three shuffles. It returns a tuple of arrays, which must have the same bits
// each time.
template <class Body>
auto in_every_order(const Body& body) {
    std::optional<decltype(body())> first;
    simt::for_each_schedule(3, [&] {
        auto result = body();
        if (!first)
            first = std::move(result);
        else
            EXPECT_TRUE(same_bits(*first, result)) << "the result depends on the order of the threads";
    });
    return *first;
}

// A device and a storage type.
template <class D, class T>
struct On {
    using Device = D;
    using Type = T;
};
#ifdef TUNDRA_HAS_CUDA
using Devices = testing::Types<SimtDevice, PtxDevice>;
using StorageTypes = testing::Types<On<SimtDevice, float>, On<SimtDevice, bf16>, On<SimtDevice, fp16>,
                                    On<PtxDevice, float>, On<PtxDevice, bf16>, On<PtxDevice, fp16>>;
#else
using Devices = testing::Types<SimtDevice>;
using StorageTypes = testing::Types<On<SimtDevice, float>, On<SimtDevice, bf16>, On<SimtDevice, fp16>>;
#endif

template <class Device>
class SimtDevices : public testing::Test {
protected:
    Device gpu;
    CpuDevice cpu{1};
};
TYPED_TEST_SUITE(SimtDevices, Devices);

template <class Param>
class SimtKernels : public SimtDevices<typename Param::Device> {};
TYPED_TEST_SUITE(SimtKernels, StorageTypes);
