// Scales, ticks and marks.
#include "app/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/report/html.h"

namespace {

constexpr double kWidth = 420, kLeft = 46, kRight = 10, kTop = 8, kBottom = 34;

struct Frame {
    double x_low, x_high, y_low, y_high, height;
    bool log_x = false;  // x_low and x_high are logarithms to base 10
    double x(double value) const {
        const double at = log_x ? std::log10(value) : value;
        return kLeft + (at - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight);
    }
    double y(double value) const {
        return height - kBottom - (value - y_low) / (y_high - y_low) * (height - kBottom - kTop);
    }
};

std::string number_text(double value, bool percent) {
    if (percent) return fmt::format("{:g}\u202F%", std::round(value * 1000) / 10);
    if (std::abs(value) >= 1000 && std::abs(value) < 1e15)
        return (value < 0 ? "-" : "") + count_text(uint64_t(std::llround(std::abs(value))));
    return fmt::format("{:g}", value);
}

std::string svg_text(double x, double y, const std::string& css, const std::string& plain) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>", x, y, css, html_escaped(plain));
}

std::string svg_line(double x1, double y1, double x2, double y2, const char* css) {
    return fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" class=\"{}\"/>", x1, y1, x2, y2, css);
}

std::string open_figure(const std::string& title, const std::string& description, double height,
                        const std::string& legend = "") {
    return fmt::format(
        "<figure><figcaption><strong>{}</strong>{}</figcaption>\n<svg viewBox=\"0 0 {} {}\" role=\"img\" "
        "aria-label=\"{}\">",
        html_escaped(title), legend, kWidth, height, html_escaped(title + ". " + description));
}

std::string legend_of(const LineChart& chart) {
    std::string out;
    for (const Series& s : chart.series)
        if (!s.name.empty())
            out += fmt::format(
                " <span class=\"key\"><svg viewBox=\"0 0 22 8\" width=\"22\" height=\"8\" aria-hidden=\"true\">"
                "<path d=\"M0 4L22 4\" class=\"{}\"/></svg>{}</span>",
                s.css, html_escaped(s.name));
    return out;
}

// Chooses the limits that are open so that the values fit, and leaves no empty range.
void fit_range(double& low, double& high, const std::vector<double>& values, bool from_zero) {
    const auto [min, max] = std::minmax_element(values.begin(), values.end());
    const bool fixed_high = !std::isnan(high);
    if (std::isnan(low)) low = from_zero ? std::min(0.0, *min) : *min;
    if (!fixed_high) high = *max;
    if (high <= low) high = low + (low == 0 ? 1 : std::abs(low) * 0.5);
    if (from_zero && !fixed_high) high += (high - low) * 0.05;
}

Frame frame_of(const LineChart& chart) {
    std::vector<double> xs, ys;
    for (const Series& s : chart.series)
        for (const auto& [x, y] : s.points)
            if (std::isfinite(x) && std::isfinite(y)) xs.push_back(chart.log_x ? std::log10(x) : x), ys.push_back(y);
    Frame frame{chart.x_low, chart.x_high, chart.y_low, chart.y_high, chart.height, chart.log_x};
    if (xs.empty()) return frame;
    fit_range(frame.x_low, frame.x_high, xs, false);
    fit_range(frame.y_low, frame.y_high, ys, true);
    return frame;
}

std::string axes(const Frame& f, const std::string& x_label, bool percent) {
    std::string out;
    const double bottom = f.height - kBottom;
    for (double tick : round_ticks(f.y_low, f.y_high, f.height > 180 ? 5 : 3)) {
        out += svg_line(kLeft, f.y(tick), kWidth - kRight, f.y(tick), "rule");
        out += svg_text(kLeft - 6, f.y(tick) + 3.8, "end", number_text(tick, percent));
    }
    for (double tick : round_ticks(f.x_low, f.x_high, 5)) {
        if (f.log_x && tick != std::floor(tick)) continue;
        const std::string label = f.log_x ? fmt::format("1e{:g}", tick) : number_text(tick, false);
        if (f.log_x) tick = std::pow(10, tick);
        out += svg_line(f.x(tick), bottom, f.x(tick), bottom + 4, "axis");
        // The label of a tick at the edge would be cut off.
        const bool edge = f.x(tick) > kWidth - 24;
        out += svg_text(edge ? kWidth - 2 : f.x(tick), bottom + 16, edge ? "end" : "middle", label);
    }
    out += svg_line(kLeft, bottom, kWidth - kRight, bottom, "axis");
    return out + svg_text((kLeft + kWidth - kRight) / 2, f.height - 3, "middle label", x_label);
}

