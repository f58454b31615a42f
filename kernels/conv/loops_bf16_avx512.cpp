// The loops of bf16.h for AVX-512 with VDPBF16PS: 14 x 2 sums, 2 weights and 1 input in 32 registers.
#define SIMD_LANES 16
#define SIMD_ROWS 14
#include "kernels/conv/bf16_vectors.h"

const Bf16Loops bf16_loops_avx512 = bf16_loops;
