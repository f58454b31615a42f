// Batch normalization with what follows it: three kernels per direction.
//
// Floor in bytes, e = rows * channels, s = bytes per element: forward 3es (+ es with a residual), backward 5es (+ 2es
// for relu's y, + 2es with dy2, + es with dresidual). Ten operations per element, a tenth of what there is time for.
//   1. sums      every block sums its rows per channel: 16-byte loads, four rows in flight per thread
//   2. merge     adds the at most 528 partial sums of a channel in order: the bits do not depend on timing
//   3. elements  from the last row to the first: the rows read last in 1 are still in the L2 cache
#include "kernels/batch_norm.h"

#include <stdexcept>

#include "kernels/activation.cuh"
#include "kernels/columns.cuh"

namespace {

constexpr int kRows = 4;  // of one thread, loaded before the first is used

// partial (row_blocks, 2, channels): mean of the block's rows, and the sum of squared distances from it.
// A thread measures from its first row, so |mean| >> std costs nothing; should that row be an outlier, the squares
// lose no more than a factor of (rows per thread) of float's precision. The block then measures from its exact mean.
template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads, 4) forward_sums(BatchNormForward<T> p, float* partial) {
    SIMT_SHARED(float, first_row, [32 * kWidth]);
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    float pivot[kWidth] = {}, sum[kWidth] = {}, squares[kWidth] = {}, n = 0;
    if (at.row < at.rows) load_floats(p.x + at.row * C + at.channel, pivot);
    Vector<T, kWidth> x[kRows];
    for_rows<kRows>(
        at, [&](int u, size_t row) { x[u] = load<kWidth>(p.x + row * C + at.channel); },
        [&](int u, size_t) {
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) {
                const float d = x[u][k] - pivot[k];
                sum[k] += d;
                squares[k] = fmaf(d, d, squares[k]);
            }
            n += 1;
        });

    float mean[kWidth];  // of the block, measured from its first row
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k)
        if (threadIdx.y == 0) first_row[threadIdx.x * kWidth + k] = pivot[k];
    __syncthreads();
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) {
        pivot[k] -= first_row[threadIdx.x * kWidth + k];
        mean[k] = fmaf(n, pivot[k], sum[k]);
    }
    sum_over_rows<kColumnThreads>(mean);
    const float per_row = 1.0f / float(rows_of_block(p.shape.rows, blockIdx.y, blockDim.y, gridDim.y));
    const float per_thread_row = n > 0 ? 1.0f / n : 0.0f;
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) {
        mean[k] *= per_row;
        const float thread_mean = sum[k] * per_thread_row, d = pivot[k] + thread_mean - mean[k];
        squares[k] = fmaf(-sum[k], thread_mean, squares[k]) + n * d * d;
        mean[k] += first_row[threadIdx.x * kWidth + k];
    }
    sum_over_rows<kColumnThreads>(squares);
    if (threadIdx.y == 0 && at.inside) {
        store_floats(partial + (blockIdx.y * 2 + 0) * C + at.channel, mean);
        store_floats(partial + (blockIdx.y * 2 + 1) * C + at.channel, squares);
    }
}

// All blocks' (mean, squares) to those of the channel: Chan, Golub & LeVeque 1979, the mean of all first.
template <class T>
__global__ void __launch_bounds__(kMergeThreads)
    forward_merge(BatchNormForward<T> p, const float* partial, unsigned row_blocks, unsigned block_rows) {
    const size_t C = p.shape.channels, c = blockIdx.x * blockDim.x + threadIdx.x;
    const Columns<1> at(row_blocks, C);
    const float rows = float(p.shape.rows), first = at.inside ? partial[c] : 0;
    const auto rows_of = [&](size_t block) {
        return float(rows_of_block(p.shape.rows, unsigned(block), block_rows, row_blocks));
    };
    float mean[1] = {}, squares[1] = {};  // mean is measured from `first`
#pragma unroll 4
    for (size_t block = at.row; block < at.rows; block += at.step)
        mean[0] = fmaf(rows_of(block), partial[block * 2 * C + c] - first, mean[0]);
    sum_over_rows<kMergeThreads>(mean);
    mean[0] /= rows;
#pragma unroll 4
    for (size_t block = at.row; block < at.rows; block += at.step) {
        const float d = partial[block * 2 * C + c] - first - mean[0];
        squares[0] += fmaf(rows_of(block) * d, d, partial[(block * 2 + 1) * C + c]);
    }
    sum_over_rows<kMergeThreads>(squares);
    if (threadIdx.y == 0 && at.inside) {
        const float var = squares[0] < 0 ? 0.0f : squares[0] / rows;  // NaN stays NaN
        p.mean[c] = first + mean[0];
        p.rstd[c] = 1.0f / sqrtf(var + p.shape.eps);
        if (p.running_mean) p.running_mean[c] += p.momentum * (p.mean[c] - p.running_mean[c]);
        if (p.running_var) p.running_var[c] += p.momentum * (var * (rows / (rows - 1)) - p.running_var[c]);
    }
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads, 4) forward_elements(BatchNormForward<T> p) {
    constexpr int kPair = 2;
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    if (!at.inside) return;
    float mean[kWidth], scale_rstd[kWidth], shift[kWidth];
    load_floats(p.mean + at.channel, mean);
    load_floats(p.shift + at.channel, shift);
    load_floats(p.scale + at.channel, scale_rstd);
    {
        float rstd[kWidth];
        load_floats(p.rstd + at.channel, rstd);
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) scale_rstd[k] *= rstd[k];
    }
    const auto index = [&](size_t row) { return (at.rows - 1 - row) * C + at.channel; };
    Vector<T, kWidth> x[kPair], residual[kPair];
    for_rows<kPair>(
        at,
        [&](int u, size_t row) {
            x[u] = load<kWidth>(p.x + index(row));
            if (p.residual) residual[u] = load<kWidth>(p.residual + index(row));
        },
        [&](int u, size_t row) {
            float y[kWidth];
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) {
                const float z = fmaf(x[u][k] - mean[k], scale_rstd[k], shift[k]);
                y[k] = activated(p.shape.activation, p.residual ? z + residual[u][k] : z);
            }
            store(p.y + index(row), rounded<T>(y));
        });
}

