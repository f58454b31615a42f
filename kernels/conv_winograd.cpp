// Winograd's convolution on the CPU: see conv_winograd.h. Shares blocks of tiles among threads; the arithmetic is in
// conv_winograd_vectors.h.
#include "kernels/conv_winograd.h"

#include <algorithm>

#include "kernels/conv_winograd_loops.h"
#include "kernels/parallel.h"

const WinogradLoops* winograd_loops() {
    static const WinogradLoops* const found = []() -> const WinogradLoops* {
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx512f")) return &winograd_avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &winograd_avx2;
#endif
        return nullptr;
    }();
    return found;
}

namespace {
size_t pieces(size_t count, size_t size) { return (count + size - 1) / size; }

// How the tiles of a convolution are cut into blocks, and what memory a block needs.
struct Blocks {
    size_t tiles_h, tiles_w, tiles, count, room, panels, channel_blocks, transformed, products;

    Blocks(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops)
        : tiles_h(pieces(s.h, 4)), tiles_w(pieces(s.w, 4)), tiles(s.n * tiles_h * tiles_w), room(2 * loops.rows) {
        count = pieces(tiles, room);
        if (const size_t threads = size_t(cpu.threads); count > threads) count = pieces(count, threads) * threads;
        panels = pieces(s.c_out, 2 * loops.lanes);
        channel_blocks = pieces(s.c_in, loops.lanes);
        transformed = winograd_points * (channel_blocks * room * loops.lanes + winograd_gap);
        products = winograd_points * (room * 2 * loops.lanes + winograd_gap);
    }
    size_t first(size_t block) const { return tiles * block / count; }
    // Few tiles: threads share the panels instead, and what they read has to be there for all of them.
    bool few(const Cpu& cpu) const { return count < 2 * size_t(cpu.threads); }
    size_t transformed_kept(const Cpu& cpu) const { return few(cpu) ? count : size_t(cpu.threads); }
};
}  // namespace

bool winograd_supports(const ConvShape& s) {
    return winograd_loops() && s.kernel_h == 3 && s.kernel_w == 3 && s.stride == 1 && s.padding == 1;
}

size_t winograd_packed_count(const ConvShape& s, const WinogradLoops& loops) {
    const size_t lanes = loops.lanes;
    return pieces(s.c_out, 2 * lanes) * winograd_points * (pieces(s.c_in, lanes) * lanes * 2 * lanes + winograd_gap);
}

void winograd_pack(const Cpu& cpu, const ConvShape& s, const float* weight, bool flipped, float* packed,
                   const WinogradLoops& loops) {
    const WinogradPack task{.c_in = s.c_in, .c_out = s.c_out, .flipped = flipped, .weight = weight, .packed = packed};
    parallel_for(cpu, pieces(s.c_out, 2 * loops.lanes), 1, [&](size_t begin, size_t end) {
        for (size_t panel = begin; panel < end; ++panel) loops.pack(task, panel);
    });
}

size_t winograd_scratch_count(const Cpu& cpu, const ConvShape& s, const WinogradLoops& loops) {
    const Blocks blocks(cpu, s, loops);
    return blocks.transformed_kept(cpu) * blocks.transformed + size_t(cpu.threads) * blocks.products;
}

void winograd_forward(const Cpu& cpu, const ConvForward<float>& op, const float* packed, float* scratch,
                      const WinogradLoops& loops) {
    const ConvShape& s = op.shape;
    const Blocks blocks(cpu, s, loops);
    float* const products = scratch + blocks.transformed_kept(cpu) * blocks.transformed;
    const auto task = [&](size_t block, size_t transformed_at) {
        return WinogradTask{.h = s.h, .w = s.w, .c_in = s.c_in, .c_out = s.c_out,
                            .x_pitch = op.x_pitch ? op.x_pitch : s.c_in, .y_pitch = op.y_pitch ? op.y_pitch : s.c_out,
                            .tiles_h = blocks.tiles_h, .tiles_w = blocks.tiles_w, .first = blocks.first(block),
                            .tiles = blocks.first(block + 1) - blocks.first(block), .room = blocks.room,
                            .activation = int(op.activation), .residual_last = op.residual_last, .x = op.x, .bias = op.bias,
                            .residual = op.residual, .packed = packed, .y = op.y,
                            .transformed = scratch + transformed_at * blocks.transformed,
                            .products = products + size_t(omp_get_thread_num()) * blocks.products};
    };
#pragma omp parallel num_threads(cpu.threads)
    if (blocks.few(cpu)) {
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < blocks.count * blocks.channel_blocks; ++i)
            loops.transform(task(i / blocks.channel_blocks, i / blocks.channel_blocks), i % blocks.channel_blocks);
#pragma omp for schedule(dynamic) nowait
        for (size_t i = 0; i < blocks.count * blocks.panels; ++i)
            loops.multiply(task(i % blocks.count, i % blocks.count), i / blocks.count);
    } else {
#pragma omp for schedule(dynamic) nowait
        for (size_t block = 0; block < blocks.count; ++block) {
            const WinogradTask own = task(block, size_t(omp_get_thread_num()));
            for (size_t i = 0; i < blocks.channel_blocks; ++i) loops.transform(own, i);
            for (size_t i = 0; i < blocks.panels; ++i) loops.multiply(own, i);
        }
    }
}

