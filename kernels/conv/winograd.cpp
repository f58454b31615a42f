// Winograd's convolution on the CPU: see winograd.h. Shares blocks of tiles among threads; the arithmetic is in
// winograd_vectors.h.
#include "kernels/conv/winograd.h"

#include <algorithm>

#include "kernels/conv/simd_loops.h"
#include "kernels/index.h"
#include "kernels/parallel.h"

template <>
const WinogradLoops* winograd_loops<float>(size_t stride) {
    return !simd_loops() ? nullptr : stride == 1 ? &simd_loops()->winograd : &simd_loops()->winograd_stride_2;
}
template <>
const WinogradLoops* winograd_loops<bf16>(size_t stride) {
    return simd_loops() && stride == 1 ? &simd_loops()->winograd_bf16 : nullptr;
}

namespace {
size_t packed_panel(size_t c_in, const WinogradLoops& loops) {
    return winograd_points * (ceil_div(c_in, loops.lanes) * loops.lanes * 2 * loops.lanes + winograd_gap);
}

// How the tiles of a convolution are cut into blocks, and what memory a block needs.
struct Blocks {
    size_t tiles_h, tiles_w, tiles, count, capacity, panels, channel_blocks, transformed, products;

    Blocks(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops)
        : tiles_h(ceil_div(s.out_h(), 4)),
          tiles_w(ceil_div(s.out_w(), 4)),
          tiles(s.n * tiles_h * tiles_w),
          capacity(2 * loops.rows) {
        count = ceil_div(tiles, capacity);
        if (const size_t threads = size_t(cpu.threads); count > threads) count = ceil_div(count, threads) * threads;
        panels = ceil_div(s.c_out, 2 * loops.lanes);
        channel_blocks = ceil_div(s.c_in, loops.lanes);
        transformed = loops.points * (channel_blocks * capacity * loops.lanes + winograd_gap);
        products = loops.points * (capacity * 2 * loops.lanes + winograd_gap);
    }
    size_t first(size_t block) const { return tiles * block / count; }
    // Few tiles: threads share the panels instead, and what they read has to be there for all of them.
    bool few(const Cpu& cpu) const { return count < 2 * size_t(cpu.threads); }
    size_t transformed_kept(const Cpu& cpu) const { return few(cpu) ? count : size_t(cpu.threads); }
};
}  // namespace

bool winograd_supports(const ConvShape& s, size_t stride) {
    return winograd_loops<float>(stride) && s.kernel_h == 3 && s.kernel_w == 3 && s.stride == stride && s.padding == 1;
}

size_t winograd_packed_count(const ConvShape& s, const WinogradLoops& loops) {
    return ceil_div(s.c_out, 2 * loops.lanes) * packed_panel(s.c_in, loops);
}

void winograd_pack(const Cpu& cpu, const ConvShape& s, const void* weight, bool flipped, float* packed,
                   const WinogradLoops& loops) {
    parallel_for(cpu, ceil_div(s.c_out, 2 * loops.lanes), 1, [&](size_t begin, size_t end) {
        for (size_t panel = begin; panel < end; ++panel)
            loops.pack({.c_in = s.c_in,
                        .c_out = s.c_out,
                        .first = 0,
                        .depth = s.c_in,
                        .flipped = flipped,
                        .weight = weight,
                        .packed = packed + panel * packed_panel(s.c_in, loops)},
                       panel);
    });
}

namespace {
// All but the tiles and the memory of a thread.
WinogradTask task_of(const auto& op, const auto& blocks) {
    return {.h = op.shape.h,
            .w = op.shape.w,
            .out_h = op.shape.out_h(),
            .out_w = op.shape.out_w(),
            .c_in = op.shape.c_in,
            .c_out = op.shape.c_out,
            .tiles_h = blocks.tiles_h,
            .tiles_w = blocks.tiles_w,
            .capacity = blocks.capacity,
            .first_part = true,
            .last_part = true,
            .activation = int(op.activation),
            .residual_last = op.residual_last,
            .x = op.x,
            .residual = op.residual,
            .bias = op.bias,
            .y = op.y};
}
}  // namespace

size_t winograd_scratch_count(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops) {
    const Blocks blocks(cpu, s, loops);
    return blocks.transformed_kept(cpu) * blocks.transformed + size_t(cpu.threads) * blocks.products;
}

