// The classifier's matrix product. The output is float on every device: it feeds the softmax.
//
// x: (rows, in)   weight, dweight: (out, in)   bias, dbias: (out), float   y, dy: (rows, out), float   dx: (rows, in)
//
//   y = x * weight^T + bias
//   dx = dy * weight      dweight = dy^T * x      dbias = sum over rows of dy          (all assigned)
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

struct LinearShape {
    size_t rows, in, out;
    bool operator==(const LinearShape&) const = default;
};

template <class T>
struct LinearForward {
    LinearShape shape;
    const T *x, *weight;
    const float* bias;  // may be null
    float* y;
};

template <class T>
struct LinearBackward {
    LinearShape shape;
    const T *x, *weight;
    const float* dy;
    T *dx, *dweight;  // each may be null
    float* dbias;     // may be null
};

void compute(const Cpu&, const LinearForward<float>&);
void compute(const Cpu&, const LinearBackward<float>&);
void compute(const Cpu&, const LinearForward<bf16>&);
void compute(const Cpu&, const LinearBackward<bf16>&);
size_t scratch_bytes(const Cpu&, const LinearBackward<float>&);  // see device.h
size_t scratch_bytes(const Cpu&, const LinearBackward<bf16>&);
template <class T>
void compute(const Simt&, const LinearForward<T>&);
template <class T>
void compute(const Simt&, const LinearBackward<T>&);
template <class T>
void compute(const Cuda&, const LinearForward<T>&);
template <class T>
void compute(const Cuda&, const LinearBackward<T>&);

// The tiled kernels of linear.cu, the readable reference beside cuBLAS. On Simt compute() is the same kernels.
template <class T>
void compute_direct(const Cuda&, const LinearForward<T>&);
template <class T>
void compute_direct(const Cuda&, const LinearBackward<T>&);
