// Depthwise convolution on the CPU: see depthwise.h. A thread has lines of pixels and goes through them in blocks of
// channels, whose filters it turns first, so that the innermost loop runs over neighbouring channels.
#include "kernels/depthwise.h"

#include "kernels/index.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {

constexpr size_t kBlock = 64;  // channels whose filters and sums stay in L1 and registers
constexpr size_t kTaps = 9;

template <class T>
struct Line {
    const DepthwiseConv<T>& op;
    size_t image, p, first, count;  // channels [first, first + count)
    const float* filters;           // (9, kBlock)

    template <class Finish>
    void run(const Finish& finish) const {
        for (size_t q = 0; q < op.w; ++q) {
            const size_t out = ((image * op.h + p) * op.w + q) * op.c + first;
            float sum[kBlock];
            std::copy_n(op.bias + first, count, sum);
            for (size_t r = 0; r < 3; ++r) {
                if (!inside(ptrdiff_t(p + r) - 1, op.h)) continue;
                for (size_t s = 0; s < 3; ++s) {
                    if (!inside(ptrdiff_t(q + s) - 1, op.w)) continue;
                    const T* const x = op.x + ((image * op.h + p + r - 1) * op.w + q + s - 1) * op.c + first;
                    const float* const filter = filters + (r * 3 + s) * kBlock;
                    for (size_t c = 0; c < count; ++c) sum[c] += float(x[c]) * filter[c];
                }
            }
            for (size_t c = 0; c < count; ++c) sum[c] = finish(sum[c]);
            if (op.residual)
                for (size_t c = 0; c < count; ++c) sum[c] += float(op.residual[out + c]);
            for (size_t c = 0; c < count; ++c) op.y[out + c] = T(sum[c]);
        }
    }
};

}  // namespace

template <class T>
void compute(const Cpu& cpu, const DepthwiseConv<T>& op) {
    const size_t blocks = ceil_div(op.c, kBlock);
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t block = 0; block < blocks; ++block) {
            const size_t first = block * kBlock, count = std::min(kBlock, op.c - first);
            float filters[kTaps * kBlock];
            for (size_t c = 0; c < count; ++c)
                for (size_t tap = 0; tap < kTaps; ++tap)
                    filters[tap * kBlock + c] = float(op.weight[(first + c) * kTaps + tap]);
            for (size_t line = begin; line < end; ++line) {
                const Line<T> part{op, line / op.h, line % op.h, first, count, filters};
                switch (op.activation) {
                    case Activation::relu: part.run([](float v) { return select(v < 0, 0.0f, v); }); break;
                    case Activation::silu: part.run([](float v) { return silu(v); }); break;
                    default: part.run([](float v) { return v; });
                }
            }
        }
    });
}

template void compute(const Cpu&, const DepthwiseConv<float>&);
template void compute(const Cpu&, const DepthwiseConv<bf16>&);
