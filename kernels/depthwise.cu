// Depthwise convolution on the GPU.
//
// Floor in bytes, e elements of size s: 2es, and es for a residual. A thread has kWidth channels of a patch of pixels
// and keeps their nine filters in registers; a block's patch is 8 pixels wide and 4 or more high, so that most of the
// nine reads of a pixel come from L1. 18 operations per element.
#include "kernels/depthwise.h"

#include <algorithm>

#include "kernels/activation.cuh"
#include "kernels/vector.cuh"

namespace {

constexpr unsigned kThreads = 256, kAcross = 8;

template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads) depthwise_conv(DepthwiseConv<T> p, unsigned tiles) {
    const size_t channel = size_t(blockIdx.x % tiles * blockDim.x + threadIdx.x) * kWidth;
    const int column = int(blockIdx.x / tiles * blockDim.y + threadIdx.y), h = int(p.h), w = int(p.w);
    const int line = int(blockIdx.y * blockDim.z + threadIdx.z);
    if (channel >= p.c || line >= h || column >= w) return;
    float bias[kWidth], filter[9 * kWidth];
    load_floats(p.bias + channel, bias);
    if constexpr (kWidth > 1) {  // (kWidth, 9): whole accesses of 16 bytes
        load_floats(p.weight + channel * 9, filter);
    } else {
        SIMT_UNROLL
        for (int k = 0; k < 9; ++k) filter[k] = float(p.weight[channel * 9 + size_t(k)]);
    }
    for (size_t image = blockIdx.z; image < p.n; image += gridDim.z) {
        const size_t pixel = (image * p.h + size_t(line)) * p.w + size_t(column);
        float sum[kWidth];
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) sum[k] = bias[k];
        SIMT_UNROLL
        for (int r = 0; r < 3; ++r) {
            SIMT_UNROLL
            for (int s = 0; s < 3; ++s) {
                if (!inside(line + r - 1, h) || !inside(column + s - 1, w)) continue;
                const auto x = load<kWidth>(p.x + (pixel + size_t((r - 1) * w + s - 1)) * p.c + channel);
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k) sum[k] += x[k] * filter[k * 9 + r * 3 + s];
            }
        }
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) sum[k] = activated(p.activation, sum[k]);
        if (p.residual) {
            const auto residual = load<kWidth>(p.residual + pixel * p.c + channel);
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) sum[k] += residual[k];
        }
        store(p.y + pixel * p.c + channel, rounded<T>(sum));
    }
}

template <int kWidth, class T>
void launch(const Gpu& gpu, const DepthwiseConv<T>& p) {
    const unsigned vectors = unsigned(ceil_div(p.c, size_t(kWidth))), tiles = unsigned(ceil_div(vectors, 32u));
    const unsigned lanes = unsigned(ceil_div(vectors, tiles)), across = std::min(kAcross, kThreads / lanes);
    const dim3 block(lanes, across, std::min(kThreads / (lanes * across), 64u));
    const dim3 grid(tiles * unsigned(ceil_div(p.w, block.y)), unsigned(ceil_div(p.h, block.z)),
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
