// Functions of floats as straight-line code, so that loops over them are vectorised.
#pragma once

#include <bit>
#include <cstdint>

// value or 0. A conditional expression would let GCC move the load of `value` under a branch.
inline float keep_if(bool condition, float value) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & -uint32_t(condition));
}

// One or the other. GCC 12 leaves a loop with a conditional expression on floats as a branch, and then does not
// vectorise it.
inline float select(bool condition, float yes, float no) {
    const uint32_t mask = -uint32_t(condition);
    return std::bit_cast<float>((std::bit_cast<uint32_t>(yes) & mask) | (std::bit_cast<uint32_t>(no) & ~mask));
}

// Within 2 ulp; NaN stays NaN. Range reduction and polynomial as in Cephes' expf, https://www.netlib.org/cephes/
inline float fast_exp(float x) {
    x = select(x > 88.3762f, 88.3762f, x);  // the result stays finite and, below, normal
    x = select(x < -87.3365f, -87.3365f, x);
    constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const float shifted = x * 1.44269504f + round;
    const float n = shifted - round;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(round) + 127u) << 23;
    return p * std::bit_cast<float>(exponent);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
inline float silu(float x) { return x * sigmoid(x); }
inline float silu_grad(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
