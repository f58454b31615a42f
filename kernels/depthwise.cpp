// Depthwise convolution on the CPU: see depthwise.h. A thread has lines of pixels and goes through them in blocks of
// channels, whose filters it turns first, so that the innermost loop runs over neighbouring channels.
#include "kernels/depthwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/index.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {

constexpr size_t kBlock = 64, kTaps = 9;  // channels whose filters stay in L1 and whose sums stay in registers

using Eight [[gnu::vector_size(32)]] = float;

struct Line {
    const DepthwiseConv<float>& op;
    size_t image, p, first, count;  // channels [first, first + count)
    const float* filters;           // (9, kBlock)

    template <class Finish>
    void run(const Finish& finish) const {
        for (size_t q = 0; q < op.w; ++q) {
            const size_t out = ((image * op.h + p) * op.w + q) * op.c + first;
            float sum[kBlock];
            count == kBlock ? whole_block(q, sum) : part_of_block(q, sum);
            float* const y = op.y + out;
            for (size_t c = 0; c < count; ++c) y[c] = finish(sum[c]);
            if (op.residual)
                for (size_t c = 0; c < count; ++c) y[c] += op.residual[out + c];
        }
    }

private:
    // tap(the channels of x, the filter) for each tap inside the image.
    template <class Tap>
    void each_tap(size_t q, const Tap& tap) const {
        for (size_t r = 0; r < 3; ++r) {
            if (!inside(ptrdiff_t(p + r) - 1, op.h)) continue;
            for (size_t s = 0; s < 3; ++s)
                if (inside(ptrdiff_t(q + s) - 1, op.w))
                    tap(op.x + ((image * op.h + p + r - 1) * op.w + q + s - 1) * op.c + first,
                        filters + (r * 3 + s) * kBlock);
        }
    }
    void whole_block(size_t q, float* to) const {
        constexpr size_t kVectors = kBlock / 8;
        Eight sum[kVectors];
        std::memcpy(sum, op.bias + first, sizeof sum);
        each_tap(q, [&](const float* x, const float* filter) {
            for (size_t k = 0; k < kVectors; ++k) {
                Eight a, b;
                std::memcpy(&a, x + 8 * k, sizeof a);
                std::memcpy(&b, filter + 8 * k, sizeof b);
                sum[k] += a * b;
            }
        });
        std::memcpy(to, sum, sizeof sum);
    }
    void part_of_block(size_t q, float* sum) const {
        std::copy_n(op.bias + first, count, sum);
        each_tap(q, [&](const float* x, const float* filter) {
            for (size_t c = 0; c < count; ++c) sum[c] += x[c] * filter[c];
        });
    }
};

}  // namespace

void compute(const Cpu& cpu, const DepthwiseConv<float>& op) {
    const size_t blocks = ceil_div(op.c, kBlock);
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t block = 0; block < blocks; ++block) {
            const size_t first = block * kBlock, count = std::min(kBlock, op.c - first);
            float filters[kTaps * kBlock];
            for (size_t c = 0; c < count; ++c)
                for (size_t tap = 0; tap < kTaps; ++tap)
                    filters[tap * kBlock + c] = op.weight[(first + c) * kTaps + tap];
            for (size_t line = begin; line < end; ++line) {
                const Line part{op, line / op.h, line % op.h, first, count, filters};
                switch (op.activation) {
                    case Activation::relu: part.run([](float v) { return select(v < 0, 0.0f, v); }); break;
                    case Activation::silu: part.run([](float v) { return silu(v); }); break;
                    default: part.run([](float v) { return v; });
                }
            }
        }
    });
}
