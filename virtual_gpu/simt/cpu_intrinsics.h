// CUDA's built-in functions on the CPU: barriers, warp operations, atomics, arithmetic. Included by cpu_flavour.h only.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <type_traits>

// The line of the call travels as default arguments.
#define SIMT_SITE const char *simt_file = __builtin_FILE(), unsigned simt_line = __builtin_LINE()
#define SIMT_HERE (::simt::Site{simt_file, simt_line})

namespace simt {
inline namespace cpu {

template <class T, class... U>
concept OneOf = (std::same_as<T, U> || ...);
// Only the types for which nvcc has overloads: what compiles here compiles there.
template <class T>
concept Shuffled = OneOf<T, int, unsigned, long, unsigned long, long long, unsigned long long, float, double>;

template <Shuffled T>
T shuffle(unsigned mask, T value, unsigned source_lane, Site site) {
    uint64_t raw = 0;
    std::memcpy(&raw, &value, sizeof value);
    raw = warp_op(WarpOp::shuffle, mask, raw, source_lane, nullptr, site);
    std::memcpy(&value, &raw, sizeof value);
    return value;
}
inline unsigned ballot(unsigned mask, bool predicate, Site site) {
    return unsigned(warp_op(WarpOp::ballot, mask, predicate, 0, nullptr, site));
}

// Fibers never interrupt each other, so a plain read-modify-write is atomic; the hook tells the race checker.
template <class T, class F>
__attribute__((noinline, no_sanitize("thread"))) T atomic(T* p, F f) {
#ifdef SIMT_RACE
    atomic_access(p, sizeof(T), __builtin_return_address(0));
#endif
    const T old = *p;
    *p = f(old);
    return old;
}

}  // namespace cpu
}  // namespace simt

inline void __syncthreads(SIMT_SITE) { simt::syncthreads(false, SIMT_HERE); }
inline int __syncthreads_count(int predicate, SIMT_SITE) { return simt::syncthreads(predicate, SIMT_HERE); }
inline int __syncthreads_or(int predicate, SIMT_SITE) { return simt::syncthreads(predicate, SIMT_HERE) != 0; }
inline int __syncthreads_and(int predicate, SIMT_SITE) { return simt::syncthreads(!predicate, SIMT_HERE) == 0; }

inline void __syncwarp(unsigned mask = ~0u, SIMT_SITE) {
    simt::warp_op(simt::WarpOp::sync, mask, 0, 0, nullptr, SIMT_HERE);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE) {
    return simt::ballot(mask, predicate, SIMT_HERE);
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE) { return simt::ballot(mask, predicate, SIMT_HERE) != 0; }
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE) {
    return simt::ballot(mask, !predicate, SIMT_HERE) == 0;
}

// Lanes exchange within groups of `width`, a power of two. A source outside of the group gives a lane its own value.
template <simt::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
    const unsigned lane = simt::lane(), base = lane & ~unsigned(width - 1);
    return simt::shuffle(mask, value, base | (unsigned(source) & unsigned(width - 1)), SIMT_HERE);
}
template <simt::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, SIMT_SITE) {
    const unsigned lane = simt::lane(), source = lane ^ unsigned(with);
    const unsigned end = (lane & ~unsigned(width - 1)) + unsigned(width);
    return simt::shuffle(mask, value, source < end ? source : lane, SIMT_HERE);
}
template <simt::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
    const unsigned lane = simt::lane(), in_group = lane & unsigned(width - 1);
    return simt::shuffle(mask, value, in_group + delta < unsigned(width) ? lane + delta : lane, SIMT_HERE);
}
template <simt::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
    const unsigned lane = simt::lane(), in_group = lane & unsigned(width - 1);
    return simt::shuffle(mask, value, in_group >= delta ? lane - delta : lane, SIMT_HERE);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap(SIMT_SITE) { simt::trap(SIMT_HERE); }

#define SIMT_ATOMIC(T)                                                          \
    inline T atomicAdd(T* p, T v) {                                             \
        return simt::atomic(p, [=](T old) { return static_cast<T>(old + v); }); \
    }                                                                           \
    inline T atomicExch(T* p, T v) {                                            \
        return simt::atomic(p, [=](T) { return v; });                           \
    }
#define SIMT_ATOMIC_INTEGER(T)                                                    \
    SIMT_ATOMIC(T)                                                                \
    inline T atomicMax(T* p, T v) {                                               \
        return simt::atomic(p, [=](T old) { return std::max(old, v); });          \
    }                                                                             \
    inline T atomicMin(T* p, T v) {                                               \
        return simt::atomic(p, [=](T old) { return std::min(old, v); });          \
    }                                                                             \
    inline T atomicAnd(T* p, T v) {                                               \
        return simt::atomic(p, [=](T old) { return static_cast<T>(old & v); });   \
    }                                                                             \
    inline T atomicOr(T* p, T v) {                                                \
        return simt::atomic(p, [=](T old) { return static_cast<T>(old | v); });   \
    }                                                                             \
    inline T atomicXor(T* p, T v) {                                               \
        return simt::atomic(p, [=](T old) { return static_cast<T>(old ^ v); });   \
    }                                                                             \
    inline T atomicCAS(T* p, T expected, T v) {                                   \
        return simt::atomic(p, [=](T old) { return old == expected ? v : old; }); \
    }
SIMT_ATOMIC(float)
SIMT_ATOMIC(double)
SIMT_ATOMIC_INTEGER(int)
SIMT_ATOMIC_INTEGER(unsigned)
SIMT_ATOMIC_INTEGER(unsigned long long)
#undef SIMT_ATOMIC_INTEGER
#undef SIMT_ATOMIC

// Cache hints have no meaning here.
template <class T>
T __ldg(const T* p) {
    return *p;
}
template <class T>
T __ldcs(const T* p) {
    return *p;
}
template <class T>
T __ldcg(const T* p) {
    return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> value) {
    *p = value;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> value) {
    *p = value;
}

// A GPU's fast functions are less exact than these: take tolerances from CUDA's tables.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __saturatef(float x) { return x > 0 ? std::min(x, 1.0f) : 0.0f; }  // NaN gives 0

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __float2int_rd(float x) { return int(std::floor(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline unsigned __float2uint_rn(float x) { return unsigned(std::nearbyint(x)); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

template <class T>
requires std::is_arithmetic_v<T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
requires std::is_arithmetic_v<T>
constexpr T max(T a, T b) { return a < b ? b : a; }
