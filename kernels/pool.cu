// Max pooling and global average pooling.
//
// Floor in bytes, s per element: MaxPoolForward s * (inputs + outputs) + outputs for argmax, MaxPoolBackward the same
// and s * outputs with dy2, GlobalAveragePool s * (inputs + outputs). A pixel lies in 2.25 windows of 3x3/2: a block
// takes a patch of 8 outputs by 4 or more, so that most of the repeated reads come from L1. Operations: 4 per element
// and tap (take out, compare, two selections), 36 for 3x3, half of what there is time for.
#include "kernels/pool.h"

#include "kernels/columns.cuh"

namespace {

constexpr unsigned kPoolThreads = 256;

// Threads: x over vectors of channels, y and z over a patch of pixels. Grid: x over patches of a line, for each tile of
// channels; y over the lines of patches; z over images.
struct PatchGrid {
    dim3 grid, block;
    unsigned tiles;

    PatchGrid(size_t n, size_t h, size_t w, size_t channels, int width) {
        const unsigned vectors = unsigned(ceil_div(channels, size_t(width)));
        tiles = unsigned(ceil_div(vectors, 32));
        const unsigned lanes = unsigned(ceil_div(vectors, tiles)), across = std::min(8u, kPoolThreads / lanes);
        block = dim3(lanes, across, std::min(kPoolThreads / (lanes * across), 64u));
        grid = dim3(tiles * unsigned(ceil_div(w, block.y)), ceil_div(h, block.z), unsigned(std::min<size_t>(n, 65535)));
    }
};

// Quotients that the host computes, so that the kernels need not divide.
struct Divided {
    unsigned tiles, out_h, out_w;
};

// Where the calling thread stands: pixel (line, column) of every image of its block, channels from `channel`.
template <int kWidth>
struct Patch {
    unsigned line, column;
    size_t channel;

    __device__ __forceinline__ explicit Patch(unsigned tiles)
        : line(blockIdx.y * blockDim.z + threadIdx.z),
          column(blockIdx.x / tiles * blockDim.y + threadIdx.y),
          channel(size_t(blockIdx.x % tiles * blockDim.x + threadIdx.x) * kWidth) {}
};

template <int kWidth>
__device__ __forceinline__ Vector<uint8_t, kWidth> bytes(const int (&values)[kWidth]) {
    Vector<uint8_t, kWidth> packed;
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) packed.words[k / 4] |= uint32_t(values[k]) << (k % 4 * 8);
    return packed;
}

// kKernel and kStride are those of the shape, or 0 for any.
template <int kWidth, int kKernel, int kStride, class T>
__global__ void __launch_bounds__(kPoolThreads) max_pool_forward(MaxPoolForward<T> p, Divided divided) {
    const MaxPoolShape& s = p.shape;
    const unsigned out_h = divided.out_h, out_w = divided.out_w, h = unsigned(s.h), w = unsigned(s.w);
    const unsigned kernel = kKernel ? kKernel : unsigned(s.kernel), stride = kStride ? kStride : unsigned(s.stride);
    const Patch<kWidth> at(divided.tiles);
    if (at.channel >= s.c || at.line >= out_h || at.column >= out_w) return;
    const int top = int(at.line * stride) - int(s.padding), left = int(at.column * stride) - int(s.padding);
    const int first_r = max(0, -top), first_s = max(0, -left);  // taps above and left of the image count for nothing
    for (size_t image = blockIdx.z; image < s.n; image += gridDim.z) {
        const T* const x = p.x + image * h * w * s.c + at.channel;
        float best[kWidth];
        int where[kWidth];
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) {
            best[k] = -INFINITY;
            where[k] = first_r * int(kernel) + first_s;
        }
#pragma unroll(kKernel ? kKernel : 1)
        for (unsigned r = 0; r < kernel; ++r) {
#pragma unroll(kKernel ? kKernel : 1)
            for (unsigned c = 0; c < kernel; ++c) {
                const int i = top + int(r), j = left + int(c);
                if (!inside(i, int(h)) || !inside(j, int(w))) continue;
                const auto tap = load<kWidth>(x + (size_t(i) * w + size_t(j)) * s.c);
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k) {
                    const float value = tap[k];
                    // Not below the best: above it, or one of the two is NaN, of which the first wins.
                    const bool better = value > best[k] || (value != value && best[k] == best[k]);
                    best[k] = better ? value : best[k];
                    where[k] = better ? int(r * kernel + c) : where[k];
                }
            }
        }
        const size_t out = ((image * out_h + at.line) * out_w + at.column) * s.c + at.channel;
        store(p.y + out, rounded<T>(best));
        if (p.argmax) store(p.argmax + out, bytes(where));
    }
}

