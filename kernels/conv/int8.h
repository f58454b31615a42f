// Convolution of bytes on the CPU, for inference (see conv.h for shapes, quantize.h for what a byte stands for):
//
//   sum[n,p,q,k] = sum over r,s,c of (x[n,i,j,c] - x_range.zero) * weight[k,r,s,c]       in 32 bits, which is exact
//   y            = activation(sum * (x_range.scale * weight_scale[k]) + bias[k] + residual)
//                  or, with residual_last, activation(sum * (x_range.scale * weight_scale[k]) + bias[k]) + residual
//
// The rest is float32, each multiplication fused with the addition that follows it and SiLU as rough_silu(): compute()
// gives the same bytes as compute_direct(), on every processor, with any number of threads and images. Sums of up to
// 66,000 products cannot overflow.
//
// compute() packs the weights at their second use and keeps them, keyed by their address, until drop_packed_weights()
// (cpu.h). It multiplies by VPDPBUSD where the processor has it: Intel, 64 and IA-32 Architectures Software Developer's
// Manual, AVX512_VNNI and AVX-VNNI. With AVX2 alone bytes are widened to 16 bits, whose products cannot saturate.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/quantize.h"

struct ConvInt8 {
    ConvShape shape;
    Activation activation = Activation::none;
    bool residual_last = false;
    const uint8_t* x;
    Quantization x_range;
    const int8_t* weight;
    const float* weight_scale;          // (c_out): weight * scale is what it stands for
    const float* bias;                  // may be null
    const uint8_t* residual = nullptr;  // may be null; like y, and it may lie where y goes
    Quantization residual_range;
    uint8_t* y = nullptr;  // y or y_float: exactly one
    Quantization y_range;
    float* y_float = nullptr;
};

void compute(const Cpu&, const ConvInt8&);
void compute_direct(const Cpu&, const ConvInt8&);
