// Moving data without arithmetic: slices of channels, nearest upsampling by two.
//
// Floor in bytes, e elements of size s on the small side: CopyChannels 2es, Upsample2 and its gradient 5es.
// The only work is addresses: one 32-bit division per 16 bytes.
#include "kernels/layout.h"

#include "kernels/columns.cuh"

namespace {

constexpr int kRows = 4;  // of one thread, loaded before the first is stored

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads) copy_channels(CopyChannels<T> p) {
    const Columns<kWidth> at(p.rows, p.channels);
    Vector<T, kWidth> part[kRows];
    for_rows<kRows>(
        at, [&](int u, size_t row) { part[u] = load<kWidth>(p.x + row * p.x_pitch + p.x_offset + at.channel); },
        [&](int u, size_t row) { store(p.y + row * p.y_pitch + p.y_offset + at.channel, part[u]); });
}

// The first of the four large pixels of a small pixel; the others lie 1, 2w and 2w + 1 further. Images need no thought:
// two large lines follow from every small line.
__device__ __forceinline__ size_t large_pixel(size_t pixel, size_t w) {
    const unsigned line = unsigned(pixel) / unsigned(w), column = unsigned(pixel) - line * unsigned(w);
    return size_t(line) * 4 * w + 2 * column;
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads) upsample2(Upsample2<T> p) {
    const Columns<kWidth> at(p.n * p.h * p.w, p.c);
    Vector<T, kWidth> part[kRows];
    for_rows<kRows>(
        at, [&](int u, size_t row) { part[u] = load<kWidth>(p.x + row * p.c + at.channel); },
        [&](int u, size_t row) {
            T* const y = p.y + large_pixel(row, p.w) * p.c + at.channel;
            store(y, part[u]);
            store(y + p.c, part[u]);
            store(y + 2 * p.w * p.c, part[u]);
            store(y + (2 * p.w + 1) * p.c, part[u]);
        });
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads) upsample2_backward(Upsample2Backward<T> p) {
    const Columns<kWidth> at(p.n * p.h * p.w, p.c);
    Vector<T, kWidth> a[1], b[1], c[1], d[1];
    for_rows<1>(
        at,
        [&](int u, size_t row) {
            const T* const dy = p.dy + large_pixel(row, p.w) * p.c + at.channel;
            a[u] = load<kWidth>(dy);
            b[u] = load<kWidth>(dy + p.c);
            c[u] = load<kWidth>(dy + 2 * p.w * p.c);
            d[u] = load<kWidth>(dy + (2 * p.w + 1) * p.c);
        },
        [&](int u, size_t row) {
            float dx[kWidth];
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) dx[k] = (a[u][k] + b[u][k]) + (c[u][k] + d[u][k]);
            store(p.dx + row * p.c + at.channel, rounded<T>(dx));
        });
}

template <class Op>
void launch_columns(const Gpu& gpu, void (*kernel)(Op), const Op& p, size_t rows, size_t channels, int width) {
    const ColumnGrid columns(rows, channels, width, kMapBlocks);
    simt::launch(kernel, columns.grid, columns.block, 0, stream_of(gpu), p);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const CopyChannels<T>& p) {
    constexpr int kWidth = kVector<T>;
    const size_t steps = p.channels | p.x_pitch | p.x_offset | p.y_pitch | p.y_offset;
    const bool vectors = steps % kWidth == 0 && aligned(p.x, p.y);
    launch_columns(gpu, vectors ? copy_channels<kWidth, T> : copy_channels<1, T>, p, p.rows, p.channels,
                   vectors ? kWidth : 1);
}

template <class T>
void compute(const Gpu& gpu, const Upsample2<T>& p) {
    constexpr int kWidth = kVector<T>;
    const bool vectors = p.c % kWidth == 0 && aligned(p.x, p.y);
    launch_columns(gpu, vectors ? upsample2<kWidth, T> : upsample2<1, T>, p, p.n * p.h * p.w, p.c,
                   vectors ? kWidth : 1);
}

template <class T>
void compute(const Gpu& gpu, const Upsample2Backward<T>& p) {
    constexpr int kWidth = kVector<T>;
    const bool vectors = p.c % kWidth == 0 && aligned(p.dy, p.dx);
    launch_columns(gpu, vectors ? upsample2_backward<kWidth, T> : upsample2_backward<1, T>, p, p.n * p.h * p.w, p.c,
                   vectors ? kWidth : 1);
}

template void compute(const Gpu&, const CopyChannels<float>&);
template void compute(const Gpu&, const CopyChannels<bf16>&);
template void compute(const Gpu&, const CopyChannels<fp16>&);
template void compute(const Gpu&, const Upsample2<float>&);
template void compute(const Gpu&, const Upsample2<bf16>&);
template void compute(const Gpu&, const Upsample2<fp16>&);
template void compute(const Gpu&, const Upsample2Backward<float>&);
template void compute(const Gpu&, const Upsample2Backward<bf16>&);
template void compute(const Gpu&, const Upsample2Backward<fp16>&);
