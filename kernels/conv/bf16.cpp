// Convolution in bf16 on the CPU and its gradient of x: see bf16.h. Shares blocks among threads; the arithmetic is in
// bf16_vectors.h.
#include "kernels/conv/bf16.h"

#include <algorithm>
#include <atomic>

#include "base/aligned_memory.h"
#include "base/cpu_level.h"
#include "kernels/conv/constant_weights.h"
#include "kernels/parallel.h"

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
constexpr size_t max_capacity = 128;  // rows of a block
constexpr size_t max_lanes = 16;
// What stays in the second cache: of a block the gathered rows, and of the weights either all or those of a panel.
constexpr size_t block_bytes = size_t(512) << 10, kept_bytes = size_t(192) << 10;

// The windows of a grid of pixels over x (n, h, w, c), and where the pixels lie in y (n, out_h, out_w, outs).
struct Windows {
    size_t n, h, w, c;
    size_t runs, columns;  // of a window; each run is `columns` pixels that follow each other
    size_t grid_h, grid_w, stride;
    ptrdiff_t top, left;  // where the window of the first pixel starts
    size_t out_h, out_w, outs, out_step = 1, out_top = 0, out_left = 0;

    size_t run() const { return columns * c; }
    size_t pixels() const { return n * grid_h * grid_w; }
    size_t packed_bytes(const Bf16Loops& loops) const {
        const size_t panel = runs * ceil_div(run(), 2) * 2 * loops.lanes * sizeof(uint32_t);
        return ceil_div(outs, 2 * loops.lanes) * panel;
    }
    size_t row_bytes(const Bf16Loops& loops) const {
        return runs * ceil_div(run(), 2 * loops.lanes) * loops.lanes * sizeof(uint32_t);
    }
    size_t block_rows(const Bf16Loops& loops) const {
        const size_t fit = block_bytes / std::max<size_t>(1, row_bytes(loops)) / loops.max_rows;
        return std::clamp<size_t>(fit, 1, (max_capacity - 1) / loops.max_rows) * loops.max_rows;
    }
    // Odd, so that the parts of a row fall on different lines of the first cache.
    size_t capacity(const Bf16Loops& loops) const { return block_rows(loops) | 1; }
    size_t scratch(const Cpu& cpu, const Bf16Loops& loops) const {
        return alignment + aligned(packed_bytes(loops)) + size_t(cpu.threads) * capacity(loops) * row_bytes(loops);
    }

    // The pixels of x are the rows as they lie. Rows 4096 bytes apart share a few lines of the first cache.
    bool are_rows() const {
        return runs == 1 && columns == 1 && stride == 1 && top == 0 && left == 0 && grid_h == h && grid_w == w &&
               c % 2 == 0 && c * sizeof(bf16) % 4096 != 0;
    }

    void find_rows(size_t begin, size_t count, Bf16Row* row) const {
        size_t q = begin % grid_w, p = begin / grid_w % grid_h, image = begin / grid_w / grid_h;
        const auto clip = [](ptrdiff_t at, size_t size) {
            return size_t(std::clamp<ptrdiff_t>(at, 0, ptrdiff_t(size)));
        };
        for (; count; --count, ++row) {
            const ptrdiff_t i = ptrdiff_t(p * stride) + top, j = ptrdiff_t(q * stride) + left;
            *row = {.at = ((ptrdiff_t(image * h) + i) * ptrdiff_t(w) + j) * ptrdiff_t(c),
                    .top = clip(-i, runs),
                    .bottom = clip(ptrdiff_t(h) - i, runs),
                    .first = clip(-j, columns) * c,
                    .last = clip(ptrdiff_t(w) - j, columns) * c,
                    .to = ((image * out_h + p * out_step + out_top) * out_w + q * out_step + out_left) * outs};
            if (++q < grid_w) continue;
            q = 0;
            if (++p == grid_h) p = 0, ++image;
        }
    }
};

void pack_all(const Cpu& cpu, const Bf16Pack& pack, const Bf16Loops& loops) {
    const size_t panels = ceil_div(pack.outs, 2 * loops.lanes);
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
    for (size_t panel = 0; panel < panels; ++panel) loops.pack(pack, panel);
}