// Every input pixel asks the windows that see it: each sum has one writer and a fixed order.
template <int kWidth, int kKernel, int kStride, class T>
__global__ void __launch_bounds__(kPoolThreads) max_pool_backward(MaxPoolBackward<T> p, Divided divided) {
    const MaxPoolShape& s = p.shape;
    const unsigned out_h = divided.out_h, out_w = divided.out_w, h = unsigned(s.h), w = unsigned(s.w);
    const unsigned kernel = kKernel ? kKernel : unsigned(s.kernel), stride = kStride ? kStride : unsigned(s.stride);
    constexpr unsigned kWindows =
        kKernel ? (kKernel + kStride - 1) / (kStride ? kStride : 1) : 0;  // of a line that see a pixel
    const Patch<kWidth> at(divided.tiles);
    if (at.channel >= s.c || at.line >= h || at.column >= w) return;
    const unsigned i = at.line + unsigned(s.padding), j = at.column + unsigned(s.padding);  // seen from the padding
    const unsigned first_p = i < kernel ? 0 : (i - kernel) / stride + 1, last_p = min(out_h, i / stride + 1);
    const unsigned first_q = j < kernel ? 0 : (j - kernel) / stride + 1, last_q = min(out_w, j / stride + 1);
    for (size_t image = blockIdx.z; image < s.n; image += gridDim.z) {
        float dx[kWidth] = {};
#pragma unroll(kWindows ? kWindows : 1)
        for (unsigned a = 0; kWindows ? a < kWindows : first_p + a < last_p; ++a) {
#pragma unroll(kWindows ? kWindows : 1)
            for (unsigned b = 0; kWindows ? b < kWindows : first_q + b < last_q; ++b) {
                const unsigned line = first_p + a, column = first_q + b;
                if (line >= last_p || column >= last_q) continue;
                const size_t out = ((image * out_h + line) * out_w + column) * s.c + at.channel;
                const auto dy = load<kWidth>(p.dy + out);
                Vector<T, kWidth> dy2;
                if (p.dy2) dy2 = load<kWidth>(p.dy2 + out);
                const auto argmax = load<kWidth>(p.argmax + out);
                const unsigned tap = (i - line * stride) * kernel + (j - column * stride);
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k)
                    dx[k] += argmax.element(k) != tap ? 0.0f : p.dy2 ? dy[k] + dy2[k] : dy[k];
            }
        }
        store(p.dx + ((image * h + at.line) * w + at.column) * s.c + at.channel, rounded<T>(dx));
    }
}

// A thread has channels of an image and goes through its pixels: neighbouring lanes read neighbouring channels.
template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads) average_forward(GlobalAveragePoolForward<T> p) {
    const Columns<kWidth> at(p.n, p.c);
    for (size_t image = at.row; image < at.rows; image += at.step) {
        const T* const x = p.x + image * p.pixels * p.c + at.channel;
        float sum[kWidth] = {};
#pragma unroll 7
        for (size_t pixel = 0; pixel < p.pixels; ++pixel) {
            const auto value = load<kWidth>(x + pixel * p.c);
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) sum[k] += value[k];
        }
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) sum[k] /= float(p.pixels);
        store(p.y + image * p.c + at.channel, rounded<T>(sum));
    }
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads) average_backward(GlobalAveragePoolBackward<T> p) {
    const Columns<kWidth> at(p.n, p.c);
    for (size_t image = at.row; image < at.rows; image += at.step) {
        float dx[kWidth];
        load_floats(p.dy + image * p.c + at.channel, dx);
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) dx[k] /= float(p.pixels);
        const auto part = rounded<T>(dx);
        for (size_t pixel = 0; pixel < p.pixels; ++pixel)
            store(p.dx + (image * p.pixels + pixel) * p.c + at.channel, part);
    }
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kPoolThreads) average_pool2(AveragePool2<T> p, unsigned tiles) {
    const Patch<kWidth> at(tiles);
    if (at.channel >= p.c || at.line + 1 >= p.h || at.column + 1 >= p.w) return;
    for (size_t image = blockIdx.z; image < p.n; image += gridDim.z) {
        const T* const x = p.x + ((image * p.h + at.line) * p.w + at.column) * p.c + at.channel;
        const auto a = load<kWidth>(x), b = load<kWidth>(x + p.c);
        const auto c = load<kWidth>(x + p.w * p.c), d = load<kWidth>(x + (p.w + 1) * p.c);
        float y[kWidth];
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) y[k] = ((a[k] + b[k]) + (c[k] + d[k])) * 0.25f;
        store(p.y + ((image * (p.h - 1) + at.line) * (p.w - 1) + at.column) * p.c + at.channel, rounded<T>(y));
    }
}

