// The sums of window_loops.h on the vectors of simd.h. Before this header stand the types Sum and Lanes, a vector whose
// numbers are multiplied at once, and  Sum dot(Sum, Lanes weight, Lanes x).
#pragma once

#include "kernels/conv/simd.h"
#include "kernels/conv/window_loops.h"
#include "kernels/index.h"

namespace {
typedef int Lane __attribute__((aligned(1), may_alias));

// sum (rows, vectors * lanes) += left (rows, depth) * right (depth, vectors * lanes)
template <size_t rows, size_t vectors, class Result>
[[gnu::always_inline]] inline void multiply_depth(const WindowTask<Result>& t, Sum (&sum)[rows][vectors]) {
    // Three rows share an address: a processor adds an index once or twice for nothing.
    const size_t pitch = t.left_pitch * sizeof(uint32_t), step = t.left_step * sizeof(uint32_t);
    constexpr size_t groups = ceil_div(rows, 3);
    const uint32_t* u = t.right;
    const char* soon = t.soon;
    const char* left[groups];
    for (size_t r = 0; r < groups; ++r) left[r] = static_cast<const char*>(t.left) + 3 * r * pitch;
    const auto multiply = [&](size_t lane) __attribute__((always_inline)) {
        Lanes weight[vectors];
#pragma GCC unroll 2
        for (size_t k = 0; k < vectors; ++k)
            weight[k] = *reinterpret_cast<const Lanes*>(u + lane * panel_lanes + k * lanes);
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; ++r) {
            const Lanes value = Lanes{} + *reinterpret_cast<const Lane*>(left[r / 3] + r % 3 * pitch + 4 * lane);
#pragma GCC unroll 2
            for (size_t k = 0; k < vectors; ++k) sum[r][k] = dot(sum[r][k], weight[k], value);
        }
    };
    const auto advance = [&](size_t count, size_t bytes) __attribute__((always_inline)) {
        u += count * panel_lanes;
        for (size_t r = 0; r < groups; ++r) left[r] += bytes;
    };
    for (size_t run = t.runs; run--;) {
        size_t count = t.run_lanes;
        for (; count >= lanes; count -= lanes) {
#pragma GCC unroll 14
            for (size_t r = 0; r < rows; ++r)  // the rows after these
                __builtin_prefetch(left[r / 3] + (r % 3 + rows) * pitch);
            for (size_t some = 0; some < lanes; some += 4) {
                for (size_t i = 0; i < t.soon_rate; ++i, soon += 64) __builtin_prefetch(soon, 0, 2);
                multiply(0), multiply(1), multiply(2), multiply(3);
                advance(4, 16);
            }
            advance(0, step - lanes * 4);
        }
        if (!count) continue;
        size_t lane = 0;
        for (; lane + 4 <= count; lane += 4) {
            multiply(0), multiply(1), multiply(2), multiply(3);
            advance(4, 16);
        }
        for (; lane < count; ++lane) multiply(0), advance(1, 4);
        advance(0, step - count * 4);
    }
}
}  // namespace
