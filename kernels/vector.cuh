// Elements between memory and registers: up to 16 bytes of one type per access, as floats in between.
#pragma once

#include <type_traits>

#include "kernels/gpu.h"
#include "kernels/index.h"

// The elements of one 16-byte access: 4 floats, 8 numbers of 16 bits.
template <class T>
inline constexpr int kVector = 16 / sizeof(T);

// The machine type of an access.
template <size_t kBytes>
struct Access;
template <>
struct Access<1> {
    using type = uint8_t;
};
template <>
struct Access<2> {
    using type = uint16_t;
};
template <>
struct Access<4> {
    using type = uint32_t;
};
template <>
struct Access<8> {
    using type = uint2;
};
template <>
struct Access<16> {
    using type = uint4;
};

// kWidth elements as 32-bit words: an element is taken out of its word where it is used, so 16-bit numbers need half of
// the registers that floats would.
template <class T, int kWidth>
struct Vector {
    static constexpr int kPerWord = 4 / sizeof(T);
    uint32_t words[(kWidth + kPerWord - 1) / kPerWord] = {};

    __device__ __forceinline__ T element(int k) const {
        using Bits = typename Access<sizeof(T)>::type;
        const Bits bits = Bits(words[k / kPerWord] >> (k % kPerWord * (8 * sizeof(T)) & 31));
        T value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    __device__ __forceinline__ float operator[](int k) const { return float(element(k)); }
};

// `p` is aligned to the size of the vector.
template <int kWidth, class T>
__device__ __forceinline__ Vector<T, kWidth> load(const T* p) {
    using Raw = typename Access<sizeof(T) * kWidth>::type;
    const Raw raw = *reinterpret_cast<const Raw*>(p);
    Vector<T, kWidth> vector;
    memcpy(vector.words, &raw, sizeof raw);
    return vector;
}

template <int kWidth, class T>
__device__ __forceinline__ void store(T* p, const Vector<T, kWidth>& vector) {
    using Raw = typename Access<sizeof(T) * kWidth>::type;
    Raw raw;
    memcpy(&raw, vector.words, sizeof raw);
#if defined(__CUDA_ARCH__)
    __stwb(reinterpret_cast<Raw*>(p), raw);  // st.global: nvcc splits a plain assignment where it saw the words arrive
#else
    *reinterpret_cast<Raw*>(p) = raw;
#endif
}

// Two numbers rounded to 16 bits, the first in the lower half.
template <class T>
__device__ __forceinline__ uint32_t rounded_pair(float first, float second) {
#if defined(__CUDA_ARCH__)
    uint32_t pair;
    if constexpr (std::is_same_v<T, bf16>)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return T(first).bits | uint32_t(T(second).bits) << 16;
#endif
}

template <class T, int kWidth>
__device__ __forceinline__ Vector<T, kWidth> rounded(const float (&values)[kWidth]) {
    Vector<T, kWidth> vector;
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) {
        if constexpr (sizeof(T) == 4)
            vector.words[k] = detail::bits_of(values[k]);
        else if constexpr (kWidth == 1)
            vector.words[k] = T(values[k]).bits;
        else if (k % 2 == 0)
            vector.words[k / 2] = rounded_pair<T>(values[k], values[k + 1]);
    }
    return vector;
}

// Floats in registers from and to memory of any type; more than 16 bytes take several accesses.
template <int kWidth, class T>
__device__ __forceinline__ void load_floats(const T* p, float (&values)[kWidth]) {
    constexpr int kStep = kWidth < kVector<T> ? kWidth : kVector<T>;
    SIMT_UNROLL
    for (int i = 0; i < kWidth; i += kStep) {
        const auto part = load<kStep>(p + i);
        SIMT_UNROLL
        for (int k = 0; k < kStep; ++k) values[i + k] = part[k];
    }
}

template <int kWidth, class T>
__device__ __forceinline__ void store_floats(T* p, const float (&values)[kWidth]) {
    constexpr int kStep = kWidth < kVector<T> ? kWidth : kVector<T>;
    SIMT_UNROLL
    for (int i = 0; i < kWidth; i += kStep) {
        float part[kStep];
        SIMT_UNROLL
        for (int k = 0; k < kStep; ++k) part[k] = values[i + k];
        store(p + i, rounded<T>(part));
    }
}

// Whether 16-byte accesses are possible at every one of these addresses (null: at no place).
template <class... P>
bool aligned(const P*... p) {
    return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}
