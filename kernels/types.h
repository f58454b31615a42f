// Storage types of tensors: float, bf16, fp16. Arithmetic is done in float; 16-bit numbers are only loaded and stored.
//
// bf16: the upper half of a float, rounded to nearest even; NaN becomes 0x7fff.
// fp16: IEEE 754 binary16, rounded to nearest even, with subnormals and infinities; NaN becomes 0x7fff.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/host_device.h"

namespace detail {
HOST_DEVICE inline uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
HOST_DEVICE inline float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

HOST_DEVICE inline uint16_t fp16_bits(float f) {
#if defined(__CUDA_ARCH__)
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));  // the same bits
    return h;
#else
    const uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x47800000u) return uint16_t(sign | 0x7c00u);  // 65536 and more
    if (magnitude < 0x38800000u) {                                  // subnormal: the float adder rounds it to even
        const float shifted = float_of(magnitude) + 0.5f;           // ulp of 0.5 is 2^-24, that of a subnormal
        return uint16_t(sign | (bits_of(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
#endif
}
HOST_DEVICE inline float fp16_value(uint16_t h) {
#if defined(__CUDA_ARCH__)
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));  // the same number; the payload of a NaN may differ
    return f;
#else
    const uint32_t sign = uint32_t(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) return float_of(sign | bits_of(float(fraction) * 5.9604644775390625e-8f));  // 2^-24
    return float_of(sign | ((exponent + 112) << 23 | fraction << 13));
#endif
}
}  // namespace detail

struct alignas(2) bf16 {
    uint16_t bits;
    bf16() = default;
    HOST_DEVICE explicit bf16(float f) {
#if defined(__CUDA_ARCH__)
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(f));  // the same bits
#else
        const uint32_t u = detail::bits_of(f);
        bits = f != f ? uint16_t(0x7fff) : uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
    }
    HOST_DEVICE explicit operator float() const { return detail::float_of(uint32_t(bits) << 16); }
};

struct alignas(2) fp16 {
    uint16_t bits;
    fp16() = default;
    HOST_DEVICE explicit fp16(float f) : bits(detail::fp16_bits(f)) {}
    HOST_DEVICE explicit operator float() const { return detail::fp16_value(bits); }
};

// relu(x) = max(x, 0), silu(x) = x * sigmoid(x); NaN stays NaN.
enum class Activation { none, relu, silu };
