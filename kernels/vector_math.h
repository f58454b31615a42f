// Functions of floats as straight-line code, so that loops over them are vectorised.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/exp.h"

// value or 0. A conditional expression would let GCC move the load of `value` under a branch.
inline float keep_if(bool condition, float value) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & -uint32_t(condition));
}

// One or the other. GCC 12 does not vectorise a loop with a conditional expression on floats.
inline float select(bool condition, float yes, float no) {
    const uint32_t mask = -uint32_t(condition);
    return std::bit_cast<float>((std::bit_cast<uint32_t>(yes) & mask) | (std::bit_cast<uint32_t>(no) & ~mask));
}

// Within 2 ulp; NaN stays NaN.
inline float fast_exp(float x) {
    x = select(x > exp_max, exp_max, x);
    x = select(x < exp_min, exp_min, x);
    const float shifted = exp_shifted(x), r = exp_reduced(x, shifted), p = exp_polynomial(r) * r * r + r + 1.0f;
    const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(exp_round) + 127u) << 23;
    return p * std::bit_cast<float>(exponent);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
inline float silu(float x) { return x * sigmoid(x); }
inline float silu_grad(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
