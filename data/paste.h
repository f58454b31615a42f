// Scales, mirrors and places an image inside a frame; composes training images of detectors on the CPU.
//
// Paste   x: (h, w, 3) uint8   y: (out_h, out_w, 3) uint8, of which rows top..bottom and columns left..right are
//   written
//   The pixel (i, j) of y samples u = a*(j+0.5) + c and v = e*(i+0.5) + f of x, where pixel centers lie at +0.5:
//   y = bilinear(x, u - 0.5, v - 0.5), in 1/2048 per axis, rounded; edges of the area repeat, and where (u, v) lies
//   outside of the area y is grey. The area is the part of x inside its margins: [area_top, area_bottom) x
//   [area_left, area_right).
#pragma once

#include <cstddef>
#include <cstdint>

struct Paste {
    size_t h, w, area_top, area_left, area_bottom, area_right;
    size_t out_h, out_w, top, left, bottom, right;
    float a, c, e, f;
    uint8_t grey = 114;
    const uint8_t* x;
    uint8_t* y;
};

void paste(const Paste&);
