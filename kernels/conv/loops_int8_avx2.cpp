// The loops of int8.h for AVX2, which multiplies numbers of 16 bits: 5 x 2 sums, 2 weights, 1 input and 1 product in 16
// registers.
#define SIMD_LANES 8
#define SIMD_ROWS 5
#include "kernels/conv/int8_vectors.h"

const Int8Loops int8_loops_avx2 = {lanes, max_rows, numbers, gather, multiply_product};
