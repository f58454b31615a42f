// Resampling along one axis: which samples of a line of `size` samples make up sample i of a line of another length,
// and with which weights. Both the CPU (data/resize.cpp) and the GPU (kernels/image.cu) resize images with it.
//
//   antialias  triangle filter whose support grows with the reduction, as Pillow's BILINEAR
//   linear     two taps, no antialiasing, as OpenCV's INTER_LINEAR: weights in 1/2048 (imgproc/src/resize.cpp)
//   nearest    x[floor((i + 1/2) * size / out)], as Pillow's NEAREST and therefore Keras (OpenCV has no 1/2)
#pragma once

#include <cmath>
#include <cstddef>

#include "base/host_device.h"

enum class Filter { antialias, linear, nearest };

struct LinearTap {  // y = (x[first] * weight_first + x[second] * weight_second) / 2048
    int first, second, weight_first, weight_second;
};

// `scale` is size / out_size; pixels beyond the edge repeat the edge.
HOST_DEVICE inline LinearTap linear_tap(int i, int size, double scale) {
    const float at = float((i + 0.5) * scale - 0.5), whole = floorf(at), fraction = at - whole;
    const int first = int(whole), last = size - 1;
    return {first < 0      ? 0
            : first > last ? last
                           : first,
            first + 1 < 0      ? 0
            : first + 1 > last ? last
                               : first + 1,
            int(rintf((1 - fraction) * 2048)), int(rintf(fraction * 2048))};
}

// `above` and `below` are horizontal sums in 1/2048; the shifts drop the same bits that OpenCV drops.
HOST_DEVICE inline int linear_blend(int above, int below, const LinearTap& tap) {
    const int sum = (tap.weight_first * (above >> 4) >> 16) + (tap.weight_second * (below >> 4) >> 16);
    return (sum + 2) >> 2;
}

// The triangle filter: pixel k of [first, end) weighs max(0, 1 - |k + 1/2 - centre| / support); weights are to be
// divided by their sum.
struct TriangleTap {
    int first, end;
    double centre, support;
};
HOST_DEVICE inline TriangleTap triangle_tap(int i, int size, double scale) {
    const double support = scale > 1 ? scale : 1, centre = (i + 0.5) * scale;
    const int first = int(centre - support + 0.5), end = int(centre + support + 0.5);
    return {first < 0 ? 0 : first, end > size ? size : end, centre, support};
}

HOST_DEVICE inline size_t nearest_sample(size_t i, size_t size, size_t out) { return (2 * i + 1) * size / (2 * out); }