namespace {
// Where the parts of the weights' gradient lie in scratch. Sums over tiles are made block by block, in order.
struct WeightParts {
    static constexpr size_t room = 128, chunk = 16;  // tiles of a block, and of a thread's part of its transform
    size_t in_blocks, out_blocks, transformed, gradient, sums;

    WeightParts(const ConvShape& s, const WinogradLoops& loops)
        : in_blocks(pieces(s.c_in, loops.lanes)), out_blocks(pieces(s.c_out, loops.lanes)) {
        transformed = winograd_points * (in_blocks * room * loops.lanes + winograd_gap);
        gradient = winograd_points * (out_blocks * room * loops.lanes + winograd_gap);
        sums = winograd_points * (in_blocks * out_blocks * loops.lanes * loops.lanes + winograd_gap);
    }
};
}  // namespace

size_t winograd_weight_scratch_count(const ConvShape& s, const WinogradLoops& loops) {
    const WeightParts parts(s, loops);
    return parts.transformed + parts.gradient + parts.sums;
}

void winograd_backward_weight(const Cpu& cpu, const ConvBackwardWeight<float>& op, float* scratch, const WinogradLoops& loops) {
    const ConvShape& s = op.shape;
    const WeightParts parts(s, loops);
    const size_t tiles_h = pieces(s.h, 4), tiles_w = pieces(s.w, 4), all = s.n * tiles_h * tiles_w;
    float* const gradient = scratch + parts.transformed;
    const auto side = [&](const float* from, size_t channels, float* to, size_t first, size_t offset, size_t tiles) {
        return WinogradTask{.h = s.h, .w = s.w, .c_in = channels, .c_out = 0, .x_pitch = channels, .y_pitch = 0,
                            .tiles_h = tiles_h, .tiles_w = tiles_w, .first = first + offset, .tiles = tiles, .room = parts.room,
                            .activation = 0, .residual_last = false, .x = from, .bias = nullptr, .residual = nullptr,
                            .packed = nullptr, .y = nullptr, .transformed = to + offset * loops.lanes, .products = nullptr};
    };
    WinogradWeightTask task{.c_in = s.c_in, .c_out = s.c_out, .tiles = 0, .room = parts.room, .first = true,
                            .transformed = scratch, .gradient = gradient, .sums = gradient + parts.gradient,
                            .dweight = op.dweight};
#pragma omp parallel num_threads(cpu.threads) firstprivate(task)
    {
        for (size_t first = 0; first < all; first += parts.room, task.first = false) {
            task.tiles = std::min(parts.room, all - first);
            const size_t chunks = pieces(task.tiles, parts.chunk), blocks = parts.in_blocks + parts.out_blocks;
#pragma omp for schedule(dynamic)
            for (size_t i = 0; i < chunks * blocks; ++i) {
                const size_t block = i % blocks, offset = i / blocks * parts.chunk, tiles = std::min(parts.chunk, task.tiles - offset);
                if (block < parts.in_blocks)
                    loops.transform(side(op.x, s.c_in, scratch, first, offset, tiles), block);
                else
                    loops.transform_gradient(side(op.dy, s.c_out, gradient, first, offset, tiles), block - parts.in_blocks);
            }
#pragma omp for schedule(dynamic)
            for (size_t i = 0; i < winograd_points * parts.out_blocks; ++i)
                loops.accumulate(task, i / parts.out_blocks, i % parts.out_blocks);
        }
#pragma omp for schedule(static) nowait
        for (size_t channel = 0; channel < s.c_out; ++channel) loops.finish(task, channel);
    }
}
