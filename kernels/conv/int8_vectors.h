// The loops of int8.h on the vectors of simd.h: VPDPBUSD where the instruction set has it, else products of 16 bits.
#pragma once

#include <immintrin.h>

#include "kernels/conv/int8_loops.h"
#include "kernels/conv/simd.h"

namespace {
typedef int Lanes __attribute__((vector_size(4 * lanes), aligned(1), may_alias));
using Sum = Bits;

inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t behind(size_t a, size_t b) { return a > b ? a - b : 0; }

// x is unsigned, and a lane of it is one number that is repeated.
#if defined(__AVX512VNNI__)
constexpr size_t numbers = 4;
inline Bits dot(Bits sum, Lanes weight, Lanes x) {
    return (Bits)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)weight);
}
#elif defined(__AVXVNNI__)
constexpr size_t numbers = 4;
inline Bits dot(Bits sum, Lanes weight, Lanes x) {
    return (Bits)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)weight);
}
#else
constexpr size_t numbers = 2;
inline Bits dot(Bits sum, Lanes weight, Lanes x) {
    sum += (Bits)_mm256_madd_epi16((__m256i)x, (__m256i)weight);
    asm("" : "+x"(sum));  // GCC 12 would keep many products in memory and add them later
    return sum;
}
#endif
}  // namespace
#include "kernels/conv/window_vectors.h"
namespace {
using Int8Task = WindowTask<Int8Result>;
constexpr size_t vector_bytes = numbers * lanes;  // of x, for a vector

#if defined(__AVX512F__)
// Numbers [first, last) of a vector. Only these are read and written.
struct Part {
    uint64_t bits;
    Part(size_t first, size_t last) : bits(below(last) & ~below(first)) {}
    static uint64_t below(size_t n) { return n < 64 ? (uint64_t(1) << n) - 1 : ~uint64_t(0); }
};
inline Lanes load_lanes(const uint8_t* from) { return *reinterpret_cast<const Lanes*>(from); }
inline Lanes load_lanes(const uint8_t* from, Part part, uint8_t outside) {
    return (Lanes)_mm512_mask_loadu_epi8(_mm512_set1_epi8(char(outside)), part.bits, from);
}
// Half a vector, which meets two cache lines less often.
inline bool copy_half(uint32_t* to, const uint8_t* from, Part part) {
    if (part.bits >> 32) return false;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_maskz_loadu_epi8(__mmask32(part.bits), from));
    return true;
}
template <bool whole>
Bits load_bytes(const uint8_t* from, Part part) {
    const __m128i bytes = whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))
                                : _mm_maskz_loadu_epi8(__mmask16(part.bits), from);
    return (Bits)_mm512_maskz_cvtepu8_epi32(0xffff, bytes);
}
template <bool whole>
void store_floats(float* to, Vector value, Part part) {
    whole ? store(to, value) : _mm512_mask_storeu_ps(to, __mmask16(part.bits), (__m512)value);
}
inline Vector fused(Vector a, Vector b, Vector c) { return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
inline Vector at_least(Vector value, Vector limit) {
    return (Vector)_mm512_maskz_max_ps(0xffff, (__m512)value, (__m512)limit);
}
inline Vector at_most(Vector value, Vector limit) {
    return (Vector)_mm512_maskz_min_ps(0xffff, (__m512)value, (__m512)limit);
}
// Numbers above the range of int32_t become 0x80000000, which is 255 too.
template <bool whole>
void store_bytes(uint8_t* to, Vector steps, Vector least, Part part) {
    const __m512i wide = _mm512_maskz_cvtps_epi32(0xffff, (__m512)at_least(steps, least));
    const __m128i bytes = _mm512_maskz_cvtusepi32_epi8(0xffff, wide);
    whole ? _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes)
          : _mm_mask_storeu_epi8(to, __mmask16(part.bits), bytes);
}
#else
struct Part {
    size_t first, last;
};
inline Lanes load_lanes(const uint8_t* from) {
    if (numbers == 4) return *reinterpret_cast<const Lanes*>(from);
    return (Lanes)_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Lanes load_lanes(const uint8_t* from, Part part, uint8_t outside) {
    if (part.first == 0 && part.last >= vector_bytes) return load_lanes(from);
    uint8_t bytes[vector_bytes];
    for (size_t i = 0; i < vector_bytes; ++i) bytes[i] = i >= part.first && i < part.last ? from[i] : outside;
    return load_lanes(bytes);
}
inline bool copy_half(uint32_t*, const uint8_t*, Part) { return false; }
template <bool whole>
Bits load_bytes(const uint8_t* from, Part part) {
    uint64_t bytes = 0;
    if (whole)
        __builtin_memcpy(&bytes, from, lanes);
    else
        for (size_t i = 0; i < smaller(part.last, lanes); ++i) bytes |= uint64_t(from[i]) << (8 * i);
    return (Bits)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(bytes)));
}
template <bool whole>
void store_floats(float* to, Vector value, Part part) {
    whole ? store(to, value) : store_part(to, value, part.last);
}
inline Vector fused(Vector a, Vector b, Vector c) { return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline Vector at_least(Vector value, Vector limit) { return (Vector)_mm256_max_ps((__m256)value, (__m256)limit); }
inline Vector at_most(Vector value, Vector limit) { return (Vector)_mm256_min_ps((__m256)value, (__m256)limit); }
template <bool whole>
void store_bytes(uint8_t* to, Vector steps, Vector least, Part part) {
    const __m256i wide = _mm256_cvtps_epi32((__m256)at_most(at_least(steps, least), Vector{} + 255.0f));
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    const int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(halves, halves));
    if (whole)
        __builtin_memcpy(to, &bytes, lanes);
    else
        for (size_t i = 0; i < smaller(part.last, lanes); ++i) to[i] = uint8_t(uint64_t(bytes) >> (8 * i));
}
#endif

