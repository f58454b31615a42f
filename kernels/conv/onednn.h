// Convolution on the CPU by oneDNN: see conv.h for the arithmetic, cpu.cpp for when it is asked.
#pragma once

#include "kernels/conv/conv.h"

namespace onednn {
void convolve(const Cpu&, const ConvForward<float>&);
void convolve(const Cpu&, const ConvBackwardData<float>&);
void convolve(const Cpu&, const ConvBackwardWeight<float>&);

// Without AVX2 (an old processor, or DNNL_MAX_CPU_ISA) version 2.6 is not: of forward where channels do not fill
// vectors and something follows. Nothing is left to it then.
bool supports_this_cpu();

size_t scratch_bytes(const Cpu&, const ConvForward<float>&);  // these create the primitive
size_t scratch_bytes(const Cpu&, const ConvBackwardData<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<float>&);

void drop_packed_weights();
size_t packed_weight_count();  // kernels/conv/cpu.h
}  // namespace onednn
