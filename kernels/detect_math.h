// The arithmetic of one box, shared by detect.cpp and detect.cu.
#pragma once

#include <cmath>

#include "kernels/detect.h"

struct Corners {
    float x1, y1, x2, y2;
};
HOST_DEVICE inline Corners corners_of(const float* box) {  // x y w h
    const float half_w = box[2] / 2, half_h = box[3] / 2;
    return {box[0] - half_w, box[1] - half_h, box[0] + half_w, box[1] + half_h};
}

// Two boxes without area give 0 / 0, which is greater than nothing: they do not suppress each other.
HOST_DEVICE inline float intersection_over_union(const Corners& a, const Corners& b) {
    const auto min = [](float u, float v) { return u < v ? u : v; };  // fminf() is a call on the CPU
    const auto max = [](float u, float v) { return u > v ? u : v; };
    const float w = max(min(a.x2, b.x2) - max(a.x1, b.x1), 0.0f), h = max(min(a.y2, b.y2) - max(a.y1, b.y1), 0.0f);
    const float both = w * h;
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both);
}

// A candidate as a number: the smaller, the better. 32 bits of falling score, 24 of row, 8 of class.
constexpr uint64_t kNoCandidate = ~uint64_t(0),
                   kNotFinite = 0;  // a NaN beats all candidates, so it is not overlooked
constexpr size_t kMaxRows = size_t(1) << 24, kMaxClasses = 256;

HOST_DEVICE inline uint64_t candidate_key(const float* box, size_t row, size_t classes, float threshold) {
    const float objectness = box[4];
    if (objectness != objectness) return kNotFinite;
    if (objectness <= threshold) return kNoCandidate;
    size_t best = 0;
    float score = objectness * box[5];
    for (size_t k = 1; k < classes; ++k) {
        const float other = objectness * box[5 + k];
        if (other > score) score = other, best = k;
    }
    if (!(score > threshold)) return kNoCandidate;
    return uint64_t(0x7f800000u - detail::bits_of(score)) << 32 | uint64_t(row) << 8 | best;
}
HOST_DEVICE inline float score_of(uint64_t key) { return detail::float_of(0x7f800000u - uint32_t(key >> 32)); }
HOST_DEVICE inline size_t row_of(uint64_t key) { return size_t(key >> 8 & 0xffffffu); }
HOST_DEVICE inline int class_of(uint64_t key) { return int(key & 0xffu); }

HOST_DEVICE inline void write_detection(const Corners& at, uint64_t key, float* to) {
    to[0] = at.x1, to[1] = at.y1, to[2] = at.x2, to[3] = at.y2, to[4] = score_of(key), to[5] = float(class_of(key));
}

// Value k of a box from s = sigmoid of the head's output.
template <class T>
HOST_DEVICE float decoded_value(const DecodeBoxes<T>& op, size_t anchor, size_t i, size_t j, size_t k, float s) {
    const auto side = [&](int axis) {  // no index into the struct: a GPU would copy it to the stack
        return anchor == 0 ? op.anchors[0][axis] : anchor == 1 ? op.anchors[1][axis] : op.anchors[2][axis];
    };
    switch (k) {
        case 0: {
            const float x = (2 * s - 0.5f + float(j)) * op.stride;
            return op.mirror > 0 ? op.mirror - x : x;
        }
        case 1: return (2 * s - 0.5f + float(i)) * op.stride;
        case 2: return 4 * s * s * side(0);
        case 3: return 4 * s * s * side(1);
        default: return s;
    }
}

// x y w h from the distances of pixel (i, j) to the four sides.
template <class T>
HOST_DEVICE void distances_to_box(const DecodeDistances<T>& op, size_t i, size_t j, const float (&d)[4], float* box) {
    const float x = (float(j) + 0.5f + (d[2] - d[0]) / 2) * op.stride;
    box[0] = op.mirror > 0 ? op.mirror - x : x;
    box[1] = (float(i) + 0.5f + (d[3] - d[1]) / 2) * op.stride;
    box[2] = (d[0] + d[2]) * op.stride;
    box[3] = (d[1] + d[3]) * op.stride;
}
