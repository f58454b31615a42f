// What the convolutions of bf16.h and int8.h share: a product of matrices whose left rows, the windows of x, are
// gathered into the cache just before packed weights multiply them (as product.h does in float). The arithmetic is in
// loops of an instruction set: window_loops.h.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>

#include "base/aligned_memory.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/window_loops.h"
#include "kernels/device.h"
#include "kernels/index.h"

// The windows of a grid of pixels over x (n, h, w, c), and where the pixels lie in y (n, out_h, out_w, outs).
struct Windows {
    size_t lanes, max_rows;  // of the loops
    size_t numbers = 2;      // of a lane
    bool in_lanes = true;    // x is: a lane holds its numbers as they are
    size_t n, h, w, c;
    size_t runs, columns;  // of a window; each run is `columns` pixels that follow each other
    size_t grid_h, grid_w, stride;
    ptrdiff_t top, left;  // where the window of the first pixel starts
    size_t out_h, out_w, outs, out_step = 1, out_top = 0, out_left = 0;

    static constexpr size_t max_capacity = 128;  // rows of a block
    static constexpr size_t max_lanes = 16;
    // What stays in the second cache: of a block the gathered rows, and of the weights either all or those of a panel.
    static constexpr size_t block_bytes = size_t(512) << 10, kept_bytes = size_t(192) << 10;

    size_t run() const { return columns * c; }
    size_t run_lanes() const { return ceil_div(run(), numbers); }
    size_t pixels() const { return n * grid_h * grid_w; }
    size_t panels() const { return ceil_div(outs, 2 * lanes); }
    size_t panel_bytes() const { return runs * run_lanes() * 2 * lanes * sizeof(uint32_t); }
    size_t packed_bytes() const { return panels() * panel_bytes(); }
    bool are_short() const { return runs > 1 && run_lanes() <= lanes; }  // runs: they make one
    size_t row_bytes() const {
        return (are_short() ? runs * run_lanes() : runs * ceil_div(run_lanes(), lanes) * lanes) * sizeof(uint32_t);
    }
    size_t block_rows() const {
        const size_t fit = block_bytes / std::max<size_t>(1, row_bytes()) / max_rows;
        return std::clamp<size_t>(fit, 1, (max_capacity - 1) / max_rows) * max_rows;
    }
    // Odd, so that the parts of a row fall on different lines of the first cache.
    size_t capacity() const { return block_rows() | 1; }
    size_t gathered_bytes() const { return aligned(capacity() * row_bytes() + lanes * sizeof(uint32_t)); }
    size_t scratch(const Cpu& cpu) const {
        return alignment + aligned(packed_bytes()) + size_t(cpu.threads) * gathered_bytes();
    }

    // The pixels of x are the rows as they lie. Rows 4096 bytes apart share a few lines of the first cache.
    bool are_rows() const {
        return in_lanes && runs == 1 && columns == 1 && stride == 1 && top == 0 && left == 0 && grid_h == h &&
               grid_w == w && c % numbers == 0 && c / numbers * sizeof(uint32_t) % 4096 != 0;
    }

