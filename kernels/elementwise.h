// Operations that treat every element alike. All arrays have `count` elements of one type.
//
//   Add                 y = a + b
//   ActivationForward   y = relu(x) = max(x, 0),  silu(x) = x * sigmoid(x),  sigmoid(x) = 1 / (1 + exp(-x))
//   ActivationBackward  dx = dy * activation'(x), recomputed from x; relu'(0) = 0        (assigned)
//   Cast                y = x, rounded to nearest even
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct Add {
    size_t count;
    const T *a, *b;
    T* y;
};

template <class T>
struct ActivationForward {
    size_t count;
    Activation activation;
    const T* x;
    T* y;
};

template <class T>
struct ActivationBackward {
    size_t count;
    Activation activation;
    const T *x, *dy;
    T* dx;
};

template <class T>
struct Cast {  // from float
    size_t count;
    const float* x;
    T* y;
};

void compute(const Cpu&, const Add<float>&);
void compute(const Cpu&, const ActivationForward<float>&);
void compute(const Cpu&, const ActivationBackward<float>&);
void compute(const Cpu&, const Cast<float>&);
template <class T>
void compute(const Simt&, const Add<T>&);
template <class T>
void compute(const Simt&, const ActivationForward<T>&);
template <class T>
void compute(const Simt&, const ActivationBackward<T>&);
template <class T>
void compute(const Simt&, const Cast<T>&);
template <class T>
void compute(const Cuda&, const Add<T>&);
template <class T>
void compute(const Cuda&, const ActivationForward<T>&);
template <class T>
void compute(const Cuda&, const ActivationBackward<T>&);
template <class T>
void compute(const Cuda&, const Cast<T>&);