void gather(const WindowGather<uint8_t>& given) {
    const WindowGather<uint8_t> g = given;  // a copy, which what is written cannot change
    const size_t whole_chunks = g.run - g.run % vector_bytes;
    const Part rest{0, g.run - whole_chunks}, none{0, 0};
    for (size_t i = 0; i < g.rows; ++i) {
        const WindowRow& row = g.row[i];
        const bool whole = row.first == 0 && row.last == g.run;
        for (size_t r = 0; r < g.runs; ++r) {
            const uint8_t* const from = g.x + row.at + ptrdiff_t(r * g.pitch);
            uint32_t* to = g.to + i * g.to_row + r * g.to_run;
            const auto put = [&](Lanes value) __attribute__((always_inline)) {
                *reinterpret_cast<Lanes*>(to) = value;
                to += g.to_vector;
            };
            if (r < row.top || r >= row.bottom) {
                for (size_t c = 0; c < g.run; c += vector_bytes) put(load_lanes(from, none, g.outside));
            } else if (whole) {
                for (size_t c = 0; c < whole_chunks; c += vector_bytes) put(load_lanes(from + c));
                if (whole_chunks != g.run && !copy_half(to, from + whole_chunks, rest))
                    put(load_lanes(from + whole_chunks, rest, g.outside));
            } else {
                for (size_t c = 0; c < g.run; c += vector_bytes)
                    put(load_lanes(from + c, Part{behind(row.first, c), behind(row.last, c)}, g.outside));
            }
        }
    }
}

// rough_silu() of quantize.h.
inline Vector silu(Vector x) {
    const Vector t = at_most(at_least(x * -1.44269504f, Vector{} - 126.0f), Vector{} + 126.0f);
    const Vector shifted = t + exp_round, r = t - (shifted - exp_round);
    const Vector p = fused(fused(fused(Vector{} + 0.05500885f, r, Vector{} + 0.24221095f), r, Vector{} + 0.69328293f),
                           r, Vector{} + 1.0f);
    return x / (1.0f + (Vector)((Bits)p + ((Bits)shifted << 23)));
}

inline Vector to_floats(Bits values) { return __builtin_convertvector(values, Vector); }

