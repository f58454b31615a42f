// Pictures: from 8-bit pixels to the normalised input of a network, in one pass.
//
// ImageBatch   pictures: (n, h, w, 3) uint8, RGB   transform: (n, 6)   color: (n, 2)   y: (n, out_h, out_w, out_c)
//   The pixel (i, j) of y looks at picture coordinates u = a*(j+0.5) + b*(i+0.5) + c (to the right) and
//   v = d*(j+0.5) + e*(i+0.5) + f (down), with transform = a b c d e f; pixel centres lie at +0.5, edges repeat.
//   value = bilinear(picture, u - 0.5, v - 0.5) per channel;  value = clamp(gain * value + offset, 0, 255), color =
//   gain offset
//   y = value * scale[channel] + shift[channel]; channels from 3 to out_c are 0 (cuDNN wants 4 or 8)
//   The identity transform (1 0 0 0 1 0) with color (1 0) copies the picture exactly, so evaluation is the same call.
//   Below inner_h and to the right of inner_w (0: nowhere) value = grey.
//
// Resize       x: (h, w, 3) uint8, y: (out_h, out_w, 3) uint8; on the CPU, while pictures are read
//   antialias: triangle filter whose support grows with the reduction, as Pillow's BILINEAR
//   linear:    two taps, no antialiasing, as OpenCV's INTER_LINEAR
//   nearest:   y[i] = x[floor((i + 1/2) * h / out_h)], as Pillow's NEAREST and so Keras (OpenCV has no 1/2)
//
// CameraBatch  one picture as the JPEG decoder leaves it (planar YCbCr 4:2:0, or RGB), letterboxed into row `index` of
//   y: chroma upsampling, BT.601 full-range colour, resize, padding grey, normalise. Colour has libjpeg-turbo's
//   integers and the resized value those of Resize, so y is what decoding to RGB and resizing would give; the
//   antialiased filter on a GPU sums floats instead and rounds once: within 1 of 255.
//
// letterbox()  where a picture of (h, w) lies in a frame of (out_h, out_w): as large as fits, centred, and with a
//   stride the frame shrinks to the next multiples of it. Rounding is YOLOv5's (utils/augmentations.py, half to even).
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

struct Normalize {  // per channel: y = x * scale + shift, x in 0..255
    float scale[3], shift[3];
};

template <class T>
struct ImageBatch {
    size_t n, h, w, out_h, out_w, out_c;
    Normalize normalize;
    size_t inner_h = 0, inner_w = 0;
    float grey = 0;
    const uint8_t* pictures;
    const float *transform, *color;
    T* y;
};

enum class Filter { antialias, linear, nearest };

struct Resize {
    size_t h, w, out_h, out_w;
    Filter filter;
    const uint8_t* x;
    uint8_t* y;
};

template <class T>
struct CameraBatch {
    size_t h, w;                         // of the picture
    size_t inner_h, inner_w, top, left;  // where it goes in y
    size_t index, out_h, out_w, out_c;
    Filter filter;
    Normalize normalize;
    float grey = 114;
    const uint8_t* rgb;             // (h, w, 3), or null and:
    const uint8_t *luma, *cb, *cr;  // (h, w) and twice (ceil(h/2), ceil(w/2))
    T* y;
};

struct LetterboxRequest {
    size_t h, w, out_h, out_w;
    size_t stride = 0;  // 0: the frame keeps its size
    bool enlarge = true;
};

struct Letterbox {
    double ratio = 1;  // of the resized picture to the picture
    size_t inner_h = 0, inner_w = 0, top = 0, left = 0, out_h = 0, out_w = 0;
};

Letterbox letterbox(const LetterboxRequest&);

void compute(const Cpu&, const ImageBatch<float>&);
void compute(const Cpu&, const Resize&);
void compute(const Cpu&, const CameraBatch<float>&);
template <class T>
void compute(const Simt&, const ImageBatch<T>&);
template <class T>
void compute(const Simt&, const CameraBatch<T>&);
template <class T>
void compute(const Cuda&, const ImageBatch<T>&);
template <class T>
void compute(const Cuda&, const CameraBatch<T>&);
