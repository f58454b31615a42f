// Max pooling over a square window, and the mean of each channel over all pixels.
//
// MaxPool        x, dx: (n, h, w, c)   y, dy, argmax: (n, out_h, out_w, c)
//   y[n,p,q,c] = max over r,s of x[n, p*stride + r - padding, q*stride + s - padding, c]; outside x counts as -inf
//   argmax     = r * kernel + s of the first maximum in row-major order (a NaN counts as a maximum)
//   dx[n,i,j,c] = sum of dy + dy2 over the windows whose argmax is (i, j); dy2 may be null              (assigned)
//   padding <= kernel / 2, kernel <= 15: every window sees x, and argmax fits a byte
//
// GlobalAveragePool   x, dx: (n, pixels, c)   y, dy: (n, c)
//   y = sum over pixels of x / pixels          dx = dy / pixels                                        (assigned)
//
// AveragePool2   x: (n, h, w, c), y: (n, h - 1, w - 1, c): the mean of each 2 x 2 window, stride 1, forward only
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

struct MaxPoolShape {
    size_t n, h, w, c, kernel, stride, padding;
    size_t out_h() const { return (h + 2 * padding - kernel) / stride + 1; }
    size_t out_w() const { return (w + 2 * padding - kernel) / stride + 1; }
};

template <class T>
struct MaxPoolForward {
    MaxPoolShape shape;
    const T* x;
    T* y;
    uint8_t* argmax;  // null when no gradient will be asked for
};

template <class T>
struct MaxPoolBackward {
    MaxPoolShape shape;
    const T *dy, *dy2;
    const uint8_t* argmax;
    T* dx;
};

template <class T>
struct GlobalAveragePoolForward {
    size_t n, pixels, c;
    const T* x;
    T* y;
};

template <class T>
struct GlobalAveragePoolBackward {
    size_t n, pixels, c;
    const T* dy;
    T* dx;
};

template <class T>
struct AveragePool2 {
    size_t n, h, w, c;  // of x
    const T* x;
    T* y;
};

template <class T>
void compute(const Cpu&, const AveragePool2<T>&);
template <class T>
void compute(const Simt&, const AveragePool2<T>&);
template <class T>
void compute(const Cuda&, const AveragePool2<T>&);
template <class T>
void compute(const Cpu&, const MaxPoolForward<T>&);
template <class T>
void compute(const Cpu&, const MaxPoolBackward<T>&);
template <class T>
void compute(const Cpu&, const GlobalAveragePoolForward<T>&);
template <class T>
void compute(const Cpu&, const GlobalAveragePoolBackward<T>&);
template <class T>
void compute(const Simt&, const MaxPoolForward<T>&);
template <class T>
void compute(const Simt&, const MaxPoolBackward<T>&);
template <class T>
void compute(const Simt&, const GlobalAveragePoolForward<T>&);
template <class T>
void compute(const Simt&, const GlobalAveragePoolBackward<T>&);
template <class T>
void compute(const Cuda&, const MaxPoolForward<T>&);
template <class T>
void compute(const Cuda&, const MaxPoolBackward<T>&);
template <class T>
void compute(const Cuda&, const GlobalAveragePoolForward<T>&);
template <class T>
void compute(const Cuda&, const GlobalAveragePoolBackward<T>&);