// The operands of the gradient of one vector. silu is a type because it needs z, and with it twice as
// many constants in registers.
template <class T, int kWidth, bool kSilu>
struct Incoming {
    Vector<T, kWidth> x, y, dy, dy2;

    __device__ __forceinline__ void load_at(const BatchNormBackward<T>& p, size_t i) {
        x = load<kWidth>(p.x + i);
        dy = load<kWidth>(p.dy + i);
        if (p.dy2) dy2 = load<kWidth>(p.dy2 + i);
        if (p.shape.activation == Activation::relu) y = load<kWidth>(p.y + i);
    }
    // g of the header.
    __device__ __forceinline__ float g(const BatchNormBackward<T>& p, int k, float centred, float scale_rstd,
                                       float shift) const {
        const float sum = p.dy2 ? dy[k] + dy2[k] : dy[k];
        if constexpr (kSilu)
            return sum * silu_grad(fmaf(centred, scale_rstd, shift));
        else
            return p.shape.activation == Activation::relu && !(y[k] > 0) ? 0.0f : sum;
    }
};

// The constants of one thread's channels; scale_rstd = scale * rstd.
template <int kWidth>
struct Normalization {
    float mean[kWidth], scale_rstd[kWidth], shift[kWidth] = {};

    template <class T>
    __device__ __forceinline__ Normalization(const BatchNormBackward<T>& p, size_t channel) {
        float rstd[kWidth];
        load_floats(p.mean + channel, mean);
        load_floats(p.rstd + channel, rstd);
        load_floats(p.scale + channel, scale_rstd);
        if (p.shape.activation == Activation::silu) load_floats(p.shift + channel, shift);
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) scale_rstd[k] *= rstd[k];
    }
};

// partial (row_blocks, 2, channels): sum of g, sum of g * (x - mean).
template <int kWidth, bool kSilu, class T>
__global__ void __launch_bounds__(kColumnThreads, 3) backward_sums(BatchNormBackward<T> p, float* partial) {
    constexpr int kPair = kSilu ? 1 : 2;
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    float sum[2 * kWidth] = {};
    if (at.inside) {
        const Normalization<kWidth> norm(p, at.channel);
        Incoming<T, kWidth, kSilu> in[kPair];
        for_rows<kPair>(
            at, [&](int u, size_t row) { in[u].load_at(p, row * C + at.channel); },
            [&](int u, size_t) {
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k) {
                    const float centred = in[u].x[k] - norm.mean[k];
                    const float g = in[u].g(p, k, centred, norm.scale_rstd[k], norm.shift[k]);
                    sum[k] += g;
                    sum[kWidth + k] = fmaf(g, centred, sum[kWidth + k]);
                }
            });
    }
    sum_over_rows<kColumnThreads>(sum);
    if (threadIdx.y == 0 && at.inside) {
        float part[kWidth];
        SIMT_UNROLL
        for (int i = 0; i < 2; ++i) {
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) part[k] = sum[i * kWidth + k];
            store_floats(partial + (blockIdx.y * 2 + i) * C + at.channel, part);
        }
    }
}

template <class T>
__global__ void __launch_bounds__(kMergeThreads)
    backward_merge(BatchNormBackward<T> p, const float* partial, unsigned row_blocks) {
    float sum[2];
    merge_partial(partial, row_blocks, p.shape.channels, sum);
    const Columns<1> at(row_blocks, p.shape.channels);
    if (threadIdx.y == 0 && at.inside) {
        p.dshift[at.channel] = sum[0];
        p.dscale[at.channel] = sum[1] * p.rstd[at.channel];
    }
}

