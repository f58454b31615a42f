// virtual_gpu/simt finds every planted bug that this build can find, and stays silent on right kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "tests/emulator_kernels.h"
#include "virtual_gpu/simt/runtime.h"

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

template <class T>
class Device {
public:
    explicit Device(const std::vector<T>& values) : count_(values.size()) {
        data_ = static_cast<T*>(simt::device_malloc(count_ * sizeof(T)));
        simt::copy(data_, values.data(), count_ * sizeof(T));
    }
    explicit Device(size_t count) : count_(count), data_(static_cast<T*>(simt::device_malloc(count * sizeof(T)))) {}
    ~Device() { simt::device_free(data_); }
    Device(const Device&) = delete;
    T* data() const { return data_; }
    std::vector<T> read() const {
        std::vector<T> values(count_);
        simt::copy(values.data(), data_, count_ * sizeof(T));
        return values;
    }

private:
    size_t count_;
    T* data_ = nullptr;
};

constexpr size_t kCount = 256;

std::vector<float> input() {
    std::vector<float> values(kCount);
    for (size_t i = 0; i < kCount; ++i) values[i] = float(i * 7 % 97);
    return values;
}

std::vector<float> run(const std::string& name, int n) {
    const Device<float> in(input()), out(std::vector<float>(kCount, 0.0f));
    run_kernel(name, out.data(), in.data(), n);
    return out.read();
}

std::string error_of(const std::string& name, int n) {
    try {
        run(name, n);
    } catch (const simt::Error& error) {
        return error.what();
    }
    return {};
}

struct Outcome {
    std::set<std::vector<uint32_t>> results;  // bits, so that NaN counts
    bool nan = false;
};
Outcome run_under_all_orders(const std::string& name, int n) {
    Outcome outcome;
    simt::for_each_schedule(8, [&] {
        const std::vector<float> values = run(name, n);
        std::vector<uint32_t> bits(values.size());
        std::memcpy(bits.data(), values.data(), values.size() * 4);
        outcome.results.insert(bits);
        for (float value : values) outcome.nan |= std::isnan(value);
    });
    return outcome;
}

// "emulator_kernels.cu:LINE" of the comment `bug: name`.
std::string line_of(const std::string& name) {
    std::ifstream file(TUNDRA_TESTS "/emulator_kernels.cu");
    std::string line;
    for (int number = 1; std::getline(file, line); ++number)
        if (line.ends_with("// bug: " + name)) return "emulator_kernels.cu:" + std::to_string(number);
    ADD_FAILURE() << "no line is marked 'bug: " << name << "'";
    return {};
}

// Whole numbers only: line 12 is not found in line 123.
bool names_line(const std::string& message, const std::string& line) {
    const size_t at = message.find(line);
    return at != std::string::npos && !std::isdigit(static_cast<unsigned char>(message[at + line.size()]));
}

std::string case_name(const testing::TestParamInfo<const char*>& info) { return info.param; }

class Right : public testing::TestWithParam<const char*> {};
TEST_P(Right, GivesOneResultInAllOrders) {
    const Outcome outcome = run_under_all_orders(GetParam(), 64);
    EXPECT_EQ(outcome.results.size(), 1u);
    EXPECT_FALSE(outcome.nan);
}
INSTANTIATE_TEST_SUITE_P(Simt, Right,
                         testing::Values("neighbour", "loop", "pairs", "half_warps", "all_read_then_one_writes",
                                         "atomic_histogram", "copies"),
                         case_name);

class Unordered : public testing::TestWithParam<const char*> {};
TEST_P(Unordered, IsSeenInTheResults) {
    if (simt::race_checked()) GTEST_SKIP() << "the checker throws first";
    const Outcome outcome = run_under_all_orders(GetParam(), 64);
    EXPECT_TRUE(outcome.results.size() > 1 || outcome.nan);
}
TEST_P(Unordered, IsReportedByTheRaceChecker) {
    if (!simt::race_checked()) GTEST_SKIP() << "needs -DTUNDRA_RACE=ON";
    const std::string error = error_of(GetParam(), 64);
    EXPECT_NE(error.find("data race"), std::string::npos) << error;
    EXPECT_TRUE(names_line(error, line_of(GetParam()))) << error;
}
INSTANTIATE_TEST_SUITE_P(Simt, Unordered,
                         testing::Values("missing_barrier", "missing_second_barrier", "missing_syncwarp",
                                         "across_half_warps", "one_writes_while_all_read", "other_block",
                                         "atomic_then_plain"),
                         case_name);

