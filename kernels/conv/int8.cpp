// Convolution of bytes on the CPU: see int8.h. Packs weights and chooses the loops; the arithmetic is in
// int8_vectors.h.
#include "kernels/conv/int8.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/cpu_level.h"
#include "kernels/conv/constant_weights.h"
#include "kernels/conv/int8_loops.h"
#include "kernels/conv/int8_terms.h"
#include "kernels/conv/windows.h"

bool is_usable([[maybe_unused]] const Int8Loops& loops) {
#if defined(__x86_64__)
    if (&loops == &int8_loops_avx512_vnni)
        return cpu_level() == CpuLevel::avx512 && __builtin_cpu_supports("avx512vnni");
    if (cpu_level() < CpuLevel::avx2) return false;
    if (&loops == &int8_loops_avx2) return true;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && eax >> 4 & 1;  // AVX-VNNI, which not all compilers name
#else
    return false;
#endif
}

const Int8Loops* int8_loops() {
    static const Int8Loops* const fastest = []() -> const Int8Loops* {
#if defined(__x86_64__)
        for (const Int8Loops* const loops : {&int8_loops_avx512_vnni, &int8_loops_avx2_vnni, &int8_loops_avx2})
            if (is_usable(*loops)) return loops;
#endif
        return nullptr;
    }();
    return fastest;
}

namespace {
Windows int8_windows(const ConvShape& s, const Int8Loops& loops) {
    Windows w = windows_of(s, loops);
    w.numbers = loops.numbers, w.in_lanes = loops.numbers == 4;
    return w;
}

// The sum of each output's weights lies behind the packed weights.
size_t sums_bytes(const Windows& w) { return aligned(w.panels() * 2 * w.lanes * sizeof(int32_t)); }

template <class Lane, size_t numbers>  // Lane: what a number is in a lane
void pack(const Windows& w, const int8_t* weight, void* packed, size_t panel) {
    const size_t columns = 2 * w.lanes, run = w.run(), run_lanes = w.run_lanes();
    auto* const to = static_cast<Lane*>(packed) + panel * w.runs * run_lanes * columns * numbers;
    for (size_t k = 0; k < columns; ++k) {
        const size_t out = panel * columns + k;
        int32_t sum = 0;
        for (size_t r = 0; r < w.runs; ++r) {
            const int8_t* const from = weight + (out * w.runs + r) * run;
            for (size_t lane = 0; lane < run_lanes; ++lane) {
                Lane some[numbers] = {};
                for (size_t i = 0; i < numbers && lane * numbers + i < run && out < w.outs; ++i)
                    sum += some[i] = from[lane * numbers + i];
                std::memcpy(to + ((r * run_lanes + lane) * columns + k) * numbers, some, sizeof(some));
            }
        }
        static_cast<uint32_t*>(packed)[aligned(w.packed_bytes()) / sizeof(uint32_t) + out] = uint32_t(sum);
    }
}
void pack(const Windows& w, const int8_t* weight, void* packed, size_t panel) {
    w.numbers == 4 ? pack<int8_t, 4>(w, weight, packed, panel) : pack<int16_t, 2>(w, weight, packed, panel);
}
}  // namespace

size_t int8_scratch_bytes(const Cpu& cpu, const ConvShape& s, const Int8Loops& loops) {
    const Windows windows = int8_windows(s, loops);
    return windows.scratch(cpu) + 4 * sums_bytes(windows);
}

void int8_compute(const Cpu& cpu, const ConvInt8& op, const Int8Loops& loops) {
    const Windows w = int8_windows(op.shape, loops);
    const size_t packed_bytes = aligned(w.packed_bytes()) + sums_bytes(w);
    uint32_t* const scratch = aligned_scratch(cpu, int8_scratch_bytes(cpu, op.shape, loops));
    const auto pack_all = [&](void* to) {
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
        for (size_t panel = 0; panel < w.panels(); ++panel) pack(w, op.weight, to, panel);
    };
    const auto* packed = static_cast<const uint32_t*>(
        constant_weights().find(op.weight, w.c, w.outs, ConstantWeights::Packing::int8, packed_bytes, pack_all));
    if (!packed) pack_all(scratch), packed = scratch;
    const auto* const weight_sums =
        reinterpret_cast<const int32_t*>(packed + aligned(w.packed_bytes()) / sizeof(uint32_t));
    const size_t columns = sums_bytes(w) / sizeof(int32_t);
    auto* const start = reinterpret_cast<int32_t*>(scratch + packed_bytes / sizeof(uint32_t));
    auto *const scale = reinterpret_cast<float*>(start + columns), *const shift = scale + columns;
    const Int8Terms terms(op);
    for (size_t k = 0; k < columns; ++k) {
        start[k] = k < w.outs ? -op.x_range.zero * weight_sums[k] : 0;
        scale[k] = k < w.outs ? terms.scale(op, k) : 0;
        shift[k] = k < w.outs ? terms.shift(op, k) : 0;
    }
    const Int8Result result{.activation = op.activation,
                            .is_early = terms.is_early,
                            .is_late = terms.is_late,
                            .in_steps = terms.in_steps,
                            .start = start,
                            .scale = scale,
                            .shift = shift,
                            .residual_scale = terms.residual_scale,
                            .residual_shift = terms.residual_shift,
                            .least = terms.least,
                            .inverse = 1 / op.y_range.scale,
                            .zero = float(op.y_range.zero),
                            .residual = op.residual,
                            .y = op.y,
                            .y_float = op.y_float};
    multiply_windows(
        cpu, w, op.x, uint8_t(op.x_range.zero), packed, true, [](size_t) {},
        reinterpret_cast<uint32_t*>(shift + columns), result, loops);
}

void compute(const Cpu& cpu, const ConvInt8& op) {
    int8_loops() ? int8_compute(cpu, op, *int8_loops()) : compute_direct(cpu, op);
}
