// The interface between winograd.cpp and its vectorised loops. A point is one of the 36 positions of a transformed
// tile, a panel is two vectors of output channels.
//
//   transformed  (point, c_in / lanes, capacity, lanes)    of one block of tiles
//   packed       (panel, point, c_in, 2 * lanes)           c_in rounded up to lanes, c_out to panels, with zeros
//   products     (point, capacity, 2 * lanes)              of one block and one panel
//
//   gradient     (point, c_out / lanes, capacity, lanes)   dy, transformed
//   sums         (point, c_out, c_in)                      gradient of some vectors of c_out; rounded up to lanes
//
// A gap of a few floats follows each point, so that the points fall on different cache lines.
#pragma once

#include <cstddef>

constexpr size_t winograd_points = 36, winograd_gap = 16;

struct WinogradTask {
    size_t h, w, out_h, out_w, c_in, c_out, tiles_h, tiles_w;
    size_t first = 0, tiles = 0;  // of all images one behind the other, row by row
    size_t capacity;              // tiles that a block can hold
    size_t depth = 0;             // channels of x that `packed` has: all, or a part of them
    bool first_part, last_part;   // of those: products are assigned, else added; the inverse transform follows the last
    int activation;               // enum Activation
    bool residual_last;
    const void *x, *residual;  // float or bf16, as y
    const float *bias, *packed = nullptr;
    void* y;
    float *transformed = nullptr, *products = nullptr;
};
struct WinogradPack {
    size_t c_in, c_out;   // of the convolution that the packed weights serve
    size_t first, depth;  // which of c_in
    bool flipped;
    const void* weight;  // float or bf16
    float* packed;
};

struct WinogradWeightTask {
    size_t c_in, c_out, tiles, capacity;
    size_t out_first, out_blocks;  // which vectors of c_out
    bool first;                    // of the blocks of tiles: sums are assigned, else added
    const float *transformed, *gradient;
    float* sums;
    void* dweight;  // float or bf16
};

struct WinogradLoops {   // for x, y and weights of one type; sums and transformed numbers are always float
    size_t lanes, rows;  // rows: maximum of tiles whose products are summed in registers
    size_t points;       // of a transformed tile: 36, or 81 of stride 2, whose packed weights have 36 as well
    void (*transform)(const WinogradTask&, size_t channel_block);
    void (*multiply)(const WinogradTask&, size_t panel);  // and what follows, into y; packed are those of the panel
    void (*pack)(const WinogradPack&, size_t panel);      // likewise
    void (*transform_gradient)(const WinogradTask&, size_t channel_block);              // x and c_in are those of dy
    void (*accumulate)(const WinogradWeightTask&, size_t point, size_t channel_block);  // of out_blocks
    void (*finish)(const WinogradWeightTask&, size_t channel);                          // of theirs
};
