// Convolution on the CPU by oneDNN: see conv.h for the arithmetic, conv_cpu.cpp for when it is asked.
#pragma once

#include "kernels/conv.h"

namespace onednn {
void convolve(const Cpu&, const ConvForward<float>&);
void convolve(const Cpu&, const ConvBackwardData<float>&);
void convolve(const Cpu&, const ConvBackwardWeight<float>&);

size_t scratch_bytes(const Cpu&, const ConvForward<float>&);  // these create the primitive
size_t scratch_bytes(const Cpu&, const ConvBackwardData<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<float>&);

void forget_constant_weights();
size_t weights_kept();  // kernels/conv_cpu.h
}  // namespace onednn