std::string curve(const Frame& f, const Series& s) {
    std::string path, dots;
    bool pen_down = false;
    for (const auto& [x, y] : s.points) {
        if (!std::isfinite(x) || !std::isfinite(y)) {
            pen_down = false;
            continue;
        }
        // A finite value may be huge; SVG numbers should not be.
        const double px = f.x(x), py = std::clamp(f.y(y), -2 * f.height, 3 * f.height);
        path += fmt::format("{}{:.1f} {:.1f}", pen_down ? 'L' : 'M', px, py);
        pen_down = true;
        if (s.dots) dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" class=\"{}\"/>", px, py, s.css);
    }
    return path.empty() ? "" : fmt::format("<path d=\"{}\" class=\"{}\"/>{}", path, s.css, dots);
}

// Axes, markers and curves of a chart, for inside of an <svg> element.
std::string drawing(const LineChart& chart) {
    const Frame f = frame_of(chart);
    std::string out = axes(f, chart.x_label, chart.percent);
    const double bottom = f.height - kBottom;
    if (std::isfinite(chart.marker_x))
        out += svg_line(f.x(chart.marker_x), kTop, f.x(chart.marker_x), bottom, "marker");
    double row = kTop + 10;
    for (const auto& [name, x] : chart.named_markers) {
        const bool left = f.x(x) > 0.7 * kWidth;  // of the line if there is no space on the right
        out += svg_line(f.x(x), kTop, f.x(x), bottom, "marker");
        out += svg_text(f.x(x) + (left ? -4 : 4), row, left ? "end" : "start", fmt::format("{} {:.2g}", name, x));
        row += 14;
    }
    // An inner <svg> clips at the frame without an id, which would have to differ between charts.
    out += fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">", kLeft,
                       kTop - 4, kWidth - kLeft - kRight + 4, bottom - kTop + 8);
    for (const Series& s : chart.series) out += curve(f, s);
    return out + "</svg>";
}

}  // namespace

std::vector<double> round_ticks(double low, double high, size_t wanted) {
    const double raw = (high - low) / double(wanted), power = std::pow(10, std::floor(std::log10(raw)));
    const double step = power * (raw <= power ? 1 : raw <= 2 * power ? 2 : raw <= 5 * power ? 5 : 10);
    std::vector<double> ticks;
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && ticks.size() < 100; ++i)
        ticks.push_back(i == 0 ? 0 : i * step);
    return ticks;
}

std::string line_chart(const LineChart& chart) {
    const bool some = std::any_of(chart.series.begin(), chart.series.end(), [](const Series& s) {
        return std::any_of(s.points.begin(), s.points.end(),
                           [](auto& p) { return std::isfinite(p.first) && std::isfinite(p.second); });
    });
    if (!some) return fmt::format("<p class=\"quiet\">{}: nothing to draw yet.</p>\n", html_escaped(chart.title));
    return open_figure(chart.title, chart.description, chart.height, legend_of(chart)) + drawing(chart) +
           "</svg></figure>\n";
}

std::string svg_file(const LineChart& chart) {
    constexpr std::string_view style =
        "text{font:11px sans-serif;fill:#444}.end{text-anchor:end}.middle{text-anchor:middle}.rule{stroke:#e5e7eb}"
        ".axis{stroke:#444}.marker{stroke:#c2410c;stroke-dasharray:4 3}path{fill:none;stroke-width:1}"
        ".s0{stroke:#1d4ed8;stroke-width:2}.s1{stroke:#c2410c;stroke-width:2}.faint{stroke:#9ca3af;stroke-width:1}";
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n"
        "<style>{}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
        kWidth, chart.height, html_escaped(chart.title + ". " + chart.description), style, drawing(chart));
}

