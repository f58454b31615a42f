// A convolution of a training step between two batch normalizations that never write their results to memory: the one
// before is applied while x is read, the sums for the one behind are made while y is written. Jung et al. 2019,
// https://arxiv.org/abs/1807.01702
//
// x, g: (n, h, w, c_in)   y, dy: (n, out_h, out_w, c_out)   weight, dweight: (c_out, kernel_h, kernel_w, c_in)
// a, b: (c_in) in the type of x   sum, squares: (c_out)   scale, shift, mean, rstd, dscale, dshift: (c_in), float
//
//   mean = sum / rows     var = squares / rows - mean^2, at least 0     rstd = 1 / sqrt(var + eps)      running_*:
//   batch_norm.h
//   a    = scale * rstd   b   = shift - mean * a
//   z    = relu(a * x + b)                               or x, where there is no a
//   y    = conv(z, weight)      sum = sum(y)      squares = sum(y^2)       of each channel
//   g    = the gradient of z where scale * (x - mean) * rstd + shift > 0, else 0;      the gradient of z where there is
//   no scale
//   dshift = sum(g)       dscale = sum(g * (x - mean) * rstd)       dx from g, dscale, dshift: batch_norm.h with
//   sums_given dweight: conv.h with z for x
//
// Sums of squares lose digits where |mean| is much larger than the deviation: that is what cuDNN's engines give, in
// float16 only, and why this is an option. compute() is cuDNN on Cuda; on Cpu and Simt it puts the loops of conv.h
// together with its own, and needs scratch memory for z.
#pragma once

#include "kernels/conv/conv.h"

template <class T>
struct NormConstants {
    size_t rows, channels;
    float eps, momentum;
    const float *sum, *squares, *scale, *shift;
    float *running_mean, *running_var;  // updated; may both be null
    float *mean, *rstd;
    T *a, *b;  // may both be null
};

template <class T>
struct NormConvForward {
    ConvShape shape;
    const T *x, *a, *b;  // a and b may both be null
    const T* weight;
    T* y;
    float *sum, *squares;
};

template <class T>
struct NormConvBackwardData {
    ConvShape shape;
    const T *x, *dy, *weight;
    const float *scale, *shift, *mean, *rstd;  // null where forward had no a; then x, dscale and dshift are too
    T* g;
    float *dscale, *dshift;
};

template <class T>
struct NormConvBackwardWeight {
    ConvShape shape;
    const T *x, *a, *b, *dy;  // a and b may both be null
    T* dweight;
};

void compute(const Cpu&, const NormConstants<float>&);
void compute(const Cpu&, const NormConvForward<float>&);
void compute(const Cpu&, const NormConvBackwardData<float>&);
void compute(const Cpu&, const NormConvBackwardWeight<float>&);
template <class T>
void compute(const Simt&, const NormConstants<T>&);
template <class T>
void compute(const Simt&, const NormConvForward<T>&);
template <class T>
void compute(const Simt&, const NormConvBackwardData<T>&);
template <class T>
void compute(const Simt&, const NormConvBackwardWeight<T>&);
template <class T>
void compute(const Cuda&, const NormConstants<T>&);
template <class T>
void compute(const Cuda&, const NormConvForward<T>&);
template <class T>
void compute(const Cuda&, const NormConvBackwardData<T>&);
template <class T>
void compute(const Cuda&, const NormConvBackwardWeight<T>&);
