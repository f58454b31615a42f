// What this machine's CPU reaches, measured: copying of memory too large for its caches, and fused multiply-adds in
// registers.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <vector>

struct Peaks {
    double bytes_per_second = 0;  // read plus written
    double flops_per_second = 0;
};

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// With one thread the thread's own CPU time, which other programs on the machine hardly disturb.
inline double seconds_now(int threads) {
    if (threads > 1) return seconds_now();
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

namespace peaks {

constexpr size_t kChains = 24;  // independent sums: latency 4 times 2 units, and as many again

#if defined(__x86_64__)
__attribute__((target("avx512f"))) inline float multiply_add_512(size_t rounds) {
    __m512 sum[kChains], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (__m512& s : sum) s = x;
    for (size_t i = 0; i < rounds; ++i)
#pragma GCC unroll 24
        for (size_t k = 0; k < kChains; ++k) sum[k] = _mm512_fmadd_ps(sum[k], x, y);
    for (size_t k = 1; k < kChains; ++k) sum[0] = _mm512_add_ps(sum[0], sum[k]);
    float lanes[16];
    _mm512_storeu_ps(lanes, sum[0]);
    return lanes[0];
}

// VDPBF16PS: two products per number of a vector.
__attribute__((target("avx512f,avx512bf16"))) inline float multiply_add_bf16(size_t rounds) {
    __m512 sum[kChains], x = _mm512_set1_ps(0.999f);
    const __m512bh pair = reinterpret_cast<__m512bh>(x);
    for (__m512& s : sum) s = x;
    for (size_t i = 0; i < rounds; ++i)
#pragma GCC unroll 24
        for (size_t k = 0; k < kChains; ++k) sum[k] = _mm512_dpbf16_ps(sum[k], pair, pair);
    for (size_t k = 1; k < kChains; ++k) sum[0] = _mm512_add_ps(sum[0], sum[k]);
    float lanes[16];
    _mm512_storeu_ps(lanes, sum[0]);
    return lanes[0];
}

// VPDPBUSD: four products per number of a vector. Registers by name, because GCC 12 would copy sums.
__attribute__((target("avx512f,avx512vnni"))) inline float multiply_add_bytes(size_t rounds) {
    for (size_t i = 0; i < rounds; ++i)
        asm volatile(
            ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23\n\t"
            "vpdpbusd %%zmm24, %%zmm24, %%zmm\\sum\n\t"
            ".endr" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                  "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                  "xmm23");
    return float(rounds);
}

__attribute__((target("avx2,fma"))) inline float multiply_add_256(size_t rounds) {
    constexpr size_t chains = 12;  // 16 registers
    __m256 sum[chains], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (__m256& s : sum) s = x;
    for (size_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
        for (size_t k = 0; k < chains; ++k) sum[k] = _mm256_fmadd_ps(sum[k], x, y);
    for (size_t k = 1; k < chains; ++k) sum[0] = _mm256_add_ps(sum[0], sum[k]);
    float lanes[8];
    _mm256_storeu_ps(lanes, sum[0]);
    return lanes[0];
}

inline bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
inline bool has_bf16() { return __builtin_cpu_supports("avx512bf16"); }
inline bool has_vnni() { return __builtin_cpu_supports("avx512vnni"); }
#else
// Another architecture: the compiler's own vectors.
inline float multiply_add_256(size_t rounds) {
    constexpr size_t chains = 12 * 8;
    float sum[chains];
    for (float& s : sum) s = 0.5f;
    for (size_t i = 0; i < rounds; ++i)
        for (size_t k = 0; k < chains; ++k) sum[k] = __builtin_fmaf(sum[k], 0.999f, 0.001f);
    for (size_t k = 1; k < chains; ++k) sum[0] += sum[k];
    return sum[0];
}
inline float multiply_add_512(size_t rounds) { return multiply_add_256(rounds); }
inline float multiply_add_bf16(size_t rounds) { return multiply_add_256(rounds); }
inline float multiply_add_bytes(size_t rounds) { return multiply_add_256(rounds); }
inline bool has_avx512() { return false; }
inline bool has_bf16() { return false; }
inline bool has_vnni() { return false; }
#endif

inline double flops(int threads, double per_round, float (*multiply_add)(size_t)) {
    constexpr size_t rounds = 2'000'000;
    double best = 0;
    [[maybe_unused]] volatile float sink = 0;  // so that the loops are not left out
    for (int repeat = 0; repeat < 5; ++repeat) {
        const double start = seconds_now(threads);
#pragma omp parallel num_threads(threads)
        sink = multiply_add(rounds);
        best = std::max(best, per_round * rounds * threads / (seconds_now(threads) - start));
    }
    return best;
}
inline double flops(int threads) {
    return has_avx512() ? flops(threads, kChains * 32.0, multiply_add_512)
                        : flops(threads, 12 * 16.0, multiply_add_256);
}
inline double bf16_flops(int threads) {  // 0: the processor has no VDPBF16PS
    return has_bf16() ? flops(threads, kChains * 64.0, multiply_add_bf16) : 0;
}
inline double int8_operations(int threads) {  // 0: the processor has no VPDPBUSD of 512 bits
    return has_vnni() ? flops(threads, kChains * 128.0, multiply_add_bytes) : 0;
}

inline double bandwidth(int threads) {
    constexpr size_t bytes = size_t(256) << 20;
    std::vector<char> from(bytes, 1), to(bytes, 2);
    double best = 0;
    for (int repeat = 0; repeat < 5; ++repeat) {
        const double start = seconds_now();
#pragma omp parallel num_threads(threads)
        {
            const size_t part = bytes / size_t(threads), begin = part * size_t(omp_get_thread_num());
            std::memcpy(to.data() + begin, from.data() + begin, part);
        }
        best = std::max(best, 2.0 * double(bytes) / (seconds_now() - start));
    }
    return best;
}

}  // namespace peaks

inline Peaks measure_cpu_peaks(int threads) { return {peaks::bandwidth(threads), peaks::flops(threads)}; }