// What follows the sums of some rows: int8_terms.h. whole: all columns of the vectors are there.
enum class Residual { none, early, late };
enum class Output { steps, bytes, floats };
template <size_t vectors, bool whole, Activation activation, Residual residual, Output output>
void finish(const Int8Task& t, size_t column) {
    const Int8Result to = t.result;  // a copy, which what is written to y cannot change
    const size_t rows = t.rows, outs = t.outs - column;
    const WindowRow* const row = t.row;
    const auto* sums = static_cast<const int32_t*>(t.sums);
    const Vector least = Vector{} + to.least, inverse = Vector{} + to.inverse, zero = Vector{} + to.zero,
                 residual_scale = Vector{} + to.residual_scale;
    Vector scale[vectors], shift[vectors];
    for (size_t k = 0; k < vectors; ++k)
        scale[k] = load(to.scale + column + k * lanes), shift[k] = load(to.shift + column + k * lanes);
    for (size_t r = 0; r < rows; ++r, sums += panel_lanes) {
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k) {
            const size_t at = row[r].to + column + k * lanes;
            const Part part{0, outs - k * lanes};
            const Lanes sum = *reinterpret_cast<const Lanes*>(sums + k * lanes);
            Vector value = fused(to_floats((Bits)sum), scale[k], shift[k]), added = {};
            if (residual != Residual::none) added = to_floats(load_bytes<whole>(to.residual + at, part));
            if (residual == Residual::early) value = fused(added, residual_scale, value);
            if (output == Output::steps) {
                store_bytes<whole>(to.y + at, value, least, part);
                continue;
            }
            if (activation == Activation::relu) value = at_least(Vector{}, value);
            if (activation == Activation::silu) value = silu(value);
            if (residual == Residual::late) value = fused(added, residual_scale, value) + to.residual_shift;
            if (output == Output::bytes)
                store_bytes<whole>(to.y + at, fused(value, inverse, zero), least, part);
            else
                store_floats<whole>(to.y_float + at, value, part);
        }
    }
}
using Finish = void (*)(const Int8Task&, size_t);
template <size_t vectors, bool whole, Activation activation, Output output>
Finish finish_of(const Int8Result& to) {
    return to.is_early  ? finish<vectors, whole, activation, Residual::early, output>
           : to.is_late ? finish<vectors, whole, activation, Residual::late, output>
                        : finish<vectors, whole, activation, Residual::none, output>;
}
template <size_t vectors, bool whole, Activation activation>
Finish finish_of(const Int8Result& to) {
    return to.y ? finish_of<vectors, whole, activation, Output::bytes>(to)
                : finish_of<vectors, whole, activation, Output::floats>(to);
}
template <size_t vectors, bool whole>
Finish finish_of(const Int8Result& to) {
    if (to.in_steps) return finish_of<vectors, whole, Activation::none, Output::steps>(to);
    switch (to.activation) {
        case Activation::relu: return finish_of<vectors, whole, Activation::relu>(to);
        case Activation::silu: return finish_of<vectors, whole, Activation::silu>(to);
        default: return finish_of<vectors, whole, Activation::none>(to);
    }
}

template <size_t rows, size_t vectors>
void multiply_rows(const Int8Task& t, size_t column) {
    auto* const sums = static_cast<int32_t*>(t.sums);
    Bits sum[rows][vectors];
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k)
            sum[r][k] = (Bits)(*reinterpret_cast<const Lanes*>(t.first ? t.result.start + column + k * lanes
                                                                       : sums + r * panel_lanes + k * lanes));
    multiply_depth(t, sum);
    const Int8Result& to = t.result;
    const bool whole = t.outs - column >= vectors * lanes;
    if (vectors == 2 && t.last && to.in_steps && whole) {  // the common case without a way through memory
        const Vector least = Vector{} + to.least, residual_scale = Vector{} + to.residual_scale;
        const float *const scale = to.scale + column, *const shift = to.shift + column;
        uint8_t* const y = to.y + column;
        const uint8_t* const residual = to.is_early ? to.residual + column : nullptr;
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; ++k) {
                const size_t at = t.row[r].to + k * lanes;
                Vector value = fused(to_floats(sum[r][k]), load(scale + k * lanes), load(shift + k * lanes));
                if (residual)
                    value = fused(to_floats(load_bytes<true>(residual + at, {0, lanes})), residual_scale, value);
                store_bytes<true>(y + at, value, least, {0, lanes});
            }
        return;
    }
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k)
            *reinterpret_cast<Lanes*>(sums + r * panel_lanes + k * lanes) = (Lanes)sum[r][k];
    if (t.last) (whole ? finish_of<vectors, true>(to) : finish_of<vectors, false>(to))(t, column);
}

template <size_t vectors, size_t... i>
auto multiply_rows_of(size_t rows, std::index_sequence<i...>) {
    static constexpr decltype(&multiply_rows<1, vectors>) table[] = {multiply_rows<i + 1, vectors>...};
    return table[rows - 1];
}

void multiply_product(const Int8Task& t, size_t panel) {
    constexpr std::make_index_sequence<max_rows> all_rows;
    const size_t column = panel * panel_lanes;
    t.outs - column > lanes ? multiply_rows_of<2>(t.rows, all_rows)(t, column)
                            : multiply_rows_of<1>(t.rows, all_rows)(t, column);
}
}  // namespace
