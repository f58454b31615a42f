// Copies: slices of channels, nearest-neighbour upsampling, and the layout of weights.
//
// CopyChannels   y[r, y_offset + c] = x[r, x_offset + c] for c < channels; x: (rows, x_pitch), y: (rows, y_pitch)
//                (concatenation of channels, and its gradient)
// Upsample2      x: (n, h, w, c), y: (n, 2h, 2w, c), each pixel four times (nearest)
// Upsample2Backward   dx = sum of the four dy                                                          (assigned)
// ConvWeight     y[o, k, c] = x[o, c, k] * factor[o], in double; 0 for channels that only y has; without factor: 1
//                from x: (c_out, c_in, kernel), as files store weights, to y: (c_out, kernel, padded_c_in); on Cpu only
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct CopyChannels {
    size_t rows, channels, x_pitch, x_offset, y_pitch, y_offset;
    const T* x;
    T* y;
};

template <class T>
struct Upsample2 {
    size_t n, h, w, c;
    const T* x;
    T* y;
};

template <class T>
struct Upsample2Backward {
    size_t n, h, w, c;  // of dx
    const T* dy;
    T* dx;
};

struct ConvWeight {
    size_t c_out, c_in, kernel, padded_c_in;
    const float* x;
    const double* factor;
    float* y;
};

void compute(const Cpu&, const ConvWeight&);
template <class T>
void compute(const Cpu&, const CopyChannels<T>&);
template <class T>
void compute(const Cpu&, const Upsample2<T>&);
template <class T>
void compute(const Cpu&, const Upsample2Backward<T>&);
template <class T>
void compute(const Simt&, const CopyChannels<T>&);
template <class T>
void compute(const Simt&, const Upsample2<T>&);
template <class T>
void compute(const Simt&, const Upsample2Backward<T>&);
template <class T>
void compute(const Cuda&, const CopyChannels<T>&);
template <class T>
void compute(const Cuda&, const Upsample2<T>&);
template <class T>
void compute(const Cuda&, const Upsample2Backward<T>&);
