#include "predict/tiles.h"

#include <algorithm>
#include <cmath>

#include "kernels/detect_math.h"

namespace {

constexpr float kInside = 0.8f;   // of a cut box's area
constexpr double kBorder = 0.01;  // of a tile's side

std::vector<size_t> starts(size_t length, size_t side, double overlap) {
    if (length <= side) return {0};
    const size_t step = std::max<size_t>(1, size_t(std::nearbyint(double(side) * (1 - overlap))));
    std::vector<size_t> result;
    for (size_t at = 0; at + side < length; at += step) result.push_back(at);
    result.push_back(length - side);
    return result;
}

Corners corners(const Box& b) { return {b.x1, b.y1, b.x2, b.y2}; }

float area(const Box& b) { return (b.x2 - b.x1) * (b.y2 - b.y1); }

float shared_area(const Box& a, const Box& b) {
    return std::max(0.0f, std::min(a.x2, b.x2) - std::max(a.x1, b.x1)) *
           std::max(0.0f, std::min(a.y2, b.y2) - std::max(a.y1, b.y1));
}

}  // namespace

std::vector<ImageRegion> regions_of(size_t h, size_t w, size_t side, double overlap) {
    std::vector<ImageRegion> areas{{0, 0, h, w}};
    if (h <= side && w <= side) return areas;
    for (const size_t top : starts(h, side, overlap))
        for (const size_t left : starts(w, side, overlap))
            areas.push_back({top, left, std::min(h, side), std::min(w, side)});
    return areas;
}

std::vector<PartBox> part_boxes(const std::vector<Box>& boxes, const ImageRegion& a, size_t h, size_t w) {
    const auto near = [](size_t border, float at, size_t side) {
        return std::abs(double(at) - double(border)) <= kBorder * double(side);
    };
    std::vector<PartBox> result;
    for (const Box& b : boxes)
        result.push_back({b, (a.left > 0 && near(a.left, b.x1, a.w)) || (a.top > 0 && near(a.top, b.y1, a.h)) ||
                                 (a.left + a.w < w && near(a.left + a.w, b.x2, a.w)) ||
                                 (a.top + a.h < h && near(a.top + a.h, b.y2, a.h))});
    return result;
}

std::vector<Box> merged_boxes(std::vector<PartBox> boxes, float iou_threshold, size_t max_boxes) {
    std::vector<Box> whole;
    for (const PartBox& b : boxes)
        if (!b.cut) whole.push_back(b.box);
    std::vector<float> score;
    for (const Box& b : whole) score.push_back(b.score);
    std::vector<Box> left;
    for (const PartBox& part : boxes) {
        if (!part.cut) continue;
        size_t best = whole.size();
        for (size_t i = 0; i < whole.size(); ++i)
            if (whole[i].category == part.box.category && whole[i].score >= part.box.score / 2 &&
                shared_area(whole[i], part.box) >= kInside * area(part.box) &&
                (best == whole.size() || whole[i].score > whole[best].score))
                best = i;
        if (best == whole.size())
            left.push_back(part.box);
        else
            score[best] = std::max(score[best], part.box.score);
    }
    for (size_t i = 0; i < whole.size(); ++i) whole[i].score = score[i];
    left.insert(left.begin(), whole.begin(), whole.end());
    std::ranges::stable_sort(left, std::greater(), &Box::score);
    std::vector<Box> kept;
    for (const Box& b : left) {
        if (kept.size() == max_boxes) break;
        if (std::ranges::none_of(kept, [&](const Box& k) {
                return k.category == b.category && intersection_over_union(corners(k), corners(b)) > iou_threshold;
            }))
            kept.push_back(b);
    }
    return kept;
}
