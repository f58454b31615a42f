// The product of matrices as plain loops, for machines without oneDNN (onednn.h).
//
//   y (m, n) = scale * a (m, k) * b (k, n) + beta * y        all row-major; transposed: a lies as (k, m), b as (n, k)
//
// The sums run over k in order: a result depends neither on the number of threads nor on the other rows.
#pragma once

#include "kernels/device.h"

struct MatrixProduct {
    size_t m, n, k;
    const float* a;
    size_t a_pitch;  // elements from a row, as it lies, to the next one; likewise below
    bool a_transposed;
    const float* b;
    size_t b_pitch;
    bool b_transposed;
    float scale = 1, beta;
    float* y;
    size_t y_pitch;
};

void compute(const Cpu&, const MatrixProduct&);
