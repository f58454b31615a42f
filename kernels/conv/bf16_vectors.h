// The loops of bf16.h on the vectors of simd.h: VDPBF16PS where the instruction set has it, else two multiplications of
// floats. VDPBF16PS takes subnormal numbers as 0.
#pragma once

#include <immintrin.h>

#include "kernels/conv/bf16_loops.h"
#include "kernels/conv/simd.h"
#include "kernels/index.h"

namespace {
constexpr size_t pair_numbers = 2 * lanes;  // of a vector of pairs
typedef int Pairs __attribute__((vector_size(4 * lanes), aligned(2), may_alias));
using Lanes = Pairs;
using Sum = Vector;

inline Pairs load_pairs(const void* from) { return *static_cast<const Pairs*>(from); }
inline void store_pairs(void* to, Pairs value) { *static_cast<Pairs*>(to) = value; }
inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t behind(size_t a, size_t b) { return a > b ? a - b : 0; }

#if defined(__AVX512BF16__)
inline Vector dot(Vector sum, Pairs a, Pairs b) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
inline unsigned bits_between(size_t first, size_t last) {  // of 32
    const uint64_t all = (uint64_t(1) << smaller(last, 32)) - 1;
    return unsigned(all & ~((uint64_t(1) << smaller(first, 32)) - 1));
}
// Numbers [first, last) of a vector, 0 for the others, which are not read.
inline Pairs load_pairs(const bf16* from, size_t first, size_t last) {
    return (Pairs)_mm512_maskz_loadu_epi16(bits_between(first, last), from);
}
inline Halves load_halves(const bf16* from, size_t first, size_t last) {
    return (Halves)_mm256_maskz_loadu_epi16(__mmask16(bits_between(first, last)), from);
}
inline Halves round(Vector value) { return (Halves)_mm512_cvtneps_pbh((__m512)value); }
inline Vector at_most(Vector limit, Vector value) {
    return (Vector)_mm512_maskz_min_ps(0xffff, (__m512)limit, (__m512)value);
}
inline Vector at_least(Vector limit, Vector value) {
    return (Vector)_mm512_maskz_max_ps(0xffff, (__m512)limit, (__m512)value);
}
inline void store_two(bf16* to, Vector first, Vector second) {
    store_pairs(to, (Pairs)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
}
inline void store_halves(bf16* to, Vector value, size_t count) {
    _mm256_mask_storeu_epi16(to, __mmask16(bits_between(0, count)), (__m256i)round(value));
}
#else
inline Vector dot(Vector sum, Pairs a, Pairs b) {
    const Bits high = Bits{} + int(0xffff0000);
    sum += (Vector)(a << 16) * (Vector)(b << 16);
    return sum + (Vector)(a & high) * (Vector)(b & high);
}
inline Halves load_halves(const bf16* from, size_t first, size_t last) {
    if (first == 0 && last >= lanes) return *reinterpret_cast<const Halves*>(from);
    Halves value = {};
    for (size_t i = first; i < last && i < lanes; ++i) value[i] = from[i].bits;
    return value;
}
inline Pairs load_pairs(const bf16* from, size_t first, size_t last) {
    if (first == 0 && last >= pair_numbers) return load_pairs(from);
    bf16 values[pair_numbers];
    for (size_t i = 0; i < pair_numbers; ++i) values[i].bits = i >= first && i < last ? from[i].bits : 0;
    return load_pairs(values);
}
inline Halves round(Vector value) { return round_halves(value); }
inline Vector at_most(Vector limit, Vector value) { return (Vector)_mm256_min_ps((__m256)limit, (__m256)value); }
inline Vector at_least(Vector limit, Vector value) { return (Vector)_mm256_max_ps((__m256)limit, (__m256)value); }
inline void store_two(bf16* to, Vector first, Vector second) {
    *reinterpret_cast<Halves*>(to) = round(first);
    *reinterpret_cast<Halves*>(to + lanes) = round(second);
}
inline void store_halves(bf16* to, Vector value, size_t count) {
    const Halves rounded = round(value);
    if (count >= lanes) {
        *reinterpret_cast<Halves*>(to) = rounded;
        return;
    }
    for (size_t i = 0; i < count; ++i) to[i].bits = rounded[i];
}
#endif

inline Vector load_floats(const bf16* from, size_t count) {
    return (Vector)(widen(load_halves(from, 0, smaller(count, lanes))) << 16);
}

// x * sigmoid(x) with 2^t as a cubic: within 1.1e-4, below the rounding to bf16 of 2e-3.
inline Vector silu(Vector x) {
    const Vector t = at_least(Vector{} - 126.0f, at_most(Vector{} + 126.0f, x * -1.44269504f));
    const Vector shifted = t + exp_round, r = t - (shifted - exp_round);
    const Vector p = ((r * 0.05500885f + 0.24221095f) * r + 0.69328293f) * r + 1.0f;
    return x / (1.0f + (Vector)((Bits)p + ((Bits)shifted << 23)));
}

void gather(const WindowGather<bf16>& g) {
    const size_t whole_chunks = g.run - g.run % pair_numbers;
    for (size_t i = 0; i < g.rows; ++i) {
        const WindowRow& row = g.row[i];
        const bool whole = row.first == 0 && row.last == g.run;
        for (size_t r = 0; r < g.runs; ++r) {
            const bf16* const from = g.x + row.at + ptrdiff_t(r * g.pitch);
            uint32_t* to = g.to + i * g.to_row + r * g.to_run;
            if (r < row.top || r >= row.bottom) {
                for (size_t c = 0; c < g.run; c += pair_numbers, to += g.to_vector) store_pairs(to, Pairs{});
            } else if (whole) {
                for (size_t c = 0; c < whole_chunks; c += pair_numbers, to += g.to_vector)
                    store_pairs(to, load_pairs(from + c));
                if (whole_chunks != g.run) store_pairs(to, load_pairs(from + whole_chunks, 0, g.run - whole_chunks));
            } else {
                for (size_t c = 0; c < g.run; c += pair_numbers, to += g.to_vector)
                    store_pairs(to, load_pairs(from + c, behind(row.first, c), behind(row.last, c)));
            }
        }
    }
}

// The vector of pairs whose halves are `lanes` numbers each of two rows.
inline Pairs pair_up(Halves low, Halves high) { return widen(low) | (widen(high) << 16); }

void pack_product(const Bf16Pack& w, size_t panel) {
    const size_t run = w.columns * w.channels, pairs = ceil_div(run, 2);
    uint32_t* const packed = w.packed + panel * w.runs * pairs * panel_lanes;
    for (size_t vector = 0; vector < 2; ++vector) {
        const size_t out = panel * panel_lanes + vector * lanes, outs = smaller(behind(w.outs, out), lanes);
        for (size_t r = 0; r < w.runs; ++r) {
            const bf16* const from = w.weight + ptrdiff_t(r) * w.run_step + ptrdiff_t(out) * w.out_step;
            uint32_t* const to = packed + r * pairs * panel_lanes + vector * lanes;
            if (w.channel_step != 1) {
                const bf16* at[2];
                size_t s = 0, c = 0;
                for (size_t i = 0; i < pairs; ++i) {
                    for (size_t half = 0; half < 2; ++half) {
                        at[half] = from + ptrdiff_t(s) * w.column_step + ptrdiff_t(c) * w.channel_step;
                        if (++c == w.channels) c = 0, ++s;
                    }
                    const Halves low = load_halves(at[0], 0, outs);
                    store_pairs(to + i * panel_lanes,
                                pair_up(low, 2 * i + 1 < run ? load_halves(at[1], 0, outs) : Halves{}));
                }
                continue;
            }
            for (size_t i = 0; i < pairs; i += lanes) {
                Vector rows[lanes];
                for (size_t k = 0; k < lanes; ++k)
                    rows[k] = k < outs ? (Vector)load_pairs(from + ptrdiff_t(k) * w.out_step + 2 * i, 0,
                                                            smaller(run - 2 * i, pair_numbers))
                                       : Vector{};
                transpose(rows);
                for (size_t k = 0; k < lanes && i + k < pairs; ++k)
                    store_pairs(to + (i + k) * panel_lanes, (Pairs)rows[k]);
            }
        }
    }
}

}  // namespace
#include "kernels/conv/window_vectors.h"
namespace {
using Bf16Task = WindowTask<Bf16Result>;

// What follows the sums of some rows: residual, activation, rounding.
enum class Residual { none, before, last };
template <Activation activation, Residual residual>
inline Vector follow(Vector sum, Vector added) {
    if (residual == Residual::before) sum += added;
    if (activation == Activation::relu) sum = at_least(Vector{}, sum);
    if (activation == Activation::silu) sum = silu(sum);
    return residual == Residual::last ? sum + added : sum;
}
template <size_t vectors, Activation activation, Residual residual>
void finish(const Bf16Task& t, size_t column) {
    const size_t count = t.outs - column;
    const auto add = [&](const bf16* from, size_t some) {
        return residual == Residual::none ? Vector{} : load_floats(from, some);
    };
    for (size_t r = 0; r < t.rows; ++r) {
        const float* const sums = static_cast<const float*>(t.sums) + r * panel_lanes;
        bf16* const y = t.result.y + t.row[r].to + column;
        const bf16* const from = residual == Residual::none ? y : t.result.residual + t.row[r].to + column;
        if (vectors == 2 && count >= 2 * lanes) {
            const Vector first = follow<activation, residual>(load(sums), add(from, lanes));
            store_two(y, first, follow<activation, residual>(load(sums + lanes), add(from + lanes, lanes)));
        } else {
            for (size_t k = 0; k < vectors; ++k) {
                const size_t some = smaller(count - k * lanes, lanes);
                store_halves(y + k * lanes,
                             follow<activation, residual>(load(sums + k * lanes), add(from + k * lanes, some)), some);
            }
        }
    }
}
template <size_t vectors>
using Finish = void (*)(const Bf16Task&, size_t);
template <size_t vectors, Activation activation>
Finish<vectors> finish_of(const Bf16Result& to) {
    return !to.residual       ? finish<vectors, activation, Residual::none>
           : to.residual_last ? finish<vectors, activation, Residual::last>
                              : finish<vectors, activation, Residual::before>;
}
template <size_t vectors>
Finish<vectors> finish_of(const Bf16Result& to) {
    switch (to.activation) {
        case Activation::relu: return finish_of<vectors, Activation::relu>(to);
        case Activation::silu: return finish_of<vectors, Activation::silu>(to);
        default: return finish_of<vectors, Activation::none>(to);
    }
}

// y (rows, vectors * lanes) = left (rows, depth) * right (depth, vectors * lanes) + bias, and what follows
template <size_t rows, size_t vectors>
void multiply_rows(const Bf16Task& t, size_t column) {
    const auto* const sums = static_cast<const float*>(t.sums);
    Vector sum[rows][vectors], bias[vectors];
    for (size_t k = 0; k < vectors; ++k)
        bias[k] = t.result.bias && t.first
                      ? load_part(t.result.bias + column + k * lanes, smaller(t.outs - column - k * lanes, lanes))
                      : Vector{};
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k) sum[r][k] = bias[k];
    if (!t.first)
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; ++k) sum[r][k] = load(sums + r * panel_lanes + k * lanes);
    if (t.last)
        for (size_t r = 0; r < rows; ++r) {  // what finish() will need
            __builtin_prefetch(t.result.y + t.row[r].to + column, 1);
            if (t.result.residual) __builtin_prefetch(t.result.residual + t.row[r].to + column);
        }
    multiply_depth(t, sum);
    const Bf16Result& to = t.result;
    if (vectors == 2 && t.last && to.activation != Activation::silu && !(to.residual && to.residual_last) &&
        t.outs - column >= 2 * lanes) {  // the common case without a way through memory
        const Vector least = Vector{} + (to.activation == Activation::relu ? 0 : -__builtin_inff());
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; ++r) {
            const size_t at = t.row[r].to + column;
            if (to.residual)
#pragma GCC unroll 2
                for (size_t k = 0; k < vectors; ++k) sum[r][k] += load(to.residual + at + k * lanes);
            store_two(to.y + at, at_least(least, sum[r][0]), at_least(least, sum[r][vectors - 1]));
        }
        return;
    }
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k)
            store(static_cast<float*>(t.sums) + r * panel_lanes + k * lanes, sum[r][k]);
    if (t.last) finish_of<vectors>(t.result)(t, column);
}

