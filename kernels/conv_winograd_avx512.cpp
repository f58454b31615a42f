// The loops of conv_winograd.h for AVX-512: 14 x 2 sums, 2 weights and 1 input in 32 registers.
#define WINOGRAD_LANES 16
#define WINOGRAD_ROWS 14
#include "kernels/conv_product_vectors.h"
#include "kernels/conv_winograd_vectors.h"

const WinogradLoops winograd_avx512 = {lanes, rows_most,          transform,  multiply,
                                       pack,  transform_gradient, accumulate, finish};

const ProductLoops product_avx512 = {lanes, gather, pack_product, multiply_product, accumulate_product};
