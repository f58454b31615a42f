// The loops of bf16.h for AVX2, which multiplies floats: 4 x 2 sums in 16 registers.
#define SIMD_LANES 8
#define SIMD_ROWS 4
#include "kernels/conv/bf16_vectors.h"

const Bf16Loops bf16_loops_avx2 = bf16_loops;
