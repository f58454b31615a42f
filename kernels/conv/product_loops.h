// What product.cpp asks of its loops, and how they lay out memory. A panel is two vectors of columns.
//
//   gathered   (width / lanes, room, lanes)   some rows of a matrix, cut into vectors
//   packed     (panel, depth, 2 * lanes)      the right matrix
#pragma once

#include <cstddef>

struct ProductRows {
    const float* const* from;  // null: a row of 0
    size_t rows, offset, width, room;
    float* to;
};
// What the next block gathers, fetched into the second cache while this one is multiplied: a few lines at a time, since
// a burst of them would wait for memory.
struct ProductAhead {
    const float* const* row;
    const float* const* end;
    size_t offset, width, at = 0, rate = 0;  // rate: lines for every four steps of a sum
};
struct ProductPack {
    size_t depth, columns;
    bool transposed;  // weight is (columns, depth), else (depth, columns)
    const float* weight;
    float* packed;
};
struct ProductTask {
    size_t rows, room, depth, columns;
    bool first;                 // of the parts of the depth: out is assigned, else added to
    const float *left, *right;  // gathered; packed
    float* const* out;          // of every row
    ProductAhead* ahead;
};
struct ProductSum {
    size_t depth, room, rows, columns, pitch;
    bool first;
    const float *left, *right;  // gathered both: out = left^T right
    float* out;                 // (rows, pitch)
    ProductAhead* ahead;        // two, one after the other: of left and of right
};

struct ProductLoops {
    size_t lanes;
    void (*gather)(const ProductRows&);
    void (*pack)(const ProductPack&, size_t panel);
    void (*multiply)(const ProductTask&, size_t panel);
    void (*accumulate)(const ProductSum&);
};
extern const ProductLoops product_avx2, product_avx512;
