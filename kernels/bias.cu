// The gradient of a bias: sums over rows.
//
// Floor: rows * channels * s bytes read once, one addition per element. Two kernels: blocks sum their rows (16-byte
// loads, four rows in flight per thread) and leave at most 528 partial rows, 1 MB; the second adds those in order.
#include "kernels/bias.h"

#include "kernels/columns.cuh"

namespace {

constexpr int kRows = 4;  // of one thread, loaded before the first is used

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads, 4) bias_sums(BiasBackward<T> p, float* partial) {
    const Columns<kWidth> at(p.rows, p.channels);
    float sum[kWidth] = {};
    Vector<T, kWidth> dy[kRows];
    for_rows<kRows>(
        at, [&](int u, size_t row) { dy[u] = load<kWidth>(p.dy + row * p.channels + at.channel); },
        [&](int u, size_t) {
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) sum[k] += dy[u][k];
        });
    sum_over_rows<kColumnThreads>(sum, [&](unsigned k, unsigned lane, float of_channel) {
        const size_t channel = channel_of<kWidth>(k, lane);
        if (channel < p.channels) partial[blockIdx.y * p.channels + channel] = of_channel;
    });
}

__global__ void __launch_bounds__(kMergeThreads)
    bias_merge(const float* partial, unsigned row_blocks, size_t channels, float* dbias) {
    float sum[1];
    merge_partial(partial, row_blocks, channels, sum);
    const Columns<1> at(row_blocks, channels);
    if (threadIdx.y == 0 && at.inside) dbias[at.channel] = sum[0];
}

template <int kWidth, class T>
void backward(const Gpu& gpu, const BiasBackward<T>& p) {
    const ColumnGrid columns(p.rows, p.channels, kWidth, kSumBlocks);
    float* const partial = gpu.scratch.take<float>(columns.row_blocks() * p.channels);
    simt::launch(bias_sums<kWidth, T>, columns.grid, columns.block, 0, stream_of(gpu), p, partial);
    simt::launch(bias_merge, merge_grid(p.channels), merge_block(), 0, stream_of(gpu), partial, columns.row_blocks(),
                 p.channels, p.dbias);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const BiasBackward<T>& p) {
    p.channels % kVector<T> == 0 && aligned(p.dy) ? backward<kVector<T>>(gpu, p) : backward<1>(gpu, p);
}

template void compute(const Gpu&, const BiasBackward<float>&);
template void compute(const Gpu&, const BiasBackward<bf16>&);
template void compute(const Gpu&, const BiasBackward<fp16>&);
