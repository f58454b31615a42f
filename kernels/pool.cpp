// Max pooling and global average pooling on the CPU: see pool.h.
#include "kernels/pool.h"

#include <type_traits>

#include "kernels/index.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {
constexpr size_t block = 64;  // channels held in registers and L1 at a time

// The taps of one window that lie inside [0, size): from first to last - 1.
struct Taps {
    size_t first, last;
    Taps(size_t out, size_t size, const MaxPoolShape& s)
        : first(out * s.stride < s.padding ? s.padding - out * s.stride : 0),
          last(std::min(s.kernel, size + s.padding - out * s.stride)) {}
};

template <class T>
using Best = std::conditional_t<std::is_same_v<T, uint8_t>, uint8_t, float>;

template <bool kArgmax, class T>
void forward_pixel(const MaxPoolForward<T>& op, size_t image, size_t p, size_t q) {
    const MaxPoolShape& s = op.shape;
    const Taps rows(p, s.h, s), columns(q, s.w, s);
    const size_t out = ((image * s.out_h() + p) * s.out_w() + q) * s.c;
    for (size_t c0 = 0; c0 < s.c; c0 += block) {
        const size_t count = std::min(block, s.c - c0);
        Best<T> best[block];
        [[maybe_unused]] int32_t where[block];
        for (size_t r = rows.first; r < rows.last; ++r)
            for (size_t t = columns.first; t < columns.last; ++t) {
                const size_t i = p * s.stride + r - s.padding, j = q * s.stride + t - s.padding;
                const T* const x = op.x + ((image * s.h + i) * s.w + j) * s.c + c0;
                const int32_t tap = int32_t(r * s.kernel + t);
                if (r == rows.first && t == columns.first) {
                    for (size_t c = 0; c < count; ++c) best[c] = Best<T>(x[c]);
                    if constexpr (kArgmax) std::fill_n(where, count, tap);
                    continue;
                }
                for (size_t c = 0; c < count; ++c) {
                    const Best<T> v = Best<T>(x[c]);
                    const bool better = (v > best[c]) | ((v != v) & (best[c] == best[c]));
                    best[c] = better ? v : best[c];
                    if constexpr (kArgmax) where[c] = better ? tap : where[c];
                }
            }
        for (size_t c = 0; c < count; ++c) op.y[out + c0 + c] = T(best[c]);
        if constexpr (kArgmax)
            for (size_t c = 0; c < count; ++c) op.argmax[out + c0 + c] = uint8_t(where[c]);
    }
}

// Windows p with p*stride - padding <= i < p*stride - padding + kernel: from first to last - 1.
struct Windows {
    size_t first, last;
    Windows(size_t i, size_t out, const MaxPoolShape& s)
        : first(i + s.padding < s.kernel ? 0 : (i + s.padding - s.kernel) / s.stride + 1),
          last(std::min(out, (i + s.padding) / s.stride + 1)) {}
};

// dy2 gives the second gradient of an element.
template <class T, class SecondDy>
void backward_pixel(const MaxPoolBackward<T>& op, size_t image, size_t i, size_t j, const SecondDy& dy2) {
    const MaxPoolShape& s = op.shape;
    const Windows rows(i, s.out_h(), s), columns(j, s.out_w(), s);
    T* const dx = op.dx + ((image * s.h + i) * s.w + j) * s.c;
    for (size_t c0 = 0; c0 < s.c; c0 += block) {
        const size_t count = std::min(block, s.c - c0);
        float sum[block] = {};
        for (size_t p = rows.first; p < rows.last; ++p)
            for (size_t q = columns.first; q < columns.last; ++q) {
                const size_t window = ((image * s.out_h() + p) * s.out_w() + q) * s.c + c0;
                const T* const dy = op.dy + window;
                const uint8_t* const argmax = op.argmax + window;
                const uint8_t tap = uint8_t((i + s.padding - p * s.stride) * s.kernel + (j + s.padding - q * s.stride));
                for (size_t c = 0; c < count; ++c) sum[c] += keep_if(argmax[c] == tap, float(dy[c]) + dy2(window + c));
            }
        for (size_t c = 0; c < count; ++c) dx[c0 + c] = T(sum[c]);
    }
}
}  // namespace

