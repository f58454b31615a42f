// The interface between int8.cpp and its vectorised loops: window_loops.h with four bytes as a lane, or, where bytes
// cannot be multiplied exactly, with two numbers of 16 bits.
#pragma once

#include "kernels/conv/int8.h"
#include "kernels/conv/window_loops.h"

// What becomes of the sums: int8_terms.h.
struct Int8Result {
    Activation activation;
    bool is_early, is_late, in_steps;
    const int32_t* start;  // of the sums, (panel, 2 * lanes) as the two that follow
    const float *scale, *shift;
    float residual_scale, residual_shift, least, inverse, zero;
    const uint8_t* residual;
    uint8_t* y;
    float* y_float;
};

struct Int8Loops {
    size_t lanes, max_rows, numbers;  // numbers: of a lane
    void (*gather)(const WindowGather<uint8_t>&);
    void (*multiply)(const WindowTask<Int8Result>&, size_t panel);  // at most max_rows
};
extern const Int8Loops int8_loops_avx2, int8_loops_avx2_vnni, int8_loops_avx512_vnni;  // defined on x86-64 only

bool is_usable(const Int8Loops&);  // this processor has its instructions, and its level is not lowered
const Int8Loops* int8_loops();     // the fastest of those; null: none, the loops of int8_direct.cpp are used
size_t int8_scratch_bytes(const Cpu&, const ConvShape&, const Int8Loops&);
void int8_compute(const Cpu&, const ConvInt8&, const Int8Loops&);