TEST(Simt, ReadModifyWriteIsSeenByTheRaceCheckerOnly) {
    if (!simt::race_checked()) GTEST_SKIP() << "needs -DTUNDRA_RACE=ON";
    const std::string error = error_of("plain_histogram", 0);
    EXPECT_TRUE(names_line(error, line_of("plain_histogram")) && error.find("data race") != std::string::npos) << error;
}

TEST(Simt, UninitialisedSharedMemoryIsSeen) {
    if (simt::race_checked()) {
        const std::string error = error_of("uninitialised_shared", 0);
        EXPECT_NE(error.find("uninitialised read"), std::string::npos) << error;
        EXPECT_TRUE(names_line(error, line_of("uninitialised_shared"))) << error;
    } else {
        for (float value : run("uninitialised_shared", 0)) EXPECT_TRUE(std::isnan(value));
    }
}

TEST(Simt, UninitialisedDeviceMemoryIsSeen) {
    const Device<float> in(kCount), out(kCount);
    if (simt::race_checked()) {
        EXPECT_THROW(run_kernel("copies", out.data(), in.data(), 0), simt::Error);
    } else {
        run_kernel("copies", out.data(), in.data(), 0);
        EXPECT_TRUE(std::isnan(out.read()[63]));
    }
}

// Legal CUDA, but ordered by an atomic only, which the checker does not follow: README.md says what to do instead.
TEST(Simt, LastBlockPatternRunsAndIsAFalseAlarm) {
    std::vector<float> zeros(kCount, 0.0f);
    const Device<float> in(input()), out(zeros);
    if (simt::race_checked()) {
        EXPECT_THROW(run_kernel("last_block", out.data(), in.data(), 0), simt::Error);
    } else {
        run_kernel("last_block", out.data(), in.data(), 0);
        EXPECT_EQ(out.read()[4], 0.0f + 7 + 14 + 21);
    }
}

class DoesNotMeet : public testing::TestWithParam<const char*> {};
TEST_P(DoesNotMeet, IsAnErrorWithTheLineInAllOrders) {
    simt::for_each_schedule(5, [] {
        const std::string error = error_of(GetParam(), 40);
        EXPECT_TRUE(names_line(error, line_of(GetParam()))) << error;
    });
}
INSTANTIATE_TEST_SUITE_P(Simt, DoesNotMeet,
                         testing::Values("two_barriers", "early_return", "uneven_loop", "absent_lanes", "returned_lane",
                                         "different_masks", "not_in_own_mask", "barrier_against_shuffle", "trapped",
                                         "no_dynamic_shared", "too_much_static_shared"),
                         case_name);

TEST(Simt, ReturningBeforeABarrierCanBeAllowed) {
    simt::config().allow_exit_before_barrier = true;
    const std::vector<float> out = run("early_return", 40);
    simt::config().allow_exit_before_barrier = false;
    EXPECT_EQ(out[39], 1.0f);
    EXPECT_EQ(out[40], 0.0f);
}

TEST(Simt, WorksAfterAnError) {
    for (int round = 0; round < 3; ++round) {
        EXPECT_THROW(run("two_barriers", 0), simt::Error);
        EXPECT_THROW(run("absent_lanes", 0), simt::Error);
        EXPECT_EQ(run("neighbour", 0)[1], 0.0f);
        EXPECT_EQ(run("neighbour", 0)[2], 7.0f);
    }
}

