// One-cycle curves against PyTorch's, fastai's and Smith's, step by step.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "train/schedule.h"

namespace {

using nlohmann::json;

json golden_cases() {
    const char* folder = std::getenv("TUNDRA_GOLDEN");
    std::ifstream file(std::string(folder ? folder : TUNDRA_TESTS "/golden") + "/schedules/onecycle.json");
    return file ? json::parse(file).at("schedules") : json::array();
}

// Why the case cannot be run, or nothing.
std::optional<std::string> unknown_argument(const json& arguments, const std::set<std::string>& known) {
    for (const auto& [key, value] : arguments.items())
        if (!known.contains(key)) return "argument " + key + " is not supported";
    return std::nullopt;
}

struct Reading {
    std::optional<ScheduleOptions> options;
    std::string refusal;
};

Reading read_torch(const json& c) {
    const json& a = c.at("args");
    static const std::set<std::string> known = {"max_lr",      "total_steps",     "epochs",        "steps_per_epoch",
                                                "pct_start",   "anneal_strategy", "div_factor",    "final_div_factor",
                                                "three_phase", "cycle_momentum",  "base_momentum", "max_momentum"};
    if (auto refusal = unknown_argument(a, known)) return {{}, *refusal};
    double div_factor = a.value("div_factor", 25.0);
    return {ScheduleOptions{.curve = Curve::torch,
                            .learning_rate = a.at("max_lr"),
                            .div_factor = div_factor,
                            .final_div = div_factor * a.value("final_div_factor", 1e4),
                            .warmup_fraction = a.value("pct_start", 0.3),
                            .cosine = a.value("anneal_strategy", "cos") == "cos",
                            .three_phase = a.value("three_phase", false),
                            .cycle_momentum = a.value("cycle_momentum", true),
                            .momentum_high = a.value("max_momentum", 0.95),
                            .momentum_low = a.value("base_momentum", 0.85)},
            ""};
}

Reading read_fastai(const json& c) {
    const json& a = c.at("args");
    if (auto refusal = unknown_argument(a, {"lr_max", "div", "div_final", "pct_start", "moms"})) return {{}, *refusal};
    std::vector<double> momentum = a.value("moms", std::vector{0.95, 0.85, 0.95});
    if (momentum.size() != 3 || momentum[0] != momentum[2]) return {{}, "momentum does not return to where it started"};
    return {ScheduleOptions{.curve = Curve::fastai,
                            .learning_rate = a.at("lr_max"),
                            .div_factor = a.value("div", 25.0),
                            .final_div = a.value("div_final", 1e5),
                            .warmup_fraction = a.value("pct_start", 0.25),
                            .momentum_high = momentum[0],
                            .momentum_low = momentum[1]},
            ""};
}

Reading read_smith(const json& c) {
    const json& a = c.at("args");
    static const std::set<std::string> known = {"lr_min",     "lr_max",        "lr_end",      "up_steps",
                                                "down_steps", "momentum_high", "momentum_low"};
    if (auto refusal = unknown_argument(a, known)) return {{}, *refusal};
    if (a.at("up_steps") != a.at("down_steps")) return {{}, "legs of different length"};
    double peak = a.at("lr_max"), legs = a.at("up_steps").get<double>() + 0.5, total = c.at("total_steps");
    return {ScheduleOptions{.curve = Curve::smith,
                            .learning_rate = peak,
                            .div_factor = peak / a.at("lr_min").get<double>(),
                            .final_div = peak / a.at("lr_end").get<double>(),
                            .warmup_fraction = legs / total,
                            .momentum_high = a.value("momentum_high", 0.95),
                            .momentum_low = a.value("momentum_low", 0.85)},
            ""};
}

Reading read(const json& c) {
    std::string generator = c.value("generator", "");
    if (generator == "torch OneCycleLR") return read_torch(c);
    if (generator.starts_with("fastai fit_one_cycle")) return read_fastai(c);
    if (generator.find("Smith 2018, 1cycle") != std::string::npos) return read_smith(c);
    return {{}, "not a one-cycle schedule: " + generator};
}

void expect_close(double value, double expected, const std::string& what) {
    EXPECT_LE(std::abs(value - expected), 1e-10 * std::abs(expected)) << what << ": " << value << " for " << expected;
}

TEST(GoldenSchedules, CurvesAgree) {
    int ran = 0, refused = 0;
    for (const json& c : golden_cases()) {
        std::string title = c.value("title", "untitled");
        Reading reading = read(c);
        if (!reading.options) {
            std::printf("refused %s: %s\n", title.c_str(), reading.refusal.c_str());
            refused++;
            continue;
        }
        size_t total = c.at("total_steps");
        std::vector<double> rate = c.at("lr"), momentum = c.value("momentum", std::vector<double>{});
        ASSERT_EQ(rate.size(), total) << title;
        // Where it is not cycled it belongs to the optimizer, which the file does not describe.
        if (!reading.options->cycle_momentum && !momentum.empty()) reading.options->momentum = momentum[0];
        Schedule schedule(*reading.options, total);
        for (size_t i = 0; i < total; i++) {
            ScheduleValue value = schedule.at(i);
            expect_close(value.learning_rate, rate[i], title + ", rate of step " + std::to_string(i));
            if (!momentum.empty())
                expect_close(value.momentum, momentum.at(i), title + ", momentum of step " + std::to_string(i));
        }
        ran++;
    }
    std::printf("%d curves checked, %d refused\n", ran, refused);
    EXPECT_GT(ran, 0) << "no case found";
}

TEST(GoldenSchedules, TriangleOfThePaper) {
    // 1e-6 + (1e-3 - 1e-6) * (1 - |i / (n/2) - 1|) with i counted from 1; n = 8.
    Schedule schedule(schedule_preset("triangle", 1e-3), 8);
    const double expected[] = {0.00025075, 0.0005005, 0.00075025, 0.001, 0.00075025, 0.0005005, 0.00025075, 1e-6};
    for (size_t i = 0; i < 8; i++) {
        expect_close(schedule.at(i).learning_rate, expected[i], "step " + std::to_string(i));
        EXPECT_EQ(schedule.at(i).momentum, 0.9);
    }
    // An odd count has its peak between two steps.
    Schedule odd(schedule_preset("triangle", 1e-3), 5);
    expect_close(odd.at(1).learning_rate, 1e-6 + 0.000999 * 0.8, "step 1 of 5");
    expect_close(odd.at(2).learning_rate, 1e-6 + 0.000999 * 0.8, "step 2 of 5");
}

TEST(GoldenSchedules, PresetsHoldTheNumbersOfTheirSource) {
    ScheduleOptions torch = schedule_preset("torch", 1), smith = schedule_preset("smith", 1),
                    fastai = schedule_preset("fastai", 1);
    EXPECT_EQ(Schedule(torch, 100).knots()[1].position, 29);
    expect_close(Schedule(torch, 100).at(99).learning_rate, 4e-6, "torch ends at start / 1e4");
    expect_close(Schedule(fastai, 80).at(20).learning_rate, 1, "fastai peaks at a quarter");
    expect_close(Schedule(fastai, 80).knots().back().learning_rate, 1e-5, "fastai ends at peak / 1e5");
    // 55 epochs: 24 up, 24 down, a tail of 7.
    EXPECT_EQ(Schedule(smith, 55).knots()[1].position, 24);
    EXPECT_EQ(Schedule(smith, 55).knots()[2].position, 48);
    expect_close(Schedule(smith, 55).at(54).learning_rate, 1e-3, "smith ends far below its start");
}

TEST(GoldenSchedules, RunsOfAFewStepsStayFiniteAndPositive) {
    for (std::string_view preset : {"triangle", "torch", "smith", "fastai"})
        for (size_t total = 1; total <= 12; total++) {
            Schedule schedule(schedule_preset(preset, 0.1), total);
            for (size_t step = 0; step < total; step++) {
                ScheduleValue value = schedule.at(step);
                EXPECT_TRUE(value.learning_rate > 0 && value.learning_rate <= 0.1 * (1 + 1e-12))
                    << preset << " " << step << " of " << total;
                EXPECT_TRUE(value.momentum > 0.8 && value.momentum < 0.96) << preset << " " << step << " of " << total;
            }
        }
}

TEST(GoldenSchedules, RefusesNumbersThatMakeNoCurve) {
    EXPECT_THROW(schedule_preset("cosine", 1), Error);
    EXPECT_THROW(Schedule(schedule_preset("torch", 0), 10), Error);
    EXPECT_THROW(Schedule(schedule_preset("torch", NAN), 10), Error);
    EXPECT_THROW(Schedule(schedule_preset("torch", 1), 0), Error);
    EXPECT_THROW(Schedule({.warmup_fraction = 1.5}, 10), Error);
    EXPECT_THROW(Schedule({.div_factor = 0}, 10), Error);
    EXPECT_THROW(Schedule({.warmup_fraction = 0.6, .three_phase = true}, 10), Error);
    EXPECT_THROW(Schedule({.momentum_high = 1}, 10), Error);
    EXPECT_THROW(Schedule(schedule_preset("torch", 1), 10).at(10), Error);
}

}  // namespace
