// Vectors of SIMD_LANES floats for the convolution loops of one instruction set. loops_avx2.cpp and loops_avx512.cpp
// include this header, each compiled for its instruction set. Everything is in an anonymous namespace or always
// inlined, and no function of std is called: a function that the linker shares with other files would carry
// instructions there that the machine may not have.
#pragma once

#include <cstddef>
#include <utility>

#include "kernels/exp.h"
#include "kernels/types.h"

namespace {
constexpr size_t lanes = SIMD_LANES, max_rows = SIMD_ROWS, panel_lanes = 2 * lanes;
typedef float Vector __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));
typedef int Bits __attribute__((vector_size(lanes * sizeof(float))));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector load_part(const float* from, size_t count) {
    if (count >= lanes) return load(from);
    Vector value = {};
    for (size_t i = 0; i < count; ++i) value[i] = from[i];
    return value;
}
inline void store_part(float* to, Vector value, size_t count) {
    if (count >= lanes) return store(to, value);
    for (size_t i = 0; i < count; ++i) to[i] = value[i];
}

// bf16, rounded as in types.h.
typedef uint16_t Halves __attribute__((vector_size(2 * lanes), aligned(2), may_alias));
inline Bits widen(Halves values) { return __builtin_convertvector(values, Bits); }
inline Halves round_halves(Vector value) {
    const Bits bits = (Bits)value, rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return __builtin_convertvector((value != value ? Bits{} + 0x7fff0000 : rounded) >> 16, Halves);
}
inline Vector load(const bf16* from) { return (Vector)(widen(*reinterpret_cast<const Halves*>(from)) << 16); }
inline void store(bf16* to, Vector value) { *reinterpret_cast<Halves*>(to) = round_halves(value); }
inline Vector load_part(const bf16* from, size_t count) {
    if (count >= lanes) return load(from);
    Halves value = {};
    for (size_t i = 0; i < count; ++i) value[i] = from[i].bits;
    return (Vector)(widen(value) << 16);
}
inline void store_part(bf16* to, Vector value, size_t count) {
    if (count >= lanes) return store(to, value);
    const Halves rounded = round_halves(value);
    for (size_t i = 0; i < count; ++i) to[i].bits = rounded[i];
}

// fast_exp() of vector_math.h.
inline Vector exp(Vector x) {
    const Vector max = Vector{} + exp_max, min = Vector{} + exp_min;
    x = x > max ? max : x;
    x = x < min ? min : x;
    const Vector shifted = exp_shifted(x), r = exp_reduced(x, shifted);
    const Vector p = exp_polynomial(r) * (r * r) + r + 1.0f;
    const Bits exponent = ((Bits)shifted - __builtin_bit_cast(int, exp_round) + 127) << 23;
    return p * (Vector)exponent;
}
inline Vector activate(int activation, Vector x) {
    if (activation == int(Activation::relu)) return x < Vector{} ? Vector{} : x;
    if (activation == int(Activation::silu)) return x / (1.0f + exp(-x));
    return x;
}

template <size_t step, size_t... i>
inline void exchange_halves(Vector& first, Vector& second, std::index_sequence<i...>) {
    const Vector a = first, b = second;
    first = __builtin_shufflevector(a, b, (i & step ? lanes + i - step : i)...);
    second = __builtin_shufflevector(a, b, (i & step ? lanes + i : i + step)...);
}

// In log2(lanes) steps, each of which exchanges halves between two rows.
template <size_t step = 1>
inline void transpose(Vector (&rows)[lanes]) {
    for (size_t i = 0; i < lanes; ++i)
        if (!(i & step)) exchange_halves<step>(rows[i], rows[i + step], std::make_index_sequence<lanes>{});
    if constexpr (2 * step < lanes) transpose<2 * step>(rows);
}
}  // namespace
