#include "app/report/lr_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace {

constexpr double kLeft = 60, kRight = 700, kTop = 30, kBottom = 360;

struct Axes {
    double first, last, low, high;  // rates, losses

    double x(double rate) const { return kLeft + (kRight - kLeft) * std::log(rate / first) / std::log(last / first); }
    double y(double loss) const {
        return kBottom - (kBottom - kTop) * (std::clamp(loss, low, high) - low) / (high - low);
    }
};

// What diverged at the end must not flatten the rest: up to the first loss and half of the fall above it.
Axes axes_of(const std::vector<LrPoint>& points) {
    double low = INFINITY;
    for (const LrPoint& p : points) low = std::min(low, p.smooth);
    const double start = points.front().smooth, margin = std::max(0.05 * std::abs(start), 0.5 * (start - low));
    return {points.front().learning_rate, points.back().learning_rate, low - 0.2 * margin, start + margin};
}

std::string polyline(const std::vector<LrPoint>& points, const Axes& axes, double LrPoint::*loss, const char* style) {
    std::string path;
    for (const LrPoint& p : points) path += fmt::format("{:.1f},{:.1f} ", axes.x(p.learning_rate), axes.y(p.*loss));
    return fmt::format("<polyline fill=\"none\" {} points=\"{}\"/>\n", style, path);
}

std::string marker(double rate, const char* name, int row, const Axes& axes) {
    const double x = axes.x(rate);
    const bool left = x > 0.7 * kRight;  // of the line, where the right has no room
    return fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#c2410c\" stroke-dasharray=\"4 3\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4}\" text-anchor=\"{5}\" fill=\"#c2410c\">{6} {7:.2g}</text>\n",
        x, kTop, kBottom, left ? x - 4 : x + 4, kTop + 14 + 16 * row, left ? "end" : "start", name, rate);
}

}  // namespace

std::string lr_plot(const std::vector<LrPoint>& points, const LrSuggestion& s) {
    const Axes axes = axes_of(points);
    std::string svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 410\" font-family=\"sans-serif\" font-size=\"12\" "
        "role=\"img\" "
        "aria-label=\"Loss against learning rate\">\n<rect width=\"720\" height=\"410\" fill=\"#fff\"/>\n";
    for (int decade = int(std::ceil(std::log10(axes.first))); decade <= int(std::floor(std::log10(axes.last) + 1e-9));
         ++decade)
        svg += fmt::format(
            "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#e5e7eb\"/>\n"
            "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\" fill=\"#444\">1e{4}</text>\n",
            axes.x(std::pow(10, decade)), kTop, kBottom, kBottom + 18, decade);
    for (int i = 0; i <= 4; ++i) {
        const double loss = axes.low + (axes.high - axes.low) * i / 4;
        svg += fmt::format(
            "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#e5e7eb\"/>\n"
            "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\" fill=\"#444\">{5:.3g}</text>\n",
            kLeft, kRight, axes.y(loss), kLeft - 6, axes.y(loss) + 4, loss);
    }
    svg += polyline(points, axes, &LrPoint::loss, "stroke=\"#9ca3af\" stroke-width=\"1\"");
    svg += polyline(points, axes, &LrPoint::smooth, "stroke=\"#1d4ed8\" stroke-width=\"2\"");
    svg += marker(s.steepest, "steepest", 0, axes) + marker(s.valley, "valley", 1, axes) +
           marker(s.minimum_tenth, "minimum / 10", 2, axes);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#111\">learning rate</text>\n",
                       (kLeft + kRight) / 2, kBottom + 40);
    return svg +
           fmt::format("<text x=\"{}\" y=\"18\" fill=\"#111\">loss: each step grey, smoothed blue</text>\n</svg>\n",
                       kLeft);
}
