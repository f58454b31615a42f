// Charts as inline SVG, 420 units wide so that text stays readable on a phone. Colours, fonts and dashes come
// from the page's style sheet (app/report/style.h): series are of class s0, s1, ...; dark mode follows the page.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

inline constexpr double kOpen = std::numeric_limits<double>::quiet_NaN();  // a limit that is not set

struct Series {
    std::string name;                               // in the legend; empty: not in the legend
    std::string css;                                // "s0", "s1", "s0 faint", ...
    std::vector<std::pair<double, double>> points;  // x ascending; a value that is not finite interrupts the line
    bool dots = false;                              // mark each point
};

struct LineChart {
    std::string title, description;  // plain text; the description is read out instead of the image
    std::string x_label;
    std::vector<Series> series;
    // kOpen: chosen from the points. Points outside are cut off at the frame.
    double x_low = kOpen, x_high = kOpen, y_low = kOpen, y_high = kOpen;
    bool percent = false;  // y values are shares
    double height = 230;
    double marker_x = kOpen;  // a vertical line here
    bool log_x = false;       // x values are positive, ticks are powers of ten
    std::vector<std::pair<std::string, double>> named_markers = {};
};

// A <figure>; a sentence instead if no point is finite.
std::string line_chart(const LineChart& chart);

// The same chart as a complete SVG file with its colours.
std::string svg_file(const LineChart& chart);

struct BarChart {
    std::string title, description, x_label;
    struct Bar {
        std::string label, above;  // below and above the bar
        double share;              // NaN: no bar
        double expected;           // a tick mark at this share; NaN: none
    };
    std::vector<Bar> bars;
};
std::string bar_chart(const BarChart& chart);

struct HeatMap {
    std::string title, description;
    std::vector<std::string> names;
    std::vector<size_t> counts;  // (names, names): row = label, column = prediction
};
std::string heat_map(const HeatMap& map);

// Round numbers that cover low..high with about `wanted` steps of 1, 2 or 5 times a power of ten.
std::vector<double> round_ticks(double low, double high, size_t wanted);