// `kept`: weights packed before, or null.
void multiply_windows(const Cpu& cpu, const Windows& w, const bf16* x, Bf16Pack pack, const void* kept,
                      const Bf16Result& result, const Bf16Loops& loops) {
    uint32_t* const scratch = bf16_scratch(cpu, w.scratch(cpu, loops));
    uint32_t* const all_gathered = scratch + aligned(w.packed_bytes(loops)) / sizeof(uint32_t);
    const bool direct = w.are_rows();
    const size_t capacity = w.capacity(loops), panels = ceil_div(w.outs, 2 * loops.lanes), pixels = w.pixels();
    const size_t chunks = ceil_div(w.run(), 2 * loops.lanes), run_size = ceil_div(w.run(), 2) * 2 * loops.lanes,
                 panel_size = w.runs * run_size;
    // Sums over many weights are made run by run, so that all rows of a block meet a run's weights in the cache.
    const size_t runs_at_once = panel_size * sizeof(uint32_t) > kept_bytes ? 1 : w.runs;
    // Few blocks are split by columns, so that each thread reads a part of the weights.
    const size_t blocks = ceil_div(pixels, w.block_rows(loops)), wanted = 4 * size_t(cpu.threads);
    const size_t parts = std::min(panels, ceil_div(wanted, std::max<size_t>(1, blocks))), tasks = blocks * parts;
    pack.packed = scratch;
    const auto* const packed = kept ? static_cast<const uint32_t*>(kept) : scratch;
    std::atomic<size_t> claimed = 0;
#pragma omp parallel num_threads(cpu.threads)
    {
        if (!kept) {
#pragma omp for schedule(static)
            for (size_t panel = 0; panel < panels; ++panel) loops.pack(pack, panel);
        }
        uint32_t* const gathered =
            all_gathered + size_t(omp_get_thread_num()) * capacity * w.row_bytes(loops) / sizeof(uint32_t);
        Bf16Row row[max_capacity];
        alignas(alignment) float sums[max_capacity * 2 * max_lanes];
        Bf16Task task{.runs = w.runs,
                      .run = w.run(),
                      .rows = 0,
                      .outs = w.outs,
                      .left_pitch = direct ? w.c / 2 : loops.lanes,
                      .left_step = direct ? loops.lanes : capacity * loops.lanes,
                      .left = nullptr,
                      .right = nullptr,
                      .row = row,
                      .result = result,
                      .soon = nullptr,
                      .soon_rate = 0,
                      .sums = sums,
                      .first = true,
                      .last = true};
        for (size_t i, last = tasks; (i = claimed++) < tasks; last = i / parts) {
            const size_t block = i / parts, part = i % parts, begin = pixels * block / blocks,
                         rows = pixels * (block + 1) / blocks - begin, groups = ceil_div(rows, loops.max_rows);
            if (block != last) w.find_rows(begin, rows, row);
            if (block != last && !direct)
                loops.gather({.x = x,
                              .runs = w.runs,
                              .run = w.run(),
                              .pitch = w.w * w.c,
                              .row = row,
                              .rows = rows,
                              .capacity = capacity,
                              .to = gathered});
            const char* const left =
                static_cast<const char*>(direct ? static_cast<const void*>(x + begin * w.c) : gathered);
            const auto multiply = [&](size_t panel, size_t run, size_t runs, size_t group) {
                const size_t first = rows * group / groups;
                task.runs = runs, task.rows = rows * (group + 1) / groups - first;
                task.first = run == 0, task.last = run + runs == w.runs;
                task.left = left + (first * task.left_pitch + run * chunks * task.left_step) * sizeof(uint32_t);
                task.right = packed + panel * panel_size + run * run_size;
                // A panel's weights follow those of the one before; each group of rows fetches its share.
                task.soon_rate = panel_size * sizeof(uint32_t) * panels > kept_bytes && groups > 1
                                     ? ceil_div(8 * loops.lanes / max_lanes, groups)
                                     : 0;
                task.soon = reinterpret_cast<const char*>(task.right + runs * run_size) +
                            group * runs * run_size * sizeof(uint32_t) / groups / alignment * alignment;
                task.row = row + first, task.sums = sums + first * 2 * loops.lanes;
                loops.multiply(task, panel);
            };
            const size_t begin_panel = panels * part / parts, end_panel = panels * (part + 1) / parts;
            if (w.packed_bytes(loops) <= kept_bytes) {
                for (size_t group = 0; group < groups; ++group)
                    for (size_t panel = begin_panel; panel < end_panel; ++panel) multiply(panel, 0, w.runs, group);
            } else {
                for (size_t panel = begin_panel; panel < end_panel; ++panel)
                    for (size_t run = 0; run < w.runs; run += runs_at_once)
                        for (size_t group = 0; group < groups; ++group) multiply(panel, run, runs_at_once, group);
            }
        }
    }
}

Windows windows_of(const ConvShape& s) {
    return {.n = s.n,
            .h = s.h,
            .w = s.w,
            .c = s.c_in,
            .runs = s.kernel_h,
            .columns = s.kernel_w,
            .grid_h = s.out_h(),
            .grid_w = s.out_w(),
            .stride = s.stride,
            .top = -ptrdiff_t(s.padding),
            .left = -ptrdiff_t(s.padding),
            .out_h = s.out_h(),
            .out_w = s.out_w(),
            .outs = s.c_out};
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
Windows windows_of(const ConvShape& s, const Phase& rows, const Phase& columns) {
    return {.n = s.n,
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
    return windows_of(op.shape).scratch(cpu, loops);
}
size_t bf16_scratch_bytes(const Cpu& cpu, const ConvBackwardData<bf16>& op, const Bf16Loops& loops) {
    size_t bytes = 0;
    for_phases(op.shape, [&](const Phase& rows, const Phase& columns) {
        bytes = std::max(bytes, windows_of(op.shape, rows, columns).scratch(cpu, loops));
    });
    return bytes;
}

void bf16_compute(const Cpu& cpu, const ConvForward<bf16>& op, const Bf16Loops& loops) {
    const ConvShape& s = op.shape;
    const Windows windows = windows_of(s);
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
                                       windows.packed_bytes(loops), [&](void* to) {
                                           pack.packed = static_cast<uint32_t*>(to);
                                           pack_all(cpu, pack, loops);
                                       });
    multiply_windows(cpu, windows, op.x, pack, kept,
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
        const Windows windows = windows_of(s, rows, columns);
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
        multiply_windows(cpu, windows, op.dy, pack, nullptr, {.y = op.dx}, loops);
    });
}
