// Convolution on the CPU as a product of matrices, without a copy of x that holds every window: the rows that a block
// needs are gathered into the cache, line by line, just before they are multiplied.
//
//   y (pixels, c_out)            = rows (pixels, c_in) * weight^T (c_in, c_out)        1x1, no padding, any stride
//   dx (pixels, c_in)            = dy (pixels, c_out) * weight (c_out, c_in)           likewise; 0 between the pixels
//   dweight (c_out, taps * c_in) = dy^T (c_out, pixels) * rows (pixels, taps * c_in)   any kernel
//
// Blocks as in Goto and van de Geijn 2008, https://doi.org/10.1145/1356052.1356053: a panel of the right matrix stays
// in the first cache, a block of the left one in the second. Sums run over the depth in order, so a result depends
// neither on the number of threads nor on the instruction set.
#pragma once

#include "kernels/conv/conv.h"

struct ProductLoops;
const ProductLoops* product_loops();      // of simd_loops(); null: none
bool product_supports(const ConvShape&);  // channels that fill vectors, on this machine

// `scratch` has product_scratch_count() floats. Of ConvForward neither bias, residual nor activation is read.
size_t product_scratch_count(const Cpu&, const ConvForward<float>&, const ProductLoops& = *product_loops());
size_t product_scratch_count(const Cpu&, const ConvBackwardData<float>&, const ProductLoops& = *product_loops());
size_t product_scratch_count(const Cpu&, const ConvBackwardWeight<float>&, const ProductLoops& = *product_loops());
void product_compute(const Cpu&, const ConvForward<float>&, float* scratch, const ProductLoops& = *product_loops());
void product_compute(const Cpu&, const ConvBackwardData<float>&, float* scratch,
                     const ProductLoops& = *product_loops());
void product_compute(const Cpu&, const ConvBackwardWeight<float>&, float* scratch,
                     const ProductLoops& = *product_loops());
