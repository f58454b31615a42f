// The arithmetic of one pixel, shared by image.cpp and image.cu: resampling, and from JPEG's colours to RGB.
//
// Sources: OpenCV imgproc/src/resize.cpp (8-bit INTER_LINEAR: weights in 1/2048), libjpeg-turbo jdsample.c ("fancy"
// upsampling: a chroma sample weighs 9/16, its nearest neighbours 3/16, 3/16, 1/16) and jdcolor.c (16-bit fixed point).
#pragma once

#include <cmath>

#include "base/resample.h"
#include "kernels/image.h"

struct Rgb {
    int r, g, b;
};

HOST_DEVICE inline int clamp_byte(int v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

HOST_DEVICE inline Rgb ycbcr_to_rgb(int luma, int cb, int cr) {  // full range BT.601; constants are times 65536
    cb -= 128, cr -= 128;
    return {clamp_byte(luma + ((91881 * cr + 32768) >> 16)),
            clamp_byte(luma + ((-22554 * cb - 46802 * cr + 32768) >> 16)),
            clamp_byte(luma + ((116130 * cb + 32768) >> 16))};
}

// The two chroma samples, of one axis, that make up image row or column `at`: the near one counts three times.
struct ChromaTap {
    int near, far;
};
HOST_DEVICE inline ChromaTap chroma_tap(int at, int chroma_size) {
    const int near = at >> 1, far = near + (at & 1 ? 1 : -1);
    return {near, far < 0 ? 0 : far >= chroma_size ? chroma_size - 1 : far};
}
// Sums of a column are 3 * near row + far row. Odd pixels round half down, as the decoder has it.
HOST_DEVICE inline int chroma_value(int near_sum, int far_sum, int at) {
    return (3 * near_sum + far_sum + 8 - (at & 1)) >> 4;
}

// fmaxf() and fminf() are calls on the CPU. A NaN becomes the lower end.
HOST_DEVICE inline float bounded(float v, float min, float max) {
    v = v > min ? v : min;
    return v < max ? v : max;
}

struct AffineTap {
    int top, bottom, left, right;  // inside the image
    float down, across;            // fractions, 0 at top and left
};
HOST_DEVICE inline AffineTap affine_tap(const float* transform, int i, int j, int h, int w) {
    const float x = float(j) + 0.5f, y = float(i) + 0.5f;
    // Far outside every pixel is the edge; the bound keeps the conversion to int defined.
    const float u = bounded(transform[0] * x + transform[1] * y + transform[2] - 0.5f, -1, float(w));
    const float v = bounded(transform[3] * x + transform[4] * y + transform[5] - 0.5f, -1, float(h));
    const float left = floorf(u), top = floorf(v);
    const auto inside = [](int at, int size) { return at < 0 ? 0 : at >= size ? size - 1 : at; };
    return {inside(int(top), h),
            inside(int(top) + 1, h),
            inside(int(left), w),
            inside(int(left) + 1, w),
            v - top,
            u - left};
}
HOST_DEVICE inline float bilinear(float p00, float p01, float p10, float p11, const AffineTap& tap) {
    const float above = p00 + (p01 - p00) * tap.across, below = p10 + (p11 - p10) * tap.across;
    return above + (below - above) * tap.down;
}
HOST_DEVICE inline float colored(float value, float gain, float offset) {
    return bounded(gain * value + offset, 0, 255);
}

// The colour of one pixel of an image in planes; `planes` is where it begins.
HOST_DEVICE inline Rgb plane_pixel(const uint8_t* planes, int h, int w, int i, int j) {
    const int rows = (h + 1) / 2, pitch = (w + 1) / 2;
    const ChromaTap down = chroma_tap(i, rows), across = chroma_tap(j, pitch);
    const size_t luma = size_t(4) * size_t(rows) * size_t(pitch);
    const auto chroma = [&](const uint8_t* plane) {
        const uint8_t *near = plane + size_t(down.near) * size_t(pitch),
                      *far = plane + size_t(down.far) * size_t(pitch);
        return chroma_value(3 * near[across.near] + far[across.near], 3 * near[across.far] + far[across.far], j);
    };
    return ycbcr_to_rgb(planes[size_t(i) * 2 * size_t(pitch) + size_t(j)], chroma(planes + luma),
                        chroma(planes + luma / 4 * 5));
}

// One pixel of y.
HOST_DEVICE inline Rgb camera_pixel(const CameraBatch& op, size_t image, int row, int column) {
    const CameraPlace place = op.places[image];
    if (place.h == 0) {
        const uint8_t* p = op.images + ((image * op.h + size_t(row)) * op.w + size_t(column)) * 3;
        return {p[0], p[1], p[2]};
    }
    constexpr int kGrey = 114;
    const int i = row - place.top, j = column - place.left;
    if (i < 0 || i >= place.inner_h || j < 0 || j >= place.inner_w) return {kGrey, kGrey, kGrey};
    const LinearTap down = linear_tap(i, place.h, double(place.h) / double(place.inner_h));
    const LinearTap across = linear_tap(j, place.w, double(place.w) / double(place.inner_w));
    const uint8_t* const planes = op.planes + size_t(place.offset) * kPlanesAlignment;
    const auto at = [&](int y, int x) { return plane_pixel(planes, place.h, place.w, y, x); };
    const Rgb p00 = at(down.first, across.first), p01 = at(down.first, across.second),
              p10 = at(down.second, across.first), p11 = at(down.second, across.second);
    const auto blend = [&](int v00, int v01, int v10, int v11) {
        return linear_blend(v00 * across.weight_first + v01 * across.weight_second,
                            v10 * across.weight_first + v11 * across.weight_second, down);
    };
    return {blend(p00.r, p01.r, p10.r, p11.r), blend(p00.g, p01.g, p10.g, p11.g), blend(p00.b, p01.b, p10.b, p11.b)};
}
