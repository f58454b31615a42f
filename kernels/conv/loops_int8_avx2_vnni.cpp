// The loops of int8.h for AVX2 with AVX-VNNI: 6 x 2 sums, 2 weights and 1 input in 16 registers.
#define SIMD_LANES 8
#define SIMD_ROWS 6
#include "kernels/conv/int8_vectors.h"

const Int8Loops int8_loops_avx2_vnni = {lanes, max_rows, numbers, gather, multiply_product};
