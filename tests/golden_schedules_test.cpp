// One-cycle curves against PyTorch's, fastai's and Smith's, step by step.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <set>

#include "tests/golden.h"
#include "train/schedule.h"

namespace {

using nlohmann::json;

json golden_cases() { return golden_json(golden_folder("schedules") / "onecycle.json").at("schedules"); }

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

void check_case(const json& c, ScheduleOptions options) {
    const size_t total = c.at("total_steps");
    const std::vector<double> rate = c.at("lr"), momentum = c.value("momentum", std::vector<double>{});
    ASSERT_EQ(rate.size(), total);
    // Where it is not cycled it belongs to the optimizer, which the file does not describe.
    if (!options.cycle_momentum && !momentum.empty()) options.momentum = momentum[0];
    const Schedule schedule(options, total);
    for (size_t i = 0; i < total; i++) {
        const ScheduleValue value = schedule.at(i);
        expect_close(value.learning_rate, rate[i], "rate of step " + std::to_string(i));
        if (!momentum.empty()) expect_close(value.momentum, momentum.at(i), "momentum of step " + std::to_string(i));
    }
}

TEST(GoldenSchedules, CurvesAgree) {
    GoldenCount count;
    for (const json& c : golden_cases())
        golden_case(c.value("title", "untitled"), c, count, [&] {
            const Reading reading = read(c);
            if (!reading.options) return count.refuse(reading.refusal);
            check_case(c, *reading.options);
            count.check();
        });
}

// Six steps of torch 2.15, torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, pct_start=...).
TEST(GoldenSchedules, RiseOfNothingAndOfEverything) {
    struct Case {
        ScheduleOptions options;
        std::vector<double> rate, momentum;
        std::string text;
    };
    const Case cases[] = {
        {{.warmup_fraction = 0},
         {0.09330129698414119, 0.0750001, 0.0500002, 0.025000300000000013, 0.006699103015858823, 4e-07},
         {0.856698729810778, 0.875, 0.8999999999999999, 0.9249999999999999, 0.9433012701892219, 0.95},
         "torch, 6 steps: learning rate 0.0933 -> 4e-07 at 5; momentum 0.8567 -> 0.95"},
        {{.warmup_fraction = 1},
         {0.0040000000000000036, 0.013167184270002533, 0.037167184270002526, 0.06683281572999747, 0.09083281572999748,
          0.1},
         {0.95, 0.9404508497187474, 0.9154508497187474, 0.8845491502812526, 0.8595491502812526, 0.85},
         "torch, 6 steps: learning rate 0.004 -> 0.1 at 5; momentum 0.95 -> 0.85"},
        {{.warmup_fraction = 0, .cosine = false},
         {0.0833334, 0.0666668, 0.0500002, 0.033333600000000005, 0.016667, 3.999999999976245e-07},
         {0.8666666666666667, 0.8833333333333333, 0.8999999999999999, 0.9166666666666666, 0.9333333333333333, 0.95},
         "torch, 6 steps: learning rate 0.08333 -> 4e-07 at 5; momentum 0.8667 -> 0.95"},
        {{.warmup_fraction = 1, .cosine = false},
         {0.004, 0.023200000000000002, 0.04240000000000001, 0.0616, 0.08080000000000001, 0.1},
         {0.95, 0.9299999999999999, 0.9099999999999999, 0.89, 0.87, 0.85},
         "torch, 6 steps: learning rate 0.004 -> 0.1 at 5; momentum 0.95 -> 0.85"},
        {{.warmup_fraction = 0, .three_phase = true},
         {0.0032470549057570953, 0.0024451973637258373, 0.0015552026362741626, 0.0007533450942429048,
          0.00019844245796874242, 4e-07},
         {0.95, 0.95, 0.95, 0.95, 0.95, 0.95},
         "torch, 6 steps: learning rate 0.003247 -> 4e-07 at 5; momentum 0.95"}};
    for (const Case& c : cases) {
        SCOPED_TRACE(c.text);
        const Schedule schedule(c.options, 6);
        for (size_t i = 0; i < 6; ++i) {
            EXPECT_NEAR(schedule.at(i).learning_rate, c.rate[i], 1e-12 * 0.1) << i;
            EXPECT_NEAR(schedule.at(i).momentum, c.momentum[i], 1e-12) << i;
        }
        EXPECT_EQ(schedule.describe(), c.text);
    }
}

TEST(GoldenSchedules, TextOfAFewSteps) {
    const auto text = [](size_t steps) { return Schedule({}, steps).describe(); };
    EXPECT_EQ(text(100),
              "torch, 100 steps: learning rate 0.004 -> 0.1 at 29 -> 4e-07 at 99; momentum 0.95 -> 0.85 -> 0.95");
    EXPECT_EQ(text(2), "torch, 2 steps: learning rate 0.08117 -> 4e-07 at 1; momentum 0.8688 -> 0.95");
    EXPECT_EQ(text(1), "torch, 1 steps: learning rate 4e-07; momentum 0.95");
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
