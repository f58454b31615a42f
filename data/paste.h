// Scales, mirrors and places an image inside a frame; composes training images of detectors on the CPU.
//
//   x: (h, w, 3) uint8   y: (out_h, out_w, 3) uint8; writes rows top..bottom and columns left..right
//   Pixel (i, j) of y samples x at u = a*(j+0.5) + c, v = e*(i+0.5) + f, with pixel centers at +0.5:
//   y = bilinear(x, u - 0.5, v - 0.5), in 1/2048 per axis, rounded; grey where (u, v) lies outside the area
//   [area_top, area_bottom) x [area_left, area_right), the part of x inside its margins, whose edges repeat.
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
