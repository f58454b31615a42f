// Groups boxes through a grid of their centres.
#include "app/detect/repeats.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace {

constexpr int kCells = 64;  // per side of the image

int cell_of(double at) { return std::clamp(int(std::floor(at * kCells)), 0, kCells - 1); }

// With the operations of the reference in their order, so that a box at the threshold falls on the same side.
double intersection_over_union(const CameraBox& a, const CameraBox& b) {
    const double ax2 = a.x + a.w, ay2 = a.y + a.h, bx2 = b.x + b.w, by2 = b.y + b.h;
    const double left = std::max(a.x, b.x), top = std::max(a.y, b.y);
    const double right = std::min(ax2, bx2), bottom = std::min(ay2, by2);
    if (right < left || bottom < top) return 0;
    const double common = (right - left) * (bottom - top);
    return common / ((ax2 - a.x) * (ay2 - a.y) + (bx2 - b.x) * (by2 - b.y) - common);
}

bool often_enough(std::span<const CameraBox> boxes, const std::vector<uint32_t>& group, const RepeatOptions& options) {
    if (group.size() < options.occurrences) return false;
    std::set<int64_t> days, hours;
    for (const uint32_t i : group)
        if (boxes[i].time >= 0) days.insert(boxes[i].time / 86400), hours.insert(boxes[i].time / 3600);
    return days.size() >= options.days && hours.size() >= options.hours;
}

}  // namespace

bool may_repeat(const CameraBox& box, const RepeatOptions& options) {
    return box.confidence >= options.min_confidence && box.confidence <= options.max_confidence && box.w > 0 &&
           box.h > 0 && box.h * box.w <= options.max_area;
}

std::vector<std::vector<uint32_t>> find_repeats(std::span<const CameraBox> boxes, const RepeatOptions& options) {
    std::vector<std::vector<uint32_t>> groups;
    std::vector<std::vector<uint32_t>> grid(kCells * kCells);  // groups by the centre of their first box
    for (uint32_t i = 0; i < boxes.size(); ++i) {
        const CameraBox& box = boxes[i];
        if (!may_repeat(box, options)) continue;
        // Centres of boxes that overlap by t are at most (1 - t) / t of a side apart.
        const double reach = (1 - options.iou) / options.iou + 1e-9;
        const double x = box.x + box.w / 2, y = box.y + box.h / 2;
        bool found = false;
        for (int row = cell_of(y - reach * box.h); row <= cell_of(y + reach * box.h); ++row)
            for (int column = cell_of(x - reach * box.w); column <= cell_of(x + reach * box.w); ++column)
                for (const uint32_t g : grid[size_t(row * kCells + column)]) {
                    const CameraBox& first = boxes[groups[g][0]];
                    if (first.category != box.category || intersection_over_union(box, first) < options.iou) continue;
                    groups[g].push_back(i);
                    found = true;
                }
        if (found) continue;
        grid[size_t(cell_of(y) * kCells + cell_of(x))].push_back(uint32_t(groups.size()));
        groups.push_back({i});
    }
    std::erase_if(groups, [&](const auto& group) { return !often_enough(boxes, group, options); });
    return groups;
}
