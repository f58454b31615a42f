// The loops of winograd.h and product.h for AVX-512: 14 x 2 sums, 2 weights and 1 input in 32 registers.
#define SIMD_LANES 16
#define SIMD_ROWS 14
#include "kernels/conv/product_vectors.h"
#include "kernels/conv/simd_loops.h"
#include "kernels/conv/winograd_vectors.h"

const SimdLoops avx512_loops = {
    .winograd = {lanes, max_rows, transform, multiply, pack, transform_gradient, accumulate, finish},
    .product = {lanes, gather, pack_product, multiply_product, accumulate_product}};