template <int kWidth, class T>
void launch_pool(const Gpu& gpu, const AveragePool2<T>& p) {
    const PatchGrid patches(p.n, p.h - 1, p.w - 1, p.c, kWidth);
    simt::launch(average_pool2<kWidth, T>, patches.grid, patches.block, 0, stream_of(gpu), p, patches.tiles);
}

template <int kWidth, class T>
void launch_pool(const Gpu& gpu, const MaxPoolForward<T>& p) {
    const MaxPoolShape& s = p.shape;
    const PatchGrid patches(s.n, s.out_h(), s.out_w(), s.c, kWidth);
    const auto kernel =
        s.kernel == 3 && s.stride == 2 ? max_pool_forward<kWidth, 3, 2, T> : max_pool_forward<kWidth, 0, 0, T>;
    simt::launch(kernel, patches.grid, patches.block, 0, stream_of(gpu), p,
                 Divided{patches.tiles, unsigned(s.out_h()), unsigned(s.out_w())});
}

template <int kWidth, class T>
void launch_pool(const Gpu& gpu, const MaxPoolBackward<T>& p) {
    const MaxPoolShape& s = p.shape;
    const PatchGrid patches(s.n, s.h, s.w, s.c, kWidth);
    const auto kernel =
        s.kernel == 3 && s.stride == 2 ? max_pool_backward<kWidth, 3, 2, T> : max_pool_backward<kWidth, 0, 0, T>;
    simt::launch(kernel, patches.grid, patches.block, 0, stream_of(gpu), p,
                 Divided{patches.tiles, unsigned(s.out_h()), unsigned(s.out_w())});
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const MaxPoolForward<T>& p) {
    const bool vectors = p.shape.c % kVector<T> == 0 && aligned(p.x, p.y, p.argmax);
    vectors ? launch_pool<kVector<T>>(gpu, p) : launch_pool<1>(gpu, p);
}

template <class T>
void compute(const Gpu& gpu, const MaxPoolBackward<T>& p) {
    const bool vectors = p.shape.c % kVector<T> == 0 && aligned(p.dy, p.dy2, p.argmax, p.dx);
    vectors ? launch_pool<kVector<T>>(gpu, p) : launch_pool<1>(gpu, p);
}

template <class T>
void compute(const Gpu& gpu, const AveragePool2<T>& p) {
    const bool vectors = p.c % kVector<T> == 0 && aligned(p.x, p.y);
    vectors ? launch_pool<kVector<T>>(gpu, p) : launch_pool<1>(gpu, p);
}

template <class T>
void compute(const Gpu& gpu, const GlobalAveragePoolForward<T>& p) {
    constexpr int kWidth = kVector<T>;
    const bool vectors = p.c % kWidth == 0 && aligned(p.x, p.y);
    const ColumnGrid columns(p.n, p.c, vectors ? kWidth : 1, kMapBlocks);
    simt::launch(vectors ? average_forward<kWidth, T> : average_forward<1, T>, columns.grid, columns.block, 0,
                 stream_of(gpu), p);
}

template <class T>
void compute(const Gpu& gpu, const GlobalAveragePoolBackward<T>& p) {
    constexpr int kWidth = kVector<T>;
    const bool vectors = p.c % kWidth == 0 && aligned(p.dy, p.dx);
    const ColumnGrid columns(p.n, p.c, vectors ? kWidth : 1, kMapBlocks);
    simt::launch(vectors ? average_backward<kWidth, T> : average_backward<1, T>, columns.grid, columns.block, 0,
                 stream_of(gpu), p);
}

template void compute(const Gpu&, const MaxPoolForward<float>&);
template void compute(const Gpu&, const MaxPoolForward<bf16>&);
template void compute(const Gpu&, const MaxPoolForward<fp16>&);
template void compute(const Gpu&, const MaxPoolBackward<float>&);
template void compute(const Gpu&, const MaxPoolBackward<bf16>&);
template void compute(const Gpu&, const MaxPoolBackward<fp16>&);
template void compute(const Gpu&, const GlobalAveragePoolForward<float>&);
template void compute(const Gpu&, const GlobalAveragePoolForward<bf16>&);
template void compute(const Gpu&, const GlobalAveragePoolForward<fp16>&);
template void compute(const Gpu&, const GlobalAveragePoolBackward<float>&);
template void compute(const Gpu&, const GlobalAveragePoolBackward<bf16>&);
template void compute(const Gpu&, const GlobalAveragePoolBackward<fp16>&);
template void compute(const Gpu&, const AveragePool2<float>&);
template void compute(const Gpu&, const AveragePool2<bf16>&);
template void compute(const Gpu&, const AveragePool2<fp16>&);