    void find_rows(size_t begin, size_t count, WindowRow* row) const {
        if (are_rows() && out_step == 1) {  // the rest is not looked at
            for (size_t i = 0; i < count; ++i) row[i].to = (begin + i) * outs;
            return;
        }
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

// Of a convolution's output: each pixel is a row of the left matrix.
template <class Loops>
Windows windows_of(const ConvShape& s, const Loops& loops) {
    return {.lanes = loops.lanes,
            .max_rows = loops.max_rows,
            .n = s.n,
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

inline uint32_t* aligned_scratch(const Cpu& cpu, size_t bytes) {
    return reinterpret_cast<uint32_t*>(aligned(reinterpret_cast<size_t>(cpu.scratch.take<char>(bytes))));
}

// y = windows of x * packed weights, and what `result` says. pack(panel) is called first where weights are not `packed`
// yet.
template <class Number, class Result, class Loops, class Pack>
void multiply_windows(const Cpu& cpu, const Windows& w, const Number* x, Number outside, const uint32_t* packed,
                      bool is_packed, const Pack& pack, uint32_t* all_gathered, const Result& result,
                      const Loops& loops) {
    const bool direct = w.are_rows(), short_runs = w.are_short();
    const size_t lanes = w.lanes, capacity = w.capacity(), panels = w.panels(), pixels = w.pixels();
    const size_t runs = short_runs ? 1 : w.runs, run_lanes = short_runs ? w.runs * w.run_lanes() : w.run_lanes();
    const size_t vectors = ceil_div(run_lanes, lanes), run_size = run_lanes * 2 * lanes, panel_size = runs * run_size;
    // Sums over many weights are made run by run, so that all rows of a block meet a run's weights in the cache.
    const size_t runs_at_once = w.panel_bytes() > w.kept_bytes ? 1 : runs;
    // Few blocks are split by columns, so that each thread reads a part of the weights.
    const size_t blocks = ceil_div(pixels, w.block_rows()), wanted = 4 * size_t(cpu.threads);
    const size_t parts = std::min(panels, ceil_div(wanted, std::max<size_t>(1, blocks))), tasks = blocks * parts;
    std::atomic<size_t> claimed = 0;
#pragma omp parallel num_threads(cpu.threads)
    {
        if (!is_packed) {
#pragma omp for schedule(static)
            for (size_t panel = 0; panel < panels; ++panel) pack(panel);
        }
        uint32_t* const gathered = all_gathered + size_t(omp_get_thread_num()) * w.gathered_bytes() / sizeof(uint32_t);
        WindowRow row[Windows::max_capacity];
        size_t starts[Windows::max_capacity + 1];  // of groups of rows
        alignas(alignment) uint32_t sums[Windows::max_capacity * 2 * Windows::max_lanes];
        WindowTask<Result> task{.runs = runs,
                                .run_lanes = run_lanes,
                                .rows = 0,
                                .outs = w.outs,
                                .left_pitch = direct       ? w.c / w.numbers
                                              : short_runs ? run_lanes
                                                           : lanes,
                                .left_step = direct || short_runs ? lanes : capacity * lanes,
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
                         rows = pixels * (block + 1) / blocks - begin, groups = ceil_div(rows, w.max_rows);
            if (block != last) w.find_rows(begin, rows, row);
            if (block != last && !direct)
                loops.gather({.x = x,
                              .runs = w.runs,
                              .run = w.run(),
                              .pitch = w.w * w.c,
                              .row = row,
                              .rows = rows,
                              .to_row = task.left_pitch,
                              .to_vector = task.left_step,
                              .to_run = short_runs ? w.run_lanes() : vectors * task.left_step,
                              .to = gathered,
                              .outside = outside});
            const char* const left =
                static_cast<const char*>(direct ? static_cast<const void*>(x + begin * w.c) : gathered);
            for (size_t group = 0; group <= groups; ++group) starts[group] = rows * group / groups;
            // A panel's weights follow those of the one before; each group of rows fetches its share.
            task.soon_rate =
                w.packed_bytes() > w.kept_bytes && groups > 1 ? ceil_div(8 * lanes / Windows::max_lanes, groups) : 0;
            const auto multiply = [&](size_t panel, size_t run, size_t some, size_t group) {
                const size_t first = starts[group];
                task.runs = some, task.rows = starts[group + 1] - first;
                task.first = run == 0, task.last = run + some == runs;
                task.left = left + (first * task.left_pitch + run * vectors * task.left_step) * sizeof(uint32_t);
                task.right = packed + panel * panel_size + run * run_size;
                if (task.soon_rate)
                    task.soon = reinterpret_cast<const char*>(task.right + some * run_size) +
                                group * some * run_size * sizeof(uint32_t) / groups / alignment * alignment;
                task.row = row + first, task.sums = sums + first * 2 * lanes;
                loops.multiply(task, panel);
            };
            const size_t begin_panel = panels * part / parts, end_panel = panels * (part + 1) / parts;
            if (w.packed_bytes() <= w.kept_bytes) {
                for (size_t group = 0; group < groups; ++group)
                    for (size_t panel = begin_panel; panel < end_panel; ++panel) multiply(panel, 0, runs, group);
            } else {
                for (size_t panel = begin_panel; panel < end_panel; ++panel)
                    for (size_t run = 0; run < runs; run += runs_at_once)
                        for (size_t group = 0; group < groups; ++group) multiply(panel, run, runs_at_once, group);
            }
        }
    }
}
