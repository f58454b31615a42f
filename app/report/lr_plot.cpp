#include "app/report/lr_plot.h"

#include <algorithm>
#include <cmath>

#include "app/report/svg.h"

std::string lr_plot(const std::vector<LrPoint>& points, const LrSuggestion& s) {
    Series loss{.name = "", .css = "s0 faint", .points = {}}, smooth{.name = "", .css = "s0", .points = {}};
    double low = INFINITY;
    for (const LrPoint& p : points) {
        loss.points.push_back({p.learning_rate, p.loss});
        smooth.points.push_back({p.learning_rate, p.smooth});
        low = std::min(low, p.smooth);
    }
    // The divergence at the end must not flatten the rest: the frame ends half a descent above the start.
    const double start = points.front().smooth, margin = std::max(0.05 * std::abs(start), 0.5 * (start - low));
    return svg_file(
        {.title = "Loss against learning rate",
         .description = "The loss of each step is grey, the smoothed loss blue.",
         .x_label = "learning rate (loss: each step grey, smoothed blue)",
         .series = {loss, smooth},
         .y_low = low - 0.2 * margin,
         .y_high = start + margin,
         .height = 280,
         .log_x = true,
         .named_markers = {{"steepest", s.steepest}, {"valley", s.valley}, {"minimum / 10", s.minimum_tenth}}});
}
