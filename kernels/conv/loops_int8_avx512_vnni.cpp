// The loops of int8.h for AVX-512 with AVX512_VNNI: 14 x 2 sums, 2 weights and 1 input in 32 registers.
#define SIMD_LANES 16
#define SIMD_ROWS 14
#include "kernels/conv/int8_vectors.h"

const Int8Loops int8_loops_avx512_vnni = {lanes, max_rows, numbers, gather, multiply_product};
