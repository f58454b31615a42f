// docs/one-cycle.svg shows what train/schedule.cpp computes. TUNDRA_WRITE_DOCS=1 writes the file instead of comparing.
// No time.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "train/schedule.h"

namespace {

constexpr size_t kSteps = 400;
constexpr double kWidth = 330, kHeight = 150, kLeft = 60, kTop = 34, kRight = 60, kBottom = 46;
constexpr const char* kRateColour = "#1b6e53";
constexpr const char* kMomentumColour = "#b4654a";

std::string points(const Schedule& schedule, double ScheduleValue::*field, double low, double high) {
    std::string text;
    for (size_t step = 0; step < kSteps; ++step)
        text += fmt::format("{:.1f},{:.1f} ", kWidth * double(step) / double(kSteps - 1),
                            kHeight * (high - schedule.at(step).*field) / (high - low));
    text.pop_back();
    return text;
}

// One curve: learning rate (left axis, solid) and momentum (right axis, dashed) over the steps of a run.
std::string panel(const char* name, double x, double y) {
    const ScheduleOptions options = schedule_preset(name, 0.1);
    const Schedule schedule(options, kSteps);
    std::string svg = fmt::format("<g transform=\"translate({},{})\">\n", x + kLeft, y + kTop);
    svg += fmt::format("<text x=\"0\" y=\"-14\" font-weight=\"bold\">{}</text>\n", name);
    svg += fmt::format("<rect width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#c8ccd0\"/>\n", kWidth, kHeight);
    for (const double t : {0.0, 0.5, 1.0}) {
        const double at = kHeight * (1 - t);
        svg += fmt::format("<text x=\"-6\" y=\"{:.1f}\" text-anchor=\"end\" fill=\"{}\">{:.2f}</text>\n", at + 4,
                           kRateColour, t * options.learning_rate);
        svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" fill=\"{}\">{:.2f}</text>\n", kWidth + 6, at + 4,
                           kMomentumColour, 0.8 + 0.2 * t);
        svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n", kWidth * t,
                           kHeight + 16, t * kSteps);
    }
    svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>\n", kRateColour,
                       points(schedule, &ScheduleValue::learning_rate, 0, options.learning_rate));
    svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-dasharray=\"5 3\" points=\"{}\"/>\n</g>\n",
                       kMomentumColour, points(schedule, &ScheduleValue::momentum, 0.8, 1.0));
    return svg;
}

std::string plot() {
    const double w = kLeft + kWidth + kRight, h = kTop + kHeight + kBottom;
    std::string svg = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        2 * w, 2 * h + 24);
    svg += panel("torch", 0, 0) + panel("fastai", w, 0) + panel("smith", 0, h) + panel("triangle", w, h);
    svg += fmt::format(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\"><tspan fill=\"{}\">learning rate (solid, left)</tspan> and "
        "<tspan fill=\"{}\">momentum (dashed, right)</tspan> over {} steps, peak 0.1</text>\n</svg>\n",
        w, 2 * h + 10, kRateColour, kMomentumColour, kSteps);
    return svg;
}

TEST(SchedulePlot, DocsShowWhatTheScheduleComputes) {
    const std::string path = TUNDRA_TESTS "/../docs/one-cycle.svg", now = plot();
    if (std::getenv("TUNDRA_WRITE_DOCS")) std::ofstream(path) << now;
    std::stringstream stored;
    stored << std::ifstream(path).rdbuf();
    EXPECT_TRUE(stored.str() == now) << path << " is not what this test draws; TUNDRA_WRITE_DOCS=1 writes it";
}

}  // namespace
