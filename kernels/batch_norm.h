// Batch normalization of the channels of x in training, with the addition and the activation that follow it.
// Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167
//
// x, y, dx, dy, dy2, residual, dresidual: (rows, channels) with rows = N*H*W, channels fastest.
// scale, shift, mean, rstd, running_*, dscale, dshift: (channels), always float.
//
//   mean = sum(x) / rows          var = sum((x - mean)^2) / rows          rstd = 1 / sqrt(var + eps)
//   z    = scale * xhat + shift + residual      where xhat = (x - mean) * rstd
//   y    = activation(z)                        none, relu or silu; silu takes no residual
//   running_mean = (1 - momentum) * running_mean + momentum * mean
//   running_var  = (1 - momentum) * running_var  + momentum * var * rows / (rows - 1)      (unbiased; rows > 1)
//
//   g  = (dy + dy2) * activation'(z)            relu: 1 where y > 0, else 0
//   dshift = sum(g)      dscale = sum(g * xhat)      dresidual = g
//   dx = scale * rstd * (g - (dshift + xhat * dscale) / rows)
//
// With `ranks`, the sums over rows behind mean, var and dx are those over the rows of all ranks, each of which has as
// many; dscale and dshift stay those of this rank, as other gradients.
//
// All gradients are assigned, not accumulated. dy2 is the second of two gradients that meet here (a residual
// connection), so that their sum is never written to memory. Forward moves x twice and residual and y once; backward x,
// dy and dy2 twice and dx once; with a residual x and dresidual twice, y, dy, dy2 and dx once: g is rounded to T where
// it is written to dresidual. On Cpu dx may lie where x is or where dy is, and dresidual where dy is.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

class Ranks;  // base/ranks.h

struct BatchNormShape {
    size_t rows, channels;
    float eps = 1e-5f;
    Activation activation = Activation::none;
};

template <class T>
struct BatchNormForward {
    BatchNormShape shape;
    float momentum;  // of the running statistics, in PyTorch's sense: the weight of the new batch
    const T* x;
    const float *scale, *shift;
    const T* residual;                  // may be null
    float *running_mean, *running_var;  // updated; may both be null
    T* y;
    float *mean, *rstd;
    Ranks* ranks = nullptr;
};

template <class T>
struct BatchNormBackward {
    BatchNormShape shape;
    const T *x, *y, *dy, *dy2;                 // dy2 may be null; y is read for relu with a residual only
    const float *scale, *shift, *mean, *rstd;  // shift is read for an activation without residual only
    T* dx;
    float *dscale, *dshift;
    T* dresidual;  // null exactly where forward had no residual
    Ranks* ranks = nullptr;
};

template <class T>
void compute(const Cpu&, const BatchNormForward<T>&);
template <class T>
void compute(const Cpu&, const BatchNormBackward<T>&);
template <class T>
size_t scratch_bytes(const Cpu&, const BatchNormForward<T>&);  // see device.h
template <class T>
size_t scratch_bytes(const Cpu&, const BatchNormBackward<T>&);
template <class T>
void compute(const Simt&, const BatchNormForward<T>&);
template <class T>
void compute(const Simt&, const BatchNormBackward<T>&);
template <class T>
void compute(const Cuda&, const BatchNormForward<T>&);
template <class T>
void compute(const Cuda&, const BatchNormBackward<T>&);
