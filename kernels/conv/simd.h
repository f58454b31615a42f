// Vectors of SIMD_LANES floats for the convolution loops of one instruction set. loops_avx2.cpp and loops_avx512.cpp
// include it and are compiled for theirs. Everything is in an anonymous namespace: a function that the linker shared
// with other files would carry instructions there that the machine may not have. For the same reason no function of std
// is called.
#pragma once

#include <cstddef>
#include <utility>

#include "kernels/types.h"

namespace {
constexpr size_t lanes = SIMD_LANES, rows_most = SIMD_ROWS, panel_lanes = 2 * lanes;
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

// The same polynomial as fast_exp() of vector_math.h.
inline Vector exp(Vector x) {
    const Vector most = Vector{} + 88.3762f, least = Vector{} - 87.3365f;
    x = x > most ? most : x;
    x = x < least ? least : x;
    const Vector shifted = x * 1.44269504f + 12582912.0f;
    const Vector n = shifted - 12582912.0f;
    const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vector sum = r * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * r + 8.3334519073e-3f;
    sum = sum * r + 4.1665795894e-2f;
    sum = sum * r + 1.6666665459e-1f;
    sum = sum * r + 5.0000001201e-1f;
    sum = sum * (r * r) + r + 1.0f;
    const Bits exponent = ((Bits)shifted - 0x4b400000 + 127) << 23;
    return sum * (Vector)exponent;
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
