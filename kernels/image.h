// Images: from 8-bit pixels to the normalised input of a network, in one pass.
//
// ImageBatch   images: (n, h, w, 3) uint8, RGB   transform: (n, 6)   color: (n, 2)   y: (n, out_h, out_w, out_c)
//   The pixel (i, j) of y looks at image coordinates u = a*(j+0.5) + b*(i+0.5) + c (to the right) and
//   v = d*(j+0.5) + e*(i+0.5) + f (down), with transform = a b c d e f; pixel centres lie at +0.5, edges repeat.
//     value = bilinear(image, u - 0.5, v - 0.5) per channel
//     value = clamp(gain * value + offset, 0, 255)          with color = gain offset
//     y     = value * scale[channel] + shift[channel]       channels from 3 to out_c are 0 (cuDNN wants 4 or 8)
//   With normalize.bgr channel 0 of y is made of blue and channel 2 of red.
//   The identity transform (1 0 0 0 1 0) with color (1 0) copies the image exactly, so evaluation is the same call.
//   Below inner_h and to the right of inner_w value = grey; inner_h = 0: nowhere.
//
// CameraBatch  one image as the JPEG decoder leaves it (planar YCbCr 4:2:0, or RGB), letterboxed into row `index` of
//   y: chroma upsampling, BT.601 full-range colour, resize, padding grey, normalise. Colour has libjpeg-turbo's
//   integers and the resized value those of Resize, so y is what decoding to RGB and resizing would give; the
//   antialiased filter on a GPU sums floats instead and rounds once: within 1 of 255.
#pragma once

#include "base/resample.h"
#include "kernels/device.h"
#include "kernels/types.h"

struct Normalize {  // per channel: y = x * scale + shift, x in 0..255
    float scale[3], shift[3];
    bool bgr = false;
};

template <class T>
struct ImageBatch {
    size_t n, h, w, out_h, out_w, out_c;
    Normalize normalize;
    size_t inner_h = 0, inner_w = 0;
    float grey = 0;
    const uint8_t* images;
    const float *transform, *color;
    T* y;
};

template <class T>
struct CameraBatch {
    size_t h, w;                         // of the image
    size_t inner_h, inner_w, top, left;  // where it goes in y
    size_t index, out_h, out_w, out_c;
    Filter filter;
    Normalize normalize;
    float grey = 114;
    const uint8_t* rgb;             // (h, w, 3), or null and:
    const uint8_t *luma, *cb, *cr;  // (h, w) and twice (ceil(h/2), ceil(w/2))
    T* y;
};

void compute(const Cpu&, const ImageBatch<float>&);
template <class T>
void compute(const Simt&, const ImageBatch<T>&);
template <class T>
void compute(const Simt&, const CameraBatch<T>&);
template <class T>
void compute(const Cuda&, const ImageBatch<T>&);
template <class T>
void compute(const Cuda&, const CameraBatch<T>&);