class WrongAddress : public testing::TestWithParam<const char*> {};
TEST_P(WrongAddress, StopsTheSanitizedBuild) {
    if (!kSanitized) GTEST_SKIP() << "needs -DTUNDRA_SANITIZE=ON";
    EXPECT_DEATH(run(GetParam(), int(kCount)), line_of(GetParam()));
}
TEST_P(WrongAddress, IsReportedByTheRaceChecker) {
    if (!simt::race_checked()) GTEST_SKIP() << "needs -DTUNDRA_RACE=ON";
    if (GetParam() == std::string("far_beyond")) GTEST_SKIP() << "may be another allocation";
    const std::string error = error_of(GetParam(), int(kCount));
    EXPECT_NE(error.find("outside of device memory"), std::string::npos) << error;
    EXPECT_TRUE(names_line(error, line_of(GetParam()))) << error;
}
INSTANTIATE_TEST_SUITE_P(Simt, WrongAddress,
                         testing::Values("beyond_by_one", "read_beyond_shared", "write_beyond_shared",
                                         "beyond_dynamic_shared"),
                         case_name);

TEST(Simt, AWriteNextToASharedArrayIsSeenInEveryBuild) {
    if (kSanitized) GTEST_SKIP() << "AddressSanitizer stops the write itself";
    const std::string error = error_of("write_beyond_shared", 0);
    EXPECT_NE(error.find("emulator_kernels.cu:"), std::string::npos) << error;
}

TEST(Simt, OnlyTheSanitizedBuildSeesLocalArraysAndAlignment) {
    if (!kSanitized) GTEST_SKIP() << "needs -DTUNDRA_SANITIZE=ON";
    EXPECT_DEATH(run("beyond_local", 4), line_of("beyond_local"));
    EXPECT_DEATH(run("misaligned", 0), line_of("misaligned"));
    EXPECT_DEATH(run("far_beyond", int(kCount)), line_of("far_beyond"));
}

TEST(Simt, TheHostCannotTouchDeviceMemory) {
    const Device<float> in(input());
    EXPECT_DEATH(std::printf("%g", double(in.data()[3])), kSanitized ? "SEGV" : "");
    EXPECT_DEATH(in.data()[3] = 1.0f, kSanitized ? "SEGV" : "");
}

TEST(Simt, AKernelCannotTouchHostMemory) {
    if (!simt::race_checked()) GTEST_SKIP() << "needs -DTUNDRA_RACE=ON";
    const Device<float> out(kCount);
    const std::vector<float> host = input();
    try {
        run_kernel("copies", out.data(), host.data(), 0);
        FAIL();
    } catch (const simt::Error& error) {
        EXPECT_TRUE(names_line(error.what(), line_of("copies"))) << error.what();
    }
}

TEST(Simt, GapsBetweenValuesOfOneAllocationAreGuarded) {
    const Device<float> arena(std::vector<float>(kCount, 1.0f)), out(kCount);
    const auto copy_from = [&](size_t index) { run_kernel("copies", out.data(), arena.data() + index, 0); };
    simt::poison(arena.data() + 64, 64 * sizeof(float));
    EXPECT_NO_THROW(copy_from(0));
    if (kSanitized) {
        EXPECT_DEATH(copy_from(1), line_of("copies"));
    } else if (simt::race_checked()) {
        EXPECT_THROW(copy_from(1), simt::Error);
    }
    simt::unpoison(arena.data() + 64, 64 * sizeof(float));
    if (simt::race_checked()) {
        EXPECT_THROW(copy_from(1), simt::Error) << "what was there is forgotten";
    } else {
        EXPECT_NO_THROW(copy_from(1));
    }
}

TEST(Simt, LaunchesAreChecked) {
    EXPECT_THROW(launch_shape(1, 0, 0, 80), simt::Error);
    EXPECT_THROW(launch_shape(1, 1025, 0, 80), simt::Error);
    EXPECT_THROW(launch_shape(0, 32, 0, 80), simt::Error);
    EXPECT_NO_THROW(launch_shape(1, 1024, 163 << 10, 80));
    EXPECT_THROW(launch_shape(1, 32, (163 << 10) + 1, 80), simt::Error);
    EXPECT_NO_THROW(launch_shape(1, 32, 227 << 10, 90));
    EXPECT_THROW(launch_shape(1, 32, (227 << 10) + 1, 90), simt::Error);
    int host = 0;
    EXPECT_THROW(simt::device_free(&host), simt::Error);
}

