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
// CameraBatch  images, y: (n, h, w, 3) uint8, RGB   planes: bytes   places: (n)
//   Letterboxes JPEG images: chroma upsampling, BT.601 full-range colour, resize, grey around it. Each lies in `planes`
//   as its decoder leaves it: YCbCr 4:2:0 at places[n].offset, luma of even width and height, then Cb and Cr of half of
//   both. Colour has libjpeg-turbo's integers and the resized value those of data/resize.h with Filter::linear, so y
//   has the bits of decoding to RGB and letterboxing on the CPU. Where places[n].h is 0, y is images[n].
#pragma once

#include <cstddef>
#include <cstdint>

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

constexpr size_t kPlanesAlignment = 64;

struct CameraPlace {
    int32_t offset = 0;  // of its planes, in kPlanesAlignment bytes
    int32_t h = 0, w = 0;
    int32_t inner_h = 0, inner_w = 0, top = 0, left = 0;  // where it goes in y
};

struct CameraBatch {
    size_t n, h, w;  // w: a multiple of four on a GPU
    const uint8_t *images, *planes;
    const CameraPlace* places;
    uint8_t* y;
};

template <class T>
void compute(const Cpu&, const ImageBatch<T>&);
template <class T>
void compute(const Simt&, const ImageBatch<T>&);
template <class T>
void compute(const Cuda&, const ImageBatch<T>&);
void compute(const Cpu&, const CameraBatch&);
void compute(const Simt&, const CameraBatch&);
void compute(const Cuda&, const CameraBatch&);
