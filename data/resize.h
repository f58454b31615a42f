// Resizes an image, and computes its place in a frame of fixed size.
//
// resize()     x: (h, w, 3) uint8   y: (out_h, out_w, 3) uint8; filters as in base/resample.h, in fixed point with the
//   roundings of Pillow (antialias: weights in 2^-22, each of the two passes rounded to 8 bits) and OpenCV (linear)
//
// letterbox()  place of an image of (h, w) in a frame of (out_h, out_w): as large as fits, centered. With a stride the
//   frame shrinks to the next multiple of it. Rounding is YOLOv5's (utils/augmentations.py, half to even).
#pragma once

#include <cstdint>

#include "base/resample.h"

struct Resize {
    size_t h, w, out_h, out_w;
    Filter filter;
    const uint8_t* x;
    uint8_t* y;
};

// Allocates tables of taps and a few rows. Throws std::invalid_argument if a side is 0 pixels long.
void resize(const Resize&);

struct LetterboxRequest {
    size_t h, w, out_h, out_w;
    size_t stride = 0;  // 0: the frame keeps its size
    bool enlarge = true;
};

struct Letterbox {
    double ratio = 1;  // of the resized image to the image
    size_t inner_h = 0, inner_w = 0, top = 0, left = 0, out_h = 0, out_w = 0;
};

Letterbox letterbox(const LetterboxRequest&);
