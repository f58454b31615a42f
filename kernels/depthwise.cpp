// Depthwise convolution on the CPU: see depthwise.h. A thread has lines of pixels and goes through them in blocks of
// channels, whose filters it turns first. The sums of sixteen neighbouring channels stay in registers.
#include "kernels/depthwise.h"

#include "kernels/index.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {

constexpr size_t kBlock = 64, kGroup = 16, kTaps = 9;  // channels whose filters are turned; whose sums are registers

template <class T>
struct Line {
    const DepthwiseConv<T>& op;
    size_t image, p, first, count;  // channels [first, first + count)
    const float* filters;           // (9, kBlock)

    template <class Finish>
    void run(const Finish& finish) const {
        for (size_t q = 0; q < op.w; ++q) {
            size_t c = 0;
            for (; c + kGroup <= count; c += kGroup) channels<kGroup>(q, c, finish);
            for (; c < count; ++c) channels<1>(q, c, finish);
        }
    }

private:
    template <size_t n, class Finish>
    void channels(size_t q, size_t c, const Finish& finish) const {
        float sum[n];
        for (size_t i = 0; i < n; ++i) sum[i] = op.bias[first + c + i];
        const auto add = [&](size_t top, size_t bottom, size_t left, size_t right) {
            for (size_t r = top; r < bottom; ++r)
                for (size_t s = left; s < right; ++s) {
                    const T* const x = op.x + ((image * op.h + p + r - 1) * op.w + q + s - 1) * op.c + first + c;
                    const float* const filter = filters + (r * 3 + s) * kBlock + c;
                    for (size_t i = 0; i < n; ++i) sum[i] += float(x[i]) * filter[i];
                }
        };
        if (p > 0 && p + 1 < op.h && q > 0 && q + 1 < op.w)
            add(0, 3, 0, 3);  // unrolled
        else
            add(p == 0, p + 1 < op.h ? 3 : 2, q == 0, q + 1 < op.w ? 3 : 2);
        const size_t out = ((image * op.h + p) * op.w + q) * op.c + first + c;
        for (size_t i = 0; i < n; ++i) sum[i] = finish(sum[i]);
        if (op.residual)
            for (size_t i = 0; i < n; ++i) sum[i] += float(op.residual[out + i]);
        for (size_t i = 0; i < n; ++i) op.y[out + i] = T(sum[i]);
    }
};

}  // namespace

template <class T>
void compute(const Cpu& cpu, const DepthwiseConv<T>& op) {
    const size_t blocks = ceil_div(op.c, kBlock);
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t block = 0; block < blocks; ++block) {
            const size_t first = block * kBlock, count = std::min(kBlock, op.c - first);
            alignas(64) float filters[kTaps * kBlock];
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
