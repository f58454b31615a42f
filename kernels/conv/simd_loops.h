// The vectorised loops of Winograd's method and of the product of gathered rows, compiled once per instruction set, and
// the choice among them.
#pragma once

#include "kernels/conv/product_loops.h"
#include "kernels/conv/winograd_loops.h"

struct SimdLoops {
    WinogradLoops winograd, winograd_stride_2, winograd_bf16;
    ProductLoops product;
};
extern const SimdLoops avx2_loops, avx512_loops;  // defined on x86-64 only

const SimdLoops* simd_loops();  // the widest that this machine has; null: none
