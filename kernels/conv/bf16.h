// Convolution in bf16 on the CPU, by VDPBF16PS where the processor has it: a product of matrices whose left rows, the
// windows of x, are gathered into the cache just before they are multiplied (as product.h does in float). Any shape.
//
//   y (pixels, c_out)            = windows (pixels, taps * c_in) * weight^T          bias, residual, activation follow
//   dx (pixels, c_in)            = windows of dy (pixels, taps * c_out) * weight     once per phase of the stride
//   dweight (c_out, taps * c_in) = dy^T (c_out, pixels) * windows (pixels, taps * c_in)
//
// Two numbers that follow each other in the depth are multiplied at once: two channels, or for dweight two pixels. Sums
// are floats, added in the order of the depth: a result depends neither on the number of threads nor on that of images.
//
// VDPBF16PS: Intel, Architecture Instruction Set Extensions Programming Reference, AVX512_BF16.
#pragma once

#include "kernels/conv/bf16_loops.h"
#include "kernels/conv/conv.h"

const Bf16Loops* bf16_loops();  // the fastest that this machine has; null: none, the loops of loops.cpp are used

size_t bf16_scratch_bytes(const Cpu&, const ConvForward<bf16>&, const Bf16Loops&);
size_t bf16_scratch_bytes(const Cpu&, const ConvBackwardData<bf16>&, const Bf16Loops&);
size_t bf16_scratch_bytes(const Cpu&, const ConvBackwardWeight<bf16>&, const Bf16Loops&);
void bf16_compute(const Cpu&, const ConvForward<bf16>&, const Bf16Loops&);
void bf16_compute(const Cpu&, const ConvBackwardData<bf16>&, const Bf16Loops&);
void bf16_compute(const Cpu&, const ConvBackwardWeight<bf16>&, const Bf16Loops&);