template <size_t vectors, size_t... i>
auto multiply_rows_of(size_t rows, std::index_sequence<i...>) {
    static constexpr decltype(&multiply_rows<1, vectors>) table[] = {multiply_rows<i + 1, vectors>...};
    return table[rows - 1];
}

void multiply_product(const Bf16Task& t, size_t panel) {
    constexpr std::make_index_sequence<max_rows> all_rows;
    const size_t column = panel * panel_lanes;
    t.outs - column > lanes ? multiply_rows_of<2>(t.rows, all_rows)(t, column)
                            : multiply_rows_of<1>(t.rows, all_rows)(t, column);
}

inline Halves load_span(const bf16* x, const Bf16Span& span, size_t from) {
    return load_halves(x + span.at + ptrdiff_t(from), behind(span.first, from), behind(span.last, from));
}
void gather_pairs(const Bf16Pairs& g) {
    for (size_t i = 0; i < g.pairs; ++i) {
        uint32_t* to = g.to + i * lanes;
        const Bf16Span &one = g.span[2 * i], &two = g.span[2 * i + 1];
        const size_t whole = one.first || two.first ? 0 : behind(smaller(one.last, two.last), g.offset);
        const bf16 *const low = g.x + one.at + ptrdiff_t(g.offset), *const high = g.x + two.at + ptrdiff_t(g.offset);
        size_t c = 0;
        for (; c < g.width && c + lanes <= whole; c += g.step, to += g.capacity * lanes)
            store_pairs(to,
                        pair_up(*reinterpret_cast<const Halves*>(low + c), *reinterpret_cast<const Halves*>(high + c)));
        for (; c < g.width; c += g.step, to += g.capacity * lanes)
            store_pairs(to, pair_up(load_span(g.x, g.span[2 * i], g.offset + c),
                                    load_span(g.x, g.span[2 * i + 1], g.offset + c)));
    }
}

