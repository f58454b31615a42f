// The parts of exp(x) that numbers and vectors of numbers share. Range reduction and polynomial as in Cephes' expf,
// https://www.netlib.org/cephes/: exp(x) = 2^n * exp(r) with n = round(x / log 2) and exp(r) = 1 + r + r^2 *
// polynomial(r). Always inlined, see index.h.
#pragma once

constexpr float exp_max = 88.3762f, exp_min = -87.3365f;  // of x: the result is finite and normal
constexpr float exp_round = 12582912.0f;                  // 1.5 * 2^23: adding it rounds to an integer in the low bits

// n + exp_round
template <class Float>
[[gnu::always_inline]] inline Float exp_shifted(Float x) {
    return x * 1.44269504f + exp_round;
}

// r
template <class Float>
[[gnu::always_inline]] inline Float exp_reduced(Float x, Float shifted) {
    const Float n = shifted - exp_round;
    return (x - n * 0.693359375f) + n * 2.12194440e-4f;  // log 2 in two parts
}

template <class Float>
[[gnu::always_inline]] inline Float exp_polynomial(Float r) {
    Float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    return p * r + 5.0000001201e-1f;
}