// dx = scale_rstd * g - offset - (x - mean) * per_centred, with offset = scale_rstd * dshift / rows and
// per_centred = scale_rstd * rstd * dscale / rows
template <int kWidth, bool kSilu, class T>
__global__ void __launch_bounds__(kColumnThreads, 3) backward_elements(BatchNormBackward<T> p) {
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    if (!at.inside) return;
    const Normalization<kWidth> norm(p, at.channel);
    float offset[kWidth], per_centred[kWidth];
    {
        const float per_row = 1.0f / float(p.shape.rows);
        float rstd[kWidth];
        load_floats(p.dshift + at.channel, offset);
        load_floats(p.dscale + at.channel, per_centred);
        load_floats(p.rstd + at.channel, rstd);
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) {
            offset[k] *= norm.scale_rstd[k] * per_row;
            per_centred[k] *= norm.scale_rstd[k] * rstd[k] * per_row;
        }
    }
    for (size_t row = at.row; row < at.rows; row += at.step) {
        const size_t i = (at.rows - 1 - row) * C + at.channel;
        Incoming<T, kWidth, kSilu> in;
        in.load_at(p, i);
        float dx[kWidth], g[kWidth];
        SIMT_UNROLL
        for (int k = 0; k < kWidth; ++k) {
            const float centred = in.x[k] - norm.mean[k];
            g[k] = in.g(p, k, centred, norm.scale_rstd[k], norm.shift[k]);
            dx[k] = fmaf(-centred, per_centred[k], fmaf(norm.scale_rstd[k], g[k], -offset[k]));
        }
        store(p.dx + i, rounded<T>(dx));
        if (p.dresidual) store(p.dresidual + i, rounded<T>(g));
    }
}

void require_supported(const BatchNormShape& shape, bool residual) {
    if (shape.activation == Activation::silu && residual)
        throw std::invalid_argument("batch_norm takes no residual with silu");
}

template <int kWidth, class T>
void forward(const Gpu& gpu, const BatchNormForward<T>& p) {
    const auto [rows, C, eps, activation] = p.shape;
    const ColumnGrid sums(rows, C, kWidth, kSumBlocks), map(rows, C, kWidth, kMapBlocks);
    const simt::stream_t stream = stream_of(gpu);
    if (!p.sums_given) {
        float* const partial = gpu.scratch.take<float>(2 * sums.row_blocks() * C);
        simt::launch(forward_sums<kWidth, T>, sums.grid, sums.block, 0, stream, p, partial);
        simt::launch(forward_merge<T>, merge_grid(C), merge_block(), 0, stream, p, partial, sums.row_blocks(),
                     sums.block.y);
    }
    simt::launch(forward_elements<kWidth, T>, map.grid, map.block, 0, stream, p);
}

template <int kWidth, bool kSilu, class T>
void backward(const Gpu& gpu, const BatchNormBackward<T>& p) {
    const auto [rows, C, eps, activation] = p.shape;
    const ColumnGrid sums(rows, C, kWidth, kSumBlocks), map(rows, C, kWidth, kMapBlocks);
    const simt::stream_t stream = stream_of(gpu);
    if (!p.sums_given) {
        float* const partial = gpu.scratch.take<float>(2 * sums.row_blocks() * C);
        simt::launch(backward_sums<kWidth, kSilu, T>, sums.grid, sums.block, 0, stream, p, partial);
        simt::launch(backward_merge<T>, merge_grid(C), merge_block(), 0, stream, p, partial, sums.row_blocks());
    }
    simt::launch(backward_elements<kWidth, kSilu, T>, map.grid, map.block, 0, stream, p);
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const BatchNormForward<T>& p) {
    require_supported(p.shape, p.residual);
    if (p.running_var && p.shape.rows < 2) throw std::invalid_argument("batch_norm: running statistics need two rows");
    const bool vectors = p.shape.channels % kVector<T> == 0 && aligned(p.x, p.residual, p.y);
    vectors ? forward<kVector<T>>(gpu, p) : forward<1>(gpu, p);
}

template <class T>
void compute(const Gpu& gpu, const BatchNormBackward<T>& p) {
    require_supported(p.shape, p.dresidual);
    const bool vectors = p.shape.channels % kVector<T> == 0 && aligned(p.x, p.y, p.dy, p.dy2, p.dx, p.dresidual);
    if (p.shape.activation == Activation::silu)
        vectors ? backward<kVector<T>, true>(gpu, p) : backward<1, true>(gpu, p);
    else
        vectors ? backward<kVector<T>, false>(gpu, p) : backward<1, false>(gpu, p);
}

template void compute(const Gpu&, const BatchNormForward<float>&);
template void compute(const Gpu&, const BatchNormForward<bf16>&);
template void compute(const Gpu&, const BatchNormForward<fp16>&);
template void compute(const Gpu&, const BatchNormBackward<float>&);
template void compute(const Gpu&, const BatchNormBackward<bf16>&);
template void compute(const Gpu&, const BatchNormBackward<fp16>&);
