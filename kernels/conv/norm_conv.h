// A convolution in training between two batch normalizations whose results are never written to memory: the first is
// applied while x is read, and the sums for the second are made while y is written. Jung et al. 2019,
// https://arxiv.org/abs/1807.01702
//
// x, g: (n, h, w, c_in)   y, dy: (n, out_h, out_w, c_out)   weight, dweight: (c_out, kernel_h, kernel_w, c_in)
// a, b: (c_in) in the type of x   sum, squares: (c_out)   scale, shift, mean, rstd, dscale, dshift: (c_in), float
//
//   mean = sum / rows      var = max(0, squares / rows - mean^2)      rstd = 1 / sqrt(var + eps)
//   a    = scale * rstd    b   = shift - mean * a                     running statistics: batch_norm.h
//   z    = relu(a * x + b), or x without a
//   y    = conv(z, weight)       sum = sum(y), squares = sum(y^2) per channel
//   g    = dz where scale * (x - mean) * rstd + shift > 0, else 0; dz without scale
//   dshift  = sum(g)       dscale = sum(g * (x - mean) * rstd)
//   dx      = that of batch_norm.h with sums_given
//   dweight = that of conv.h with z for x
//
// Sums of squares lose digits where |mean| is much larger than the standard deviation; cuDNN's engines, which exist in
// float16 only, compute them this way, so this is an option. compute() is cuDNN on Cuda; on Cpu and Simt it combines
// the convolutions of conv.h with plain loops, and needs scratch memory for z.
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
