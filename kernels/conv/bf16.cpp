// Convolution in bf16 on the CPU and its gradient of x: see bf16.h. Shares blocks among threads; the arithmetic is in
// bf16_vectors.h.
#include "kernels/conv/bf16.h"

#include <algorithm>

#include "base/cpu_level.h"
#include "kernels/conv/constant_weights.h"
#include "kernels/conv/windows.h"

const Bf16Loops* bf16_loops() {
    static const Bf16Loops* const fastest = []() -> const Bf16Loops* {
#if defined(__x86_64__)
        if (cpu_level() == CpuLevel::avx512 && __builtin_cpu_supports("avx512bf16")) return &bf16_loops_avx512;
        if (cpu_level() >= CpuLevel::avx2) return &bf16_loops_avx2;
#endif
        return nullptr;
    }();
    return fastest;
}

namespace {
void pack_all(const Cpu& cpu, const Bf16Pack& pack, const Bf16Loops& loops) {
    const size_t panels = ceil_div(pack.outs, 2 * loops.lanes);
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
    for (size_t panel = 0; panel < panels; ++panel) loops.pack(pack, panel);
}

// `kept`: weights packed before, or null.
void multiply(const Cpu& cpu, const Windows& windows, const bf16* x, Bf16Pack pack, const void* kept,
              const Bf16Result& result, const Bf16Loops& loops) {
    pack.packed = aligned_scratch(cpu, windows.scratch(cpu));
    const uint32_t* const packed = kept ? static_cast<const uint32_t*>(kept) : pack.packed;
    multiply_windows(
        cpu, windows, x, bf16(0.0f), packed, kept != nullptr, [&](size_t panel) { loops.pack(pack, panel); },
        pack.packed + aligned(windows.packed_bytes()) / sizeof(uint32_t), result, loops);
}

// One axis of the gradient of x. The inputs i with (i + padding) % stride == phase meet the taps phase, phase + stride,
// ... only; the taps run against the outputs.
struct Phase {
    size_t taps, first_tap, first, count;
    ptrdiff_t start;  // output that the first input's window starts with

    Phase(size_t phase, size_t size, size_t kernel, const ConvShape& s) {
        taps = ceil_div(kernel - std::min(kernel, phase), s.stride);
        first_tap = taps ? phase + s.stride * (taps - 1) : 0;
        first = (phase + s.stride * s.padding - s.padding) % s.stride;
        count = ceil_div(size - std::min(size, first), s.stride);
        start = ptrdiff_t((first + s.padding) / s.stride) - ptrdiff_t(taps) + 1;
    }
};
Windows windows_of(const ConvShape& s, const Phase& rows, const Phase& columns, const Bf16Loops& loops) {
    return {.lanes = loops.lanes,
            .max_rows = loops.max_rows,
            .n = s.n,
            .h = s.out_h(),
            .w = s.out_w(),
            .c = s.c_out,
            .runs = columns.taps ? rows.taps : 0,
            .columns = columns.taps,
            .grid_h = rows.count,
            .grid_w = columns.count,
            .stride = 1,
            .top = rows.start,
            .left = columns.start,
            .out_h = s.h,
            .out_w = s.w,
            .outs = s.c_in,
            .out_step = s.stride,
            .out_top = rows.first,
            .out_left = columns.first};
}
template <class Visit>
void for_phases(const ConvShape& s, const Visit& visit) {
    for (size_t i = 0; i < s.stride; ++i)
        for (size_t j = 0; j < s.stride; ++j) visit(Phase(i, s.h, s.kernel_h, s), Phase(j, s.w, s.kernel_w, s));
}
}  // namespace

size_t bf16_scratch_bytes(const Cpu& cpu, const ConvForward<bf16>& op, const Bf16Loops& loops) {
    return windows_of(op.shape, loops).scratch(cpu);
}
size_t bf16_scratch_bytes(const Cpu& cpu, const ConvBackwardData<bf16>& op, const Bf16Loops& loops) {
    size_t bytes = 0;
    for_phases(op.shape, [&](const Phase& rows, const Phase& columns) {
        bytes = std::max(bytes, windows_of(op.shape, rows, columns, loops).scratch(cpu));
    });
    return bytes;
}

void bf16_compute(const Cpu& cpu, const ConvForward<bf16>& op, const Bf16Loops& loops) {
    const ConvShape& s = op.shape;
    const Windows windows = windows_of(s, loops);
    Bf16Pack pack{.weight = op.weight,
                  .runs = s.kernel_h,
                  .columns = s.kernel_w,
                  .channels = s.c_in,
                  .outs = s.c_out,
                  .run_step = ptrdiff_t(s.kernel_w * s.c_in),
                  .column_step = ptrdiff_t(s.c_in),
                  .channel_step = 1,
                  .out_step = ptrdiff_t(s.kernel_h * s.kernel_w * s.c_in),
                  .packed = nullptr};
    const void* kept = nullptr;
    if (op.weight_is_constant)
        kept = constant_weights().find(op.weight, s.c_in, s.c_out, ConstantWeights::Packing::bf16_pairs,
                                       windows.packed_bytes(), [&](void* to) {
                                           pack.packed = static_cast<uint32_t*>(to);
                                           pack_all(cpu, pack, loops);
                                       });
    multiply(cpu, windows, op.x, pack, kept,
             {.bias = op.bias,
              .residual = op.residual,
              .activation = op.activation,
              .residual_last = op.residual_last,
              .y = op.y},
             loops);
}

void bf16_compute(const Cpu& cpu, const ConvBackwardData<bf16>& op, const Bf16Loops& loops) {
    const ConvShape& s = op.shape;
    for_phases(s, [&](const Phase& rows, const Phase& columns) {
        const Windows windows = windows_of(s, rows, columns, loops);
        if (windows.pixels() == 0) return;
        const auto c_in = ptrdiff_t(s.c_in), row = ptrdiff_t(s.kernel_w) * c_in, step = ptrdiff_t(s.stride);
        const Bf16Pack pack{.weight = op.weight + ptrdiff_t(rows.first_tap) * row + ptrdiff_t(columns.first_tap) * c_in,
                            .runs = windows.runs,
                            .columns = windows.columns,
                            .channels = s.c_out,
                            .outs = s.c_in,
                            .run_step = -step * row,
                            .column_step = -step * c_in,
                            .channel_step = ptrdiff_t(s.kernel_h) * row,
                            .out_step = 1,
                            .packed = nullptr};
        multiply(cpu, windows, op.dy, pack, nullptr, {.y = op.dx}, loops);
    });
}
