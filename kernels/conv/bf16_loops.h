// The interface between bf16.cpp, bf16_weight.cpp and their vectorised loops: window_loops.h with pairs of bf16 as
// lanes.
#pragma once

#include <cstddef>

#include "kernels/conv/window_loops.h"
#include "kernels/types.h"

// Number i of the depth's channel c in run r and column s, of output k, lies at weight[r * run_step + s * column_step +
// c * channel_step + k * out_step]; channel_step or out_step is 1, and with channel_step 1 column_step is `channels`.
struct Bf16Pack {
    const bf16* weight;
    size_t runs, columns, channels, outs;
    ptrdiff_t run_step, column_step, channel_step, out_step;
    uint32_t* packed;
};

// What becomes of the sums: see ConvForward.
struct Bf16Result {
    const float* bias = nullptr;
    const bf16* residual = nullptr;
    Activation activation = Activation::none;
    bool residual_last = false;
    bf16* y;
};
// What a pixel gives to a sum over pixels. Two pixels make a row of pairs.
struct Bf16Span {
    ptrdiff_t at;        // number of x where it starts; it may lie outside
    size_t first, last;  // numbers inside x: [first, last); the others count as 0
};
struct Bf16Pairs {
    const bf16* x;
    const Bf16Span* span;  // two per pair
    size_t pairs, offset, width, step, capacity;
    uint32_t* to;  // (width / step, capacity, lanes)
};
struct Bf16Sum {
    size_t pairs, capacity, rows, row_step, columns, pitch;
    bool first, last;              // of the depth: sums are assigned; the result is written
    const uint32_t *left, *right;  // pairs in steps of row_step; of lanes
    float* sums;                   // (rows, pitch)
    bf16* out;                     // likewise
};

struct Bf16Loops {
    size_t lanes, max_rows;
    void (*gather)(const WindowGather<bf16>&);
    void (*pack)(const Bf16Pack&, size_t panel);
    void (*multiply)(const WindowTask<Bf16Result>&, size_t panel);  // at most max_rows
    void (*gather_pairs)(const Bf16Pairs&);
    void (*accumulate)(const Bf16Sum&);
    void (*activate)(bf16* y, const bf16* residual, size_t count);  // y = silu(y) + residual, which may be null
};
extern const Bf16Loops bf16_loops_avx2, bf16_loops_avx512;  // defined on x86-64 only
