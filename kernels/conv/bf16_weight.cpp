// The gradient of the weights in bf16 on the CPU: see bf16.h. The arithmetic is in bf16_vectors.h.
#include <algorithm>

#include "kernels/conv/bf16.h"
#include "kernels/conv/windows.h"
#include "kernels/parallel.h"

namespace {
// The gradient of the weights is summed over blocks of pixels. Threads share the result as a grid of outputs and
// channels, the longer side first; each gathers its operands and waits for no other.
struct Gradient {
    size_t taps, columns, width;  // numbers of `columns` pixels of a window's row are taken at once
    size_t blocks, pairs;         // of pixels; does not depend on the number of threads, which the sums must not
    size_t rows_parts, columns_parts, max_k, max_c, row_step;
    bool several;

    Gradient(const Cpu& cpu, const ConvShape& s, const Bf16Loops& loops) {
        const size_t lanes = loops.lanes, threads = size_t(cpu.threads);
        columns = s.kernel_w * s.c_in <= 2 * lanes ? s.kernel_w : 1;
        width = columns * s.c_in;
        taps = s.kernel_h * s.kernel_w / columns;
        const size_t pixels = s.n * s.out_h() * s.out_w();
        const size_t fit = (size_t(512) << 10) / (sizeof(uint32_t) * (s.c_out + width));
        blocks = ceil_div(pixels, 2 * std::clamp<size_t>(fit, 128, max_pairs));
        pairs = ceil_div(ceil_div(pixels, blocks), 2);
        blocks = ceil_div(pixels, 2 * pairs);
        const size_t most_rows = ceil_div(s.c_out, lanes), most_columns = ceil_div(width, 2 * lanes);
        const bool rows_first = taps == 1 && s.c_out >= s.c_in;
        rows_parts =
            std::min(most_rows, rows_first ? threads : std::max<size_t>(1, threads / std::min(most_columns, threads)));
        columns_parts = std::min(most_columns, std::max<size_t>(1, threads / rows_parts));
        max_k = ceil_div(most_rows, rows_parts) * lanes;
        max_c = ceil_div(most_columns, columns_parts) * 2 * lanes;
        several = blocks > 1;
    }
    static constexpr size_t max_pairs = 512;
    size_t capacity() const { return pairs | 1; }
    size_t left_size(const Bf16Loops& loops) const {
        return (ceil_div(max_k, loops.max_rows) + 1) * capacity() * loops.lanes;
    }
    size_t part_size(const Bf16Loops& loops) const { return left_size(loops) + max_c * capacity(); }
    size_t sums(const ConvShape& s) const { return several ? aligned(s.weight_count() * sizeof(float)) : 0; }
    size_t scratch(const ConvShape& s, const Bf16Loops& loops) const {
        return alignment + sums(s) + rows_parts * columns_parts * part_size(loops) * sizeof(uint32_t);
    }
};
}  // namespace

size_t bf16_scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<bf16>& op, const Bf16Loops& loops) {
    return Gradient(cpu, op.shape, loops).scratch(op.shape, loops);
}

void bf16_compute(const Cpu& cpu, const ConvBackwardWeight<bf16>& op, const Bf16Loops& loops) {
    const ConvShape& s = op.shape;
    const Gradient g(cpu, s, loops);
    uint32_t* const scratch = aligned_scratch(cpu, g.scratch(s, loops));
    auto* const sums = reinterpret_cast<float*>(scratch);
    const size_t pixels = s.n * s.out_h() * s.out_w(), out_h = s.out_h(), out_w = s.out_w(), capacity = g.capacity();
#pragma omp parallel for num_threads(cpu.threads) schedule(static)
    for (size_t part = 0; part < g.rows_parts * g.columns_parts; ++part) {
        const auto cut = [](size_t count, size_t unit, size_t i, size_t of) {
            return std::min(count, ceil_div(count, unit) * i / of * unit);
        };
        const size_t lanes = loops.lanes, row = part % g.rows_parts, column = part / g.rows_parts;
        const size_t k = cut(s.c_out, lanes, row, g.rows_parts),
                     k_count = cut(s.c_out, lanes, row + 1, g.rows_parts) - k;
        const size_t c = cut(g.width, 2 * lanes, column, g.columns_parts),
                     c_count = cut(g.width, 2 * lanes, column + 1, g.columns_parts) - c;
        const size_t row_step = ceil_div(k_count, ceil_div(k_count, loops.max_rows));
        uint32_t* const left = scratch + g.sums(s) / sizeof(uint32_t) + part * g.part_size(loops);
        uint32_t* const right = left + g.left_size(loops);
        Bf16Span dy[2 * Gradient::max_pairs], x[2 * Gradient::max_pairs];
        for (size_t block = 0; block < g.blocks; ++block) {
            const size_t first = block * 2 * g.pairs, count = std::min(pixels, first + 2 * g.pairs) - first;
            const size_t pairs = ceil_div(count, 2);
            for (size_t i = 0; i < 2 * pairs; ++i)
                dy[i] = {ptrdiff_t((first + i) * s.c_out), 0, i < count ? s.c_out : 0};
            loops.gather_pairs({.x = op.dy,
                                .span = dy,
                                .pairs = pairs,
                                .offset = k,
                                .width = k_count,
                                .step = row_step,
                                .capacity = capacity,
                                .to = left});
            for (size_t tap = 0; tap < g.taps; ++tap) {
                const size_t r = tap * g.columns / s.kernel_w, t = tap * g.columns % s.kernel_w;
                size_t q = first % out_w, p = first / out_w % out_h, image = first / out_w / out_h;
                for (size_t i = 0; i < 2 * pairs; ++i) {
                    const auto y_at = ptrdiff_t(p * s.stride + r) - ptrdiff_t(s.padding);
                    const auto x_at = ptrdiff_t(q * s.stride + t) - ptrdiff_t(s.padding);
                    const auto clip = [&](ptrdiff_t at) {
                        return size_t(std::clamp<ptrdiff_t>(at, 0, ptrdiff_t(g.columns))) * s.c_in;
                    };
                    const bool counts = i < count && inside(y_at, s.h);
                    x[i] = {((ptrdiff_t(image * s.h) + y_at) * ptrdiff_t(s.w) + x_at) * ptrdiff_t(s.c_in), clip(-x_at),
                            counts ? clip(ptrdiff_t(s.w) - x_at) : 0};
                    if (++q < out_w) continue;
                    q = 0;
                    if (++p == out_h) p = 0, ++image;
                }
                loops.gather_pairs({.x = op.x,
                                    .span = x,
                                    .pairs = pairs,
                                    .offset = c,
                                    .width = c_count,
                                    .step = lanes,
                                    .capacity = capacity,
                                    .to = right});
                const size_t at = (k * g.taps + tap) * g.width + c;
                loops.accumulate({.pairs = pairs,
                                  .capacity = capacity,
                                  .rows = k_count,
                                  .row_step = row_step,
                                  .columns = c_count,
                                  .pitch = g.taps * g.width,
                                  .first = block == 0,
                                  .last = block + 1 == g.blocks,
                                  .left = left,
                                  .right = right,
                                  .sums = sums + at,
                                  .out = op.dweight + at});
            }
        }
    }
}