TEST(Simt, CoordinatesCoverTheGrid) {
    simt::for_each_schedule(2, [] {
        const Device<unsigned> out(6 * 30);
        coordinates(out.data(), 3, 2, 5, 3, 2);
        const std::vector<unsigned> got = out.read();
        for (unsigned i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], i / 30 * 1000 + i % 30);
    });
}

TEST(Simt, WarpFunctions) {
    simt::for_each_schedule(3, [] {
        const Device<int> out(64 * 12);
        warp_functions(out.data(), 64);
        const std::vector<int> got = out.read();
        for (int t = 0; t < 64; ++t) {
            const int lane = t % 32, warp = t - lane;
            const int down = lane % 16 < 15 ? t + 1 : t, up = lane >= 2 ? t - 2 : t;
            const int want[] = {warp + 3, warp + lane / 8 * 8 + 1, t ^ 1, down, up, int(0xaaaaaaaau), 1, 0, 1, 0, t ^ 1,
                                t ^ 1};
            for (int k = 0; k < 12; ++k) EXPECT_EQ(got[size_t(t * 12 + k)], want[k]) << "thread " << t << " row " << k;
        }
    });
}

TEST(Simt, AWarpMayBePartial) {  // 40 threads: lanes 8 to 31 of the second warp do not exist
    const Device<int> out(40 * 12);
    EXPECT_THROW(warp_functions(out.data(), 40), simt::Error);  // reads from lane 9 of it
    const Device<int> votes(3);
    count_votes(votes.data(), 41);
    EXPECT_EQ(votes.read(), (std::vector<int>{20, 1, 0}));
}

TEST(Simt, Atomics) {
    simt::for_each_schedule(3, [] {
        const Device<int> integers(std::vector<int>{0, 0, 0, 0, -1, 0, 0, 0});
        const Device<float> floats(std::vector<float>{0});
        atomics(integers.data(), floats.data(), 3);
        EXPECT_EQ(integers.read(), (std::vector<int>{192, 191, -191, -1, -256, 0, 5, 9}));
        EXPECT_EQ(floats.read()[0], 96.0f);
    });
}

TEST(Simt, NeighbouringBytesAreNotARace) {
    const Device<unsigned char> out(8192);
    bytes_apart(out.data(), 8192);
    EXPECT_EQ(out.read()[8191], 8191 % 251);
}

TEST(Simt, WithoutBarriersABlockNeedsOneFiber) {
    launch_shape(1, 256, 0, 80);
    const uint64_t before = simt::stats().switches;
    launch_shape(10, 256, 0, 80);
    EXPECT_EQ(simt::stats().switches - before, 20u);
}

TEST(Simt, HostThreadsLaunchAtOnce) {
    const auto work = [] {
        for (int i = 0; i < 20; ++i) {
            EXPECT_EQ(run("neighbour", 0)[2], 7.0f);
            EXPECT_EQ(run("pairs", 0)[0], 7.0f);
        }
    };
    std::thread one(work), two(work);
    one.join();
    two.join();
}

TEST(Simt, TheOrderComesFromTheEnvironment) {
    const auto config_under = [](const char* value) {
        setenv("SIMT_ORDER", value, 1);
        simt::Config config;
        std::thread([&] { config = simt::config(); }).join();
        unsetenv("SIMT_ORDER");
        return config;
    };
    EXPECT_EQ(config_under("in_order").order, simt::Order::in_order);
    EXPECT_EQ(config_under("reverse").order, simt::Order::reverse);
    EXPECT_EQ(config_under("shuffle:77").order, simt::Order::shuffle);
    EXPECT_EQ(config_under("shuffle:77").seed, 77u);
}

}  // namespace
