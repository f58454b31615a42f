// Operations that treat every element alike. All arrays have `count` elements.
//
//   Add    y = a + b                         all of one type
//   Cast   y = x, rounded to nearest even    from float; on GPUs only
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
struct Cast {
    size_t count;
    const float* x;
    T* y;
};

template <class T>
void compute(const Cpu&, const Add<T>&);
template <class T>
void compute(const Simt&, const Add<T>&);
template <class T>
void compute(const Simt&, const Cast<T>&);
template <class T>
void compute(const Cuda&, const Add<T>&);
template <class T>
void compute(const Cuda&, const Cast<T>&);
