// The interface between product.cpp and its vectorised loops. A panel is two vectors of columns.
//
//   gathered   (width / lanes, capacity, lanes)   some rows of a matrix, cut into vectors
//   packed     (panel, depth, 2 * lanes)          the right matrix
#pragma once

#include <cstddef>

struct ProductRows {
    const float* const* from;  // null: a row of 0
    size_t rows, offset, width, capacity;
    float* to;
};
// The rows that the next block gathers, fetched into the second cache while this one is multiplied: a few lines at a
// time, because a burst of them would wait for memory.
struct Prefetch {
    const float* const* row;
    const float* const* end;
    size_t offset, width, at = 0, rate = 0;  // rate: cache lines per four steps of a sum
};
struct ProductPack {
    size_t depth, columns;
    bool transposed;  // weight is (columns, depth), else (depth, columns)
    const float* weight;
    float* packed;
};
struct ProductTask {
    size_t rows, capacity, depth, columns;
    bool first;                 // part of the depth: out is assigned, else added to
    const float *left, *right;  // gathered; packed
    float* const* out;          // of every row
    Prefetch* prefetch;
};
struct ProductSum {
    size_t depth, capacity, rows, columns, pitch;
    bool first;
    const float *left, *right;  // both gathered; out = left^T * right
    float* out;                 // (rows, pitch)
    Prefetch* prefetch;         // two: of left, then of right
};

struct ProductLoops {
    size_t lanes;
    void (*gather)(const ProductRows&);
    void (*pack)(const ProductPack&, size_t panel);
    void (*multiply)(const ProductTask&, size_t panel);
    void (*accumulate)(const ProductSum&);
};