std::string bar_chart(const BarChart& chart) {
    const Frame f{0, double(chart.bars.size()), 0, 1.08, 230};
    std::string out = open_figure(chart.title, chart.description, f.height);
    const double bottom = f.height - kBottom, pitch = f.x(1) - f.x(0);
    for (double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
        out += svg_line(kLeft, f.y(tick), kWidth - kRight, f.y(tick), "rule");
        out += svg_text(kLeft - 6, f.y(tick) + 3.8, "end", number_text(tick, true));
    }
    for (size_t i = 0; i < chart.bars.size(); ++i) {
        const BarChart::Bar& bar = chart.bars[i];
        const double left = f.x(double(i)) + 2, middle = f.x(double(i) + 0.5);
        double top = bottom;
        if (std::isfinite(bar.share)) {
            top = f.y(std::clamp(bar.share, 0.0, 1.0));
            out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"bar\"/>",
                               left, top, pitch - 4, bottom - top);
            if (std::isfinite(bar.expected))
                out += svg_line(left - 1, f.y(bar.expected), left + pitch - 3, f.y(bar.expected), "marker");
        }
        out += svg_text(middle, top - 4, "middle", bar.above);
        out += svg_text(middle, bottom + 15, "middle", bar.label);
    }
    out += svg_line(kLeft, bottom, kWidth - kRight, bottom, "axis");
    return out + svg_text((kLeft + kWidth - kRight) / 2, f.height - 3, "middle label", chart.x_label) +
           "</svg></figure>\n";
}

std::string heat_map(const HeatMap& map) {
    const size_t n = map.names.size();
    size_t longest = 0;
    for (const std::string& name : map.names) longest = std::max(longest, shortened(name, 14).size());
    const bool letters = n <= 30;
    const double left = letters ? 34 + 5.8 * double(longest) : 24,
                 top = letters ? 30 + (n > 4 ? 4.2 * double(longest) : 8) : 24;
    const double cell = std::min(84.0, (kWidth - left - 14) / double(n));
    const double height = top + cell * double(n) + 6;
    std::string out = open_figure(map.title, map.description, std::ceil(height));
    out += svg_text(left + cell * double(n) / 2, 11, "middle label", "predicted");
    out += fmt::format("<text transform=\"translate(11 {:.1f}) rotate(-90)\" class=\"middle label\">true</text>",
                       top + cell * double(n) / 2);
    for (size_t row = 0; row < n; ++row) {
        size_t total = 0;
        for (size_t column = 0; column < n; ++column) total += map.counts[row * n + column];
        const double y = top + cell * double(row), size = std::clamp(cell * 0.4, 7.0, 12.0);
        if (letters) {
            const std::string name = html_escaped(shortened(map.names[row], 14));
            const double middle = left + cell * (double(row) + 0.5);
            out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"end\" style=\"font-size:{:.1f}px\">{}</text>",
                               left - 6, y + cell / 2 + 4, std::min(11.0, cell), name);
            out += n > 4 ? fmt::format(
                               "<text transform=\"translate({:.1f} {:.1f}) rotate(-45)\" "
                               "style=\"font-size:{:.1f}px\">{}</text>",
                               middle + 3, top - 5, std::min(11.0, cell), name)
                         : fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"middle\">{}</text>", middle, top - 6,
                                       name);
        }
        for (size_t column = 0; column < n; ++column) {
            const size_t count = map.counts[row * n + column];
            const double x = left + cell * double(column), share = total ? double(count) / double(total) : 0;
            if (!count && n > 30) continue;
            out += fmt::format(
                "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"{}\" "
                "style=\"fill-opacity:{:.3f}\">",
                x, y, cell - 1, cell - 1,
                count == 0      ? "none"
                : row == column ? "right"
                                : "wrong",
                count ? 0.12 + 0.88 * share : 1);
            out += fmt::format("<title>{} of {} {}: predicted {}</title></rect>", count_text(count), count_text(total),
                               html_escaped(shortened(map.names[row], 60)),
                               html_escaped(shortened(map.names[column], 60)));
            if (n <= 16 && count)
                out += fmt::format(
                    "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"middle{}\" style=\"font-size:{:.1f}px\">{}</text>",
                    x + cell / 2 - 0.5, y + cell / 2 + size * 0.35, share > 0.7 ? " strong" : "", size,
                    count_text(count));
        }
    }
    out += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\" class=\"axis\"/>", left - 1, top,
                       top + cell * double(n), left + cell * double(n));
    return out + "</svg></figure>\n";
}
