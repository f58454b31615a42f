// Gradient of a bias that was added to every row: dbias[c] = sum over rows of dy[row, c]. Assigned.
// dy: (rows, channels), channels fastest   dbias: (channels), float
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct BiasBackward {
    size_t rows, channels;
    const T* dy;
    float* dbias;
};

template <class T>
void compute(const Cpu&, const BiasBackward<T>&);
template <class T>
size_t scratch_bytes(const Cpu&, const BiasBackward<T>&);  // see device.h
template <class T>
void compute(const Simt&, const BiasBackward<T>&);
template <class T>
void compute(const Cuda&, const BiasBackward<T>&);