template <class T>
void compute(const Cpu& cpu, const MaxPoolForward<T>& op) {
    const size_t out_h = op.shape.out_h(), out_w = op.shape.out_w();
    parallel_for(cpu, op.shape.n * out_h, 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row)
            for (size_t q = 0; q < out_w; ++q)
                op.argmax ? forward_pixel<true>(op, row / out_h, row % out_h, q)
                          : forward_pixel<false>(op, row / out_h, row % out_h, q);
    });
}

template <class T>
void compute(const Cpu& cpu, const MaxPoolBackward<T>& op) {
    const size_t h = op.shape.h, w = op.shape.w;
    const auto run = [&](const auto& dy2) {
        parallel_for(cpu, op.shape.n * h, 1, [&](size_t begin, size_t end) {
            for (size_t row = begin; row < end; ++row)
                for (size_t j = 0; j < w; ++j) backward_pixel(op, row / h, row % h, j, dy2);
        });
    };
    if (op.dy2)
        run([dy2 = op.dy2](size_t i) { return float(dy2[i]); });
    else
        run([](size_t) { return 0.0f; });
}

template <class T>
void compute(const Cpu& cpu, const GlobalAveragePoolForward<T>& op) {
    const size_t blocks = ceil_div(op.c, block);
    parallel_for(cpu, op.n * blocks, 1, [&](size_t begin, size_t end) {
        for (size_t piece = begin; piece < end; ++piece) {
            const size_t image = piece / blocks, c0 = piece % blocks * block, count = std::min(block, op.c - c0);
            double sum[block] = {};
            for (size_t pixel = 0; pixel < op.pixels; ++pixel) {
                const T* const x = op.x + (image * op.pixels + pixel) * op.c + c0;
                for (size_t c = 0; c < count; ++c) sum[c] += double(float(x[c]));
            }
            for (size_t c = 0; c < count; ++c) op.y[image * op.c + c0 + c] = T(float(sum[c] / double(op.pixels)));
        }
    });
}

template <class T>
void compute(const Cpu& cpu, const GlobalAveragePoolBackward<T>& op) {
    const float pixels = float(op.pixels);
    parallel_for(cpu, op.n * op.pixels, 16, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const T* __restrict dy = op.dy + row / op.pixels * op.c;
            T* __restrict dx = op.dx + row * op.c;
            for (size_t c = 0; c < op.c; ++c) dx[c] = T(float(dy[c]) / pixels);
        }
    });
}

template <class T>
void compute(const Cpu& cpu, const AveragePool2<T>& op) {
    const size_t out_h = op.h - 1, out_w = op.w - 1;
    parallel_for(cpu, op.n * out_h, 1, [&](size_t begin, size_t end) {
        for (size_t line = begin; line < end; ++line) {
            const T* __restrict x = op.x + (line / out_h * op.h + line % out_h) * op.w * op.c;
            const T* __restrict below = x + op.w * op.c;
            T* __restrict y = op.y + line * out_w * op.c;
            for (size_t i = 0; i < out_w * op.c; ++i)
                y[i] = T(((float(x[i]) + float(x[i + op.c])) + (float(below[i]) + float(below[i + op.c]))) * 0.25f);
        }
    });
}

template void compute(const Cpu&, const MaxPoolForward<float>&);
template void compute(const Cpu&, const MaxPoolForward<bf16>&);
template void compute(const Cpu&, const MaxPoolForward<uint8_t>&);
template void compute(const Cpu&, const MaxPoolBackward<float>&);
template void compute(const Cpu&, const MaxPoolBackward<bf16>&);
template void compute(const Cpu&, const GlobalAveragePoolForward<float>&);
template void compute(const Cpu&, const GlobalAveragePoolForward<bf16>&);
template void compute(const Cpu&, const GlobalAveragePoolBackward<float>&);
template void compute(const Cpu&, const GlobalAveragePoolBackward<bf16>&);
template void compute(const Cpu&, const AveragePool2<float>&);
template void compute(const Cpu&, const AveragePool2<bf16>&);