// sums (rows, vectors * lanes) += left^T (pairs, rows) * right (pairs, vectors * lanes)
template <size_t rows, size_t vectors>
void accumulate_rows(const Bf16Sum& s, const uint32_t* left, const uint32_t* right, size_t row, size_t column) {
    Vector sum[rows][vectors] = {};
    for (size_t i = 0; i < s.pairs; ++i, left += lanes, right += lanes) {
        Pairs value[vectors];
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) value[c] = load_pairs(right + c * s.capacity * lanes);
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t c = 0; c < vectors; ++c) sum[r][c] = dot(sum[r][c], value[c], Pairs{} + int(left[r]));
    }
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t c = 0; c < vectors; ++c) {
            const size_t at = (row + r) * s.pitch + column + c * lanes;
            const size_t count = smaller(s.columns - column - c * lanes, lanes);
            Vector value = sum[r][c];
            if (!s.first) value += load_part(s.sums + at, count);
            s.last ? store_halves(s.out + at, value, count) : store_part(s.sums + at, value, count);
        }
}

template <size_t vectors, size_t... i>
auto accumulate_rows_of(size_t rows, std::index_sequence<i...>) {
    static constexpr decltype(&accumulate_rows<1, vectors>) table[] = {accumulate_rows<i + 1, vectors>...};
    return table[rows - 1];
}

void accumulate_product(const Bf16Sum& s) {
    constexpr std::make_index_sequence<max_rows> all_rows;
    for (size_t c = 0; c < s.columns; c += panel_lanes)
        for (size_t r = 0; r < s.rows; r += s.row_step) {
            const size_t rows = smaller(s.row_step, s.rows - r);
            (s.columns - c > lanes ? accumulate_rows_of<2>(rows, all_rows) : accumulate_rows_of<1>(rows, all_rows))(
                s, s.left + r / s.row_step * s.capacity * lanes, s.right + c * s.capacity, r, c);
        }
}

void activate_all(bf16* y, const bf16* residual, size_t count) {
    for (size_t i = 0; i < count; i += lanes) {
        const size_t some = smaller(count - i, lanes);
        const Vector value = silu(load_floats(y + i, some));
        store_halves(y + i, residual ? value + load_floats(residual + i, some) : value, some);
    }
}

constexpr Bf16Loops bf16_loops = {lanes,        max_rows,           gather,      pack_product, multiply_product,
                                  gather_pairs, accumulate_product, activate_all};
}  // namespace
