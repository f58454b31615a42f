// What winograd.cpp asks of its loops, and how they lay out memory. Below: a point is one of the 36 positions of a
// transformed tile, a panel is two vectors of output channels.
//
//   transformed  (point, c_in / lanes, room, lanes)   of one block of tiles
//   packed       (panel, point, c_in, 2 * lanes)      c_in rounded up to lanes, c_out to panels; what is added is 0
//   products     (point, room, 2 * lanes)             of one block and one panel
//
//   gradient     (point, c_out / lanes, room, lanes)  dy, transformed
//   sums         (point, c_out, c_in)                 of the gradient of the weights, of some vectors of c_out; rounded
//   up to lanes
//
// Between two points lie a few floats more, lest all 36 fall on the same lines of the cache.
#pragma once

#include <cstddef>

constexpr size_t winograd_points = 36, winograd_gap = 16;

struct WinogradTask {
    size_t h, w, c_in, c_out, tiles_h, tiles_w;
    size_t first, tiles;         // of all images one behind the other, row by row
    size_t room;                 // tiles that a block has room for
    size_t depth;                // channels of x that `packed` has: all, or a part of them
    bool first_part, last_part;  // of those parts: products are assigned, else added; what follows comes after the last
    int activation;              // enum Activation
    bool residual_last;
    const float *x, *bias, *residual, *packed;
    float *y, *transformed, *products;
};
struct WinogradPack {
    size_t c_in, c_out;   // of the convolution that the packed weights serve
    size_t first, depth;  // which of c_in
    bool flipped;
    const float* weight;
    float* packed;
};

struct WinogradWeightTask {
    size_t c_in, c_out, tiles, room;
    size_t out_first, out_blocks;  // which vectors of c_out
    bool first;                    // of the blocks of tiles: sums are assigned, else added
    const float *transformed, *gradient;
    float *sums, *dweight;
};

struct WinogradLoops {
    size_t lanes, rows;  // rows: the most tiles whose products are summed in registers
    void (*transform)(const WinogradTask&, size_t channel_block);
    void (*multiply)(const WinogradTask&, size_t panel);  // and what follows, into y; packed are those of the panel
    void (*pack)(const WinogradPack&, size_t panel);      // likewise
    void (*transform_gradient)(const WinogradTask&, size_t channel_block);              // x and c_in are those of dy
    void (*accumulate)(const WinogradWeightTask&, size_t point, size_t channel_block);  // of out_blocks
    void (*finish)(const WinogradWeightTask&, size_t channel);                          // of theirs
};
extern const WinogradLoops winograd_avx2, winograd_avx512;
