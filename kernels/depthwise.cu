// Depthwise convolution on the GPU.
//
// Floor in bytes, e elements of size s: 2es, and es for a residual. A thread has kWidth channels of kLines pixels below
// each other: it reads their nine filters once, and a pixel's 4.5 times instead of 9. A block's patch is 8 pixels wide,
// so that most of what is read again comes from L1. 18 operations per element.
#include "kernels/depthwise.h"

#include <algorithm>

#include "kernels/activation.cuh"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256, kAcross = 8, kLines = 4;

template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads, 2) depthwise_conv(DepthwiseConv<T> p, unsigned tiles) {
    const size_t channel = size_t(blockIdx.x % tiles * blockDim.x + threadIdx.x) * kWidth;
    const int column = int(blockIdx.x / tiles * blockDim.y + threadIdx.y), h = int(p.h), w = int(p.w);
    const int line = int((blockIdx.y * blockDim.z + threadIdx.z) * kLines);
    if (channel >= p.c || line >= h || column >= w) return;
    Vector<T, kWidth> filters[9];  // (kWidth, 9) as they lie in memory; in registers half as large as floats
    SIMT_UNROLL
    for (int k = 0; k < 9; ++k) filters[k] = load<kWidth>(p.weight + channel * 9 + size_t(k * kWidth));
    const auto filter = [&](int k, int tap) { return filters[(k * 9 + tap) / kWidth][(k * 9 + tap) % kWidth]; };
    for (size_t image = blockIdx.z; image < p.n; image += gridDim.z) {
        const size_t pixel = (image * p.h + size_t(line)) * p.w + size_t(column);
        float sums[kLines][kWidth];
        SIMT_UNROLL
        for (auto& sum : sums) load_floats(p.bias + channel, sum);  // once: nvcc sees that they are equal
        SIMT_UNROLL
        for (int i = 0; i < int(kLines) + 2; ++i) {  // lines of x, from the one above
            SIMT_UNROLL
            for (int s = 0; s < 3; ++s) {
                if (!inside(line + i - 1, h) || !inside(column + s - 1, w)) continue;
                const auto x = load<kWidth>(p.x + (pixel + size_t((i - 1) * w + s - 1)) * p.c + channel);
                SIMT_UNROLL
                for (int r = 0; r < 3; ++r) {
                    if (!inside(i - r, int(kLines))) continue;
                    SIMT_UNROLL
                    for (int k = 0; k < kWidth; ++k) sums[i - r][k] += x[k] * filter(k, r * 3 + s);
                }
            }
        }
        SIMT_UNROLL
        for (int i = 0; i < int(kLines); ++i) {
            if (line + i >= h) break;
            float(&sum)[kWidth] = sums[i];
            const size_t at = (pixel + size_t(i * w)) * p.c + channel;
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) sum[k] = activated(p.activation, sum[k]);
            if (p.residual) {
                const auto residual = load<kWidth>(p.residual + at);
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k) sum[k] += residual[k];
            }
            store(p.y + at, rounded<T>(sum));
        }
    }
}

template <int kWidth, class T>
void launch(const Gpu& gpu, const DepthwiseConv<T>& p) {
    const unsigned vectors = unsigned(ceil_div(p.c, size_t(kWidth))), tiles = unsigned(ceil_div(vectors, 32u));
    const unsigned lanes = unsigned(ceil_div(vectors, tiles)), across = std::min(kAcross, kThreads / lanes);
    const dim3 block(lanes, across, std::min(kThreads / (lanes * across), 64u));
    const dim3 grid(tiles * unsigned(ceil_div(p.w, block.y)), unsigned(ceil_div(p.h, block.z * kLines)),
                    unsigned(std::min<size_t>(p.n, 65535)));
    simt::launch(depthwise_conv<kWidth, T>, grid, block, 0, stream_of(gpu), p, tiles);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const DepthwiseConv<T>& p) {
    const bool vectors = p.c % kVector<T> == 0 && aligned(p.x, p.weight, p.bias, p.residual, p.y);
    vectors ? launch<kVector<T>>(gpu, p) : launch<1>(gpu, p);
}
template void compute(const Gpu&, const DepthwiseConv<float>&);
template void compute(const Gpu&, const DepthwiseConv<bf16>&);
template void compute(const Gpu&, const DepthwiseConv<fp16>&);
