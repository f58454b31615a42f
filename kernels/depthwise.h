// Depthwise convolution: every channel has its own filter and sees no other. Chollet 2017,
// https://arxiv.org/abs/1610.02357
//
//   x, residual, y: (n, h, w, c)   weight: (c, 3, 3, 1)   bias: (c), float   the residual may be null
//   y[n,p,q,c] = activation(bias[c] + sum over r,s of x[n,p+r-1,q+s-1,c] * weight[c,r,s]) + residual[n,p,q,c]
//   outside x counts as 0
//
// Forward only: the networks that need it are not trained here.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct DepthwiseConv {
    size_t n, h, w, c;
    Activation activation;
    const T *x, *weight;
    const float* bias;
    const T* residual;
    T* y;
};

template <class T>
void compute(const Cpu&, const DepthwiseConv<T>&);
template <class T>
void compute(const Simt&, const DepthwiseConv<T>&);
template <class T>
void compute(const Cuda&, const DepthwiseConv<T>&);