template <class T>
void winograd_forward(const Cpu& cpu, const ConvForward<T>& op, const float* packed, float* scratch,
                      const WinogradLoops& loops) {
    const ConvShape& s = op.shape;
    const Blocks blocks(cpu, s, loops);
    float* const products = scratch + blocks.transformed_kept(cpu) * blocks.transformed;
    const auto task = [&](size_t block, size_t transformed_at, size_t panel) {
        WinogradTask t = task_of(op, blocks);
        t.first = blocks.first(block), t.tiles = blocks.first(block + 1) - t.first, t.depth = s.c_in;
        t.packed = packed + panel * packed_panel(s.c_in, loops);
        t.transformed = scratch + transformed_at * blocks.transformed;
        t.products = products + size_t(omp_get_thread_num()) * blocks.products;
        return t;
    };
#pragma omp parallel num_threads(cpu.threads)
    if (blocks.few(cpu)) {
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < blocks.count * blocks.channel_blocks; ++i)
            loops.transform(task(i / blocks.channel_blocks, i / blocks.channel_blocks, 0), i % blocks.channel_blocks);
#pragma omp for schedule(dynamic) nowait
        for (size_t i = 0; i < blocks.count * blocks.panels; ++i)
            loops.multiply(task(i % blocks.count, i % blocks.count, i / blocks.count), i / blocks.count);
    } else {
#pragma omp for schedule(dynamic) nowait
        for (size_t block = 0; block < blocks.count; ++block) {
            const size_t thread = size_t(omp_get_thread_num());
            for (size_t i = 0; i < blocks.channel_blocks; ++i) loops.transform(task(block, thread, 0), i);
            for (size_t i = 0; i < blocks.panels; ++i) loops.multiply(task(block, thread, i), i);
        }
    }
}

namespace {
// How scratch memory is divided for a convolution with streamed weights.
struct StreamedParts {
    static constexpr size_t depth = 64;  // channels of x whose weights are transformed at a time
    size_t tiles_h, tiles_w, tiles, capacity, panels, channel_blocks, transformed, packed, products;

    StreamedParts(const ConvShape& s, const WinogradLoops& loops)
        : tiles_h(ceil_div(s.h, 4)),
          tiles_w(ceil_div(s.w, 4)),
          tiles(s.n * tiles_h * tiles_w),
          capacity(tiles + 2 * loops.rows),
          panels(ceil_div(s.c_out, 2 * loops.lanes)),
          channel_blocks(ceil_div(s.c_in, loops.lanes)) {
        transformed = winograd_points * (channel_blocks * capacity * loops.lanes + winograd_gap);
        packed = packed_panel(std::min(depth, s.c_in), loops);
        products = winograd_points * (capacity * 2 * loops.lanes + winograd_gap);
    }
};
}  // namespace

size_t winograd_streamed_scratch_count(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops) {
    const StreamedParts parts(s, loops);
    return parts.transformed + size_t(cpu.threads) * (parts.packed + parts.products);
}

template <class T>
void winograd_streamed_forward(const Cpu& cpu, const ConvForward<T>& op, bool flipped, float* scratch,
                               const WinogradLoops& loops) {
    const ConvShape& s = op.shape;
    const StreamedParts parts(s, loops);
    const size_t chunk = 16, chunks = ceil_div(parts.tiles, chunk);  // tiles of a thread's part of the transform
#pragma omp parallel num_threads(cpu.threads)
    {
        float* const packed =
            scratch + parts.transformed + size_t(omp_get_thread_num()) * (parts.packed + parts.products);
        WinogradTask task = task_of(op, parts);
        task.packed = packed, task.products = packed + parts.packed;
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < chunks * parts.channel_blocks; ++i) {
            task.first = i / parts.channel_blocks * chunk;
            task.tiles = std::min(chunk, parts.tiles - task.first);
            task.transformed = scratch + task.first * loops.lanes;
            loops.transform(task, i % parts.channel_blocks);
        }
        const size_t ranges = std::min(
            parts.tiles, ceil_div(size_t(cpu.threads), parts.panels));  // of tiles, so that every thread has work
#pragma omp for schedule(dynamic) nowait
        for (size_t i = 0; i < parts.panels * ranges; ++i) {
            const size_t panel = i / ranges, range = i % ranges;
            task.first = parts.tiles * range / ranges, task.tiles = parts.tiles * (range + 1) / ranges - task.first;
            for (size_t c = 0; c < s.c_in; c += parts.depth) {
                task.depth = std::min(parts.depth, s.c_in - c);
                task.first_part = c == 0, task.last_part = c + task.depth == s.c_in;
                task.transformed = scratch + c * parts.capacity + task.first * loops.lanes;
                loops.pack({.c_in = s.c_in,
                            .c_out = s.c_out,
                            .first = c,
                            .depth = task.depth,
                            .flipped = flipped,
                            .weight = op.weight,
                            .packed = packed},
                           panel);
                loops.multiply(task, panel);
            }
        }
    }
}

namespace {
// How scratch memory is divided for the gradient of the weights. Sums over tiles are made block by block, in order. If
// one block has all tiles, a thread completes the sums of a few output channels while they lie in the cache.
struct WeightParts {
    static constexpr size_t capacity = 128, chunk = 16;  // tiles of a block, and of a thread's part of its transform
    size_t tiles_h, tiles_w, tiles, in_blocks, out_blocks, transformed, gradient, group, sums;
    bool single;

