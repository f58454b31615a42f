// Convolution on the CPU by oneDNN: see conv.h for the arithmetic, cpu.cpp for when it is asked.
#pragma once

#include "kernels/conv/conv.h"

namespace onednn {
void convolve(const Cpu&, const ConvForward<float>&);
void convolve(const Cpu&, const ConvBackwardData<float>&);
void convolve(const Cpu&, const ConvBackwardWeight<float>&);
void convolve(const Cpu&, const ConvForward<bf16>&);  // needs AVX-512, as all of bf16
void convolve(const Cpu&, const ConvBackwardData<bf16>&);
void convolve(const Cpu&, const ConvBackwardWeight<bf16>&);

// False where it is not installed, and without AVX2 (an old processor, or DNNL_MAX_CPU_ISA): oneDNN 2.6 then computes
// wrong forward results where something follows the convolution and the channels do not fill vectors. The plain loops
// are used instead.
bool supports_this_cpu();

// oneDNN uses the processor's matrix unit, several times faster in bf16 than own kernels without it.
bool has_amx();

size_t scratch_bytes(const Cpu&, const ConvForward<float>&);  // these create the primitive
size_t scratch_bytes(const Cpu&, const ConvBackwardData<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<float>&);
size_t scratch_bytes(const Cpu&, const ConvForward<bf16>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardData<bf16>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<bf16>&);

// The parts of cpu.h's functions.
void drop_packed_weights(const void* memory, size_t bytes);
size_t packed_weight_count();
size_t primitives_created();
}  // namespace onednn
