// Two-dimensional convolution (cross-correlation, as everywhere in deep learning), with bias, residual and activation.
//
// x: (n, h, w, c_in)   y: (n, out_h, out_w, c_out)   weight, dweight: (c_out, kernel_h, kernel_w, c_in)
// bias: (c_out), always float   residual: like y, and on Cpu it may lie where y goes
//
//   y[n,p,q,k] = sum over r,s,c of x[n,i,j,c] * weight[k,r,s,c]     with i = p * stride + r - padding
//                                                                        j = q * stride + s - padding
//   y          = activation(y + bias + residual)        or, with residual_last, activation(y + bias) + residual
//   dx[n,i,j,c]      = sum over k and all p,q,r,s that meet i and j of dy[n,p,q,k] * weight[k,r,s,c]
//   dweight[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] * x[n,i,j,c]
//
// With dx2 and x, where x is the output of a ReLU, dx is the gradient of what the ReLU read: dx + dx2 where x > 0,
// else 0. Not on Cpu.
//
// Outside the image, x counts as 0. Gradients are assigned. The bias gradient is kernels/bias.h.
//
// compute() on Cpu chooses among Winograd's method, matrix products, oneDNN and the plain loops (cpu.cpp) in float, and
// is bf16.h in bf16; on Cuda it is cuDNN, on Simt the kernels of direct.cu. compute_direct() is the readable reference
// on every device: the loops of loops.cpp, the kernels of direct.cu.
#pragma once

#include <compare>

#include "kernels/device.h"
#include "kernels/types.h"

struct ConvShape {
    size_t n, h, w, c_in, c_out;
    size_t kernel_h, kernel_w;
    size_t stride = 1, padding = 0;

    HOST_DEVICE size_t out_h() const { return (h + 2 * padding - kernel_h) / stride + 1; }
    HOST_DEVICE size_t out_w() const { return (w + 2 * padding - kernel_w) / stride + 1; }
    HOST_DEVICE size_t x_count() const { return n * h * w * c_in; }
    HOST_DEVICE size_t y_count() const { return n * out_h() * out_w() * c_out; }
    HOST_DEVICE size_t weight_count() const { return c_out * kernel_h * kernel_w * c_in; }
    double flops() const { return 2.0 * double(y_count()) * double(kernel_h * kernel_w * c_in); }
    auto operator<=>(const ConvShape&) const = default;
};

template <class T>
struct ConvForward {
    ConvShape shape;
    Activation activation = Activation::none;
    bool residual_last = false;
    const T *x, *weight;
    const float* bias;  // may be null
    const T* residual;  // may be null
    T* y;
    bool weight_is_constant = false;  // inference: packed copies of weight may be kept, keyed by its address (cpu.h)
};

template <class T>
struct ConvBackwardData {
    ConvShape shape;
    const T *dy, *weight;
    T* dx;
    const T *dx2 = nullptr, *x = nullptr;  // both or none
};

template <class T>
struct ConvBackwardWeight {
    ConvShape shape;
    const T *x, *dy;
    T* dweight;
};

void compute(const Cpu&, const ConvForward<float>&);
void compute(const Cpu&, const ConvBackwardData<float>&);
void compute(const Cpu&, const ConvBackwardWeight<float>&);
void compute(const Cpu&, const ConvForward<bf16>&);
void compute(const Cpu&, const ConvBackwardData<bf16>&);
void compute(const Cpu&, const ConvBackwardWeight<bf16>&);
size_t scratch_bytes(const Cpu&, const ConvForward<float>&);  // see device.h; these create the oneDNN primitive
size_t scratch_bytes(const Cpu&, const ConvBackwardData<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<float>&);
size_t scratch_bytes(const Cpu&, const ConvForward<bf16>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardData<bf16>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<bf16>&);
template <class T>
void compute(const Simt&, const ConvForward<T>&);
template <class T>
void compute(const Simt&, const ConvBackwardData<T>&);
template <class T>
void compute(const Simt&, const ConvBackwardWeight<T>&);
template <class T>
void compute(const Cuda&, const ConvForward<T>&);
template <class T>
void compute(const Cuda&, const ConvBackwardData<T>&);
template <class T>
void compute(const Cuda&, const ConvBackwardWeight<T>&);

template <class T>
void compute_direct(const Cpu&, const ConvForward<T>&);
template <class T>
void compute_direct(const Cpu&, const ConvBackwardData<T>&);
template <class T>
void compute_direct(const Cpu&, const ConvBackwardWeight<T>&);
template <class T>
void compute_direct(const Simt&, const ConvForward<T>&);
template <class T>
void compute_direct(const Simt&, const ConvBackwardData<T>&);
template <class T>
void compute_direct(const Simt&, const ConvBackwardWeight<T>&);
template <class T>
void compute_direct(const Cuda&, const ConvForward<T>&);
template <class T>
void compute_direct(const Cuda&, const ConvBackwardData<T>&);
template <class T>
void compute_direct(const Cuda&, const ConvBackwardWeight<T>&);