    WeightParts(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops)
        : tiles_h(ceil_div(s.h, 4)),
          tiles_w(ceil_div(s.w, 4)),
          tiles(s.n * tiles_h * tiles_w),
          in_blocks(ceil_div(s.c_in, loops.lanes)),
          out_blocks(ceil_div(s.c_out, loops.lanes)),
          single(tiles <= capacity) {
        transformed = winograd_points * (in_blocks * capacity * loops.lanes + winograd_gap);
        gradient = winograd_points * (out_blocks * capacity * loops.lanes + winograd_gap);
        group = single ? std::clamp<size_t>(out_blocks / (2 * size_t(cpu.threads)), 1, 64 / loops.lanes) : out_blocks;
        sums = winograd_points * (in_blocks * group * loops.lanes * loops.lanes + winograd_gap);
    }
};
}  // namespace

size_t winograd_weight_scratch_count(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops) {
    const WeightParts parts(cpu, s, loops);
    return parts.transformed + parts.gradient + (parts.single ? size_t(cpu.threads) : 1) * parts.sums;
}

template <class T>
void winograd_backward_weight(const Cpu& cpu, const ConvBackwardWeight<T>& op, float* scratch,
                              const WinogradLoops& loops) {
    const ConvShape& s = op.shape;
    const WeightParts parts(cpu, s, loops);
    float* const gradient = scratch + parts.transformed;
    const auto side = [&](const void* from, size_t channels, float* to, size_t first, size_t offset, size_t tiles) {
        return WinogradTask{.h = s.h,
                            .w = s.w,
                            .out_h = s.h,
                            .out_w = s.w,
                            .c_in = channels,
                            .c_out = 0,
                            .tiles_h = parts.tiles_h,
                            .tiles_w = parts.tiles_w,
                            .first = first + offset,
                            .tiles = tiles,
                            .capacity = parts.capacity,
                            .depth = channels,
                            .first_part = true,
                            .last_part = true,
                            .activation = 0,
                            .residual_last = false,
                            .x = from,
                            .residual = nullptr,
                            .bias = nullptr,
                            .packed = nullptr,
                            .y = nullptr,
                            .transformed = to + offset * loops.lanes,
                            .products = nullptr};
    };
    WinogradWeightTask task{.c_in = s.c_in,
                            .c_out = s.c_out,
                            .tiles = 0,
                            .capacity = parts.capacity,
                            .out_first = 0,
                            .out_blocks = parts.group,
                            .first = true,
                            .transformed = scratch,
                            .gradient = gradient,
                            .sums = gradient + parts.gradient,
                            .dweight = op.dweight};
#pragma omp parallel num_threads(cpu.threads) firstprivate(task)
    {
        for (size_t first = 0; first < parts.tiles; first += parts.capacity, task.first = false) {
            task.tiles = std::min(parts.capacity, parts.tiles - first);
            const size_t chunks = ceil_div(task.tiles, parts.chunk), blocks = parts.in_blocks + parts.out_blocks;
#pragma omp for schedule(dynamic)
            for (size_t i = 0; i < chunks * blocks; ++i) {
                const size_t block = i % blocks, offset = i / blocks * parts.chunk,
                             tiles = std::min(parts.chunk, task.tiles - offset);
                if (block < parts.in_blocks)
                    loops.transform(side(op.x, s.c_in, scratch, first, offset, tiles), block);
                else
                    loops.transform_gradient(side(op.dy, s.c_out, gradient, first, offset, tiles),
                                             block - parts.in_blocks);
            }
            if (parts.single) break;
#pragma omp for schedule(dynamic)
            for (size_t i = 0; i < winograd_points * parts.out_blocks; ++i)
                loops.accumulate(task, i / parts.out_blocks, i % parts.out_blocks);
        }
        if (parts.single) {
            task.sums += size_t(omp_get_thread_num()) * parts.sums;
#pragma omp for schedule(dynamic) nowait
            for (size_t group = 0; group < ceil_div(parts.out_blocks, parts.group); ++group) {
                task.out_first = group * parts.group;
                task.out_blocks = std::min(parts.group, parts.out_blocks - task.out_first);
                for (size_t i = 0; i < winograd_points * task.out_blocks; ++i)
                    loops.accumulate(task, i / task.out_blocks, i % task.out_blocks);
                const size_t channel = task.out_first * loops.lanes,
                             end = std::min(s.c_out, channel + task.out_blocks * loops.lanes);
                for (size_t k = 0; k < end - channel; ++k) loops.finish(task, k);
            }
        } else {
#pragma omp for schedule(static) nowait
            for (size_t channel = 0; channel < s.c_out; ++channel) loops.finish(task, channel);
        }
    }
}
template void winograd_forward(const Cpu&, const ConvForward<float>&, const float*, float*, const WinogradLoops&);
template void winograd_streamed_forward(const Cpu&, const ConvForward<float>&, bool, float*, const WinogradLoops&);
template void winograd_backward_weight(const Cpu&, const ConvBackwardWeight<float>&, float*, const WinogradLoops&);
template void winograd_forward(const Cpu&, const ConvForward<bf16>&, const float*, float*, const WinogradLoops&);
template void winograd_streamed_forward(const Cpu&, const ConvForward<bf16>&, bool, float*, const WinogradLoops&);
template void winograd_backward_weight(const Cpu&, const ConvBackwardWeight<bf16>&, float*, const WinogradLoops&);
