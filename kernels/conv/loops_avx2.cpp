// The loops of winograd.h and product.h for AVX2: 6 x 2 sums, 2 weights and 1 input in 16 registers.
#define SIMD_LANES 8
#define SIMD_ROWS 6
#include "kernels/conv/product_vectors.h"
#include "kernels/conv/simd_loops.h"
#include "kernels/conv/winograd_vectors.h"

const SimdLoops avx2_loops = {.winograd = winograd_loops_of<float>,
                              .winograd_stride_2 = winograd_loops_of_stride_2,
                              .winograd_bf16 = winograd_loops_of<bf16>,
                              .product = {lanes, gather, pack_product, multiply_product, accumulate_product}};
