// The loops of product.h on the vectors of simd.h.
#pragma once

#include "kernels/conv/product_loops.h"
#include "kernels/conv/simd.h"
#include "kernels/index.h"

namespace {
void gather(const ProductRows& g) {
    for (size_t r = 0; r < g.rows; ++r) {
        const float* const from = g.from[r] ? g.from[r] + g.offset : nullptr;
        float* to = g.to + r * lanes;
        for (size_t c = 0; c < g.width; c += lanes, to += g.capacity * lanes)
            store(to, from ? load(from + c) : Vector{});
    }
}

inline void fetch(Prefetch& a) {
    for (size_t i = 0; i < a.rate && a.row != a.end; ++i) {
        __builtin_prefetch(*a.row + a.offset + a.at, 0, 2);
        a.at += 16;
        if (a.at >= a.width) a.at = 0, ++a.row;
    }
}

void pack_product(const ProductPack& w, size_t panel) {
    float* const packed = w.packed + panel * w.depth * panel_lanes;
    for (size_t vector = 0; vector < 2; ++vector) {
        const size_t column = panel * panel_lanes + vector * lanes;
        if (column >= w.columns) return;
        for (size_t k = 0; k < w.depth; k += lanes) {
            Vector rows[lanes];
            for (size_t i = 0; i < lanes; ++i)
                rows[i] = load(w.transposed ? w.weight + (column + i) * w.depth + k
                                            : w.weight + (k + i) * w.columns + column);
            if (w.transposed) transpose(rows);
            for (size_t i = 0; i < lanes; ++i) store(packed + (k + i) * panel_lanes + vector * lanes, rows[i]);
        }
    }
}

// out (rows, vectors * lanes) = left (rows, depth) * right (depth, vectors * lanes)
template <size_t rows, size_t vectors>
void multiply_rows(const ProductTask& t, const float* v, const float* u, float* const* out, size_t column) {
    Vector sum[rows][vectors] = {};
    Prefetch prefetch = *t.prefetch;
    for (size_t block = t.depth / lanes; block--; v += t.capacity * lanes) {
        for (size_t r = 0; r < rows; ++r) __builtin_prefetch(v + (t.capacity + r) * lanes);
        for (size_t quarter = 0; quarter < lanes; quarter += 4) {
            fetch(prefetch);
#pragma GCC unroll 4
            for (size_t c = quarter; c < quarter + 4; ++c, u += panel_lanes) {
                Vector weight[vectors];
#pragma GCC unroll 2
                for (size_t k = 0; k < vectors; ++k) weight[k] = load(u + k * lanes);
#pragma GCC unroll 14
                for (size_t r = 0; r < rows; ++r) {
                    const float value = v[r * lanes + c];
#pragma GCC unroll 2
                    for (size_t k = 0; k < vectors; ++k) sum[r][k] += weight[k] * value;
                }
            }
        }
    }
    *t.prefetch = prefetch;
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k) {
            float* const to = out[r] + column + k * lanes;
            store(to, t.first ? sum[r][k] : load(to) + sum[r][k]);
        }
}

template <size_t vectors, size_t... i>
auto multiply_rows_of(size_t rows, std::index_sequence<i...>) {
    static constexpr decltype(&multiply_rows<1, vectors>) table[] = {multiply_rows<i + 1, vectors>...};
    return table[rows - 1];
}

void multiply_product(const ProductTask& t, size_t panel) {
    constexpr std::make_index_sequence<max_rows> all_rows;
    const size_t column = panel * panel_lanes;
    const size_t groups = ceil_div(t.rows, max_rows);
    for (size_t group = 0; group < groups; ++group) {
        const size_t first = t.rows * group / groups, rows = t.rows * (group + 1) / groups - first;
        (t.columns - column > lanes ? multiply_rows_of<2>(rows, all_rows) : multiply_rows_of<1>(rows, all_rows))(
            t, t.left + first * lanes, t.right, t.out + first, column);
    }
}

// out (lanes / 2, vectors * lanes) += left^T (depth, lanes / 2) * right (depth, vectors * lanes)
template <size_t vectors>
void accumulate_rows(const ProductSum& s, const float* left, const float* right, float* out, Prefetch& next) {
    constexpr size_t rows = lanes / 2;
    Vector sum[rows][vectors] = {};
    const auto step = [&](size_t k) __attribute__((always_inline)) {
        Vector value[vectors];
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) value[c] = load(right + k * lanes + c * s.capacity * lanes);
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t c = 0; c < vectors; ++c) sum[r][c] += value[c] * left[k * lanes + r];
    };
    Prefetch prefetch = next;
    size_t depth = s.depth;
    for (; depth >= 4; depth -= 4, left += 4 * lanes, right += 4 * lanes) {
        fetch(prefetch);
        step(0), step(1), step(2), step(3);
    }
    for (; depth; --depth, left += lanes, right += lanes) step(0);
    next = prefetch;
#pragma GCC unroll 8
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) {
            float* const to = out + r * s.pitch + c * lanes;
            store(to, s.first ? sum[r][c] : load(to) + sum[r][c]);
        }
}

void accumulate_product(const ProductSum& s) {
    constexpr size_t rows_block = 256;  // of left, for the second cache
    for (size_t first = 0; first < s.rows; first += rows_block)
        for (size_t c = 0; c < s.columns; c += panel_lanes)
            for (size_t r = first; r < s.rows && r < first + rows_block; r += lanes / 2)
                (s.columns - c > lanes ? accumulate_rows<2>
                                       : accumulate_rows<1>)(s, s.left + r / lanes * s.capacity * lanes + r % lanes,
                                                             s.right + c * s.capacity, s.out + r * s.pitch + c,
                                                             s.prefetch[s.prefetch[0].row == s.prefetch[0].end]);
}
}  // namespace
