// Batch normalization with what follows it: three kernels per direction, and a small one where ranks share statistics.
//
// Floor in bytes, e = rows * channels, s = bytes per element: forward 3es (+ es with a residual), backward 5es (+ 2es
// with dy2); with a residual 6es (+ es for relu's y, + es with dy2). Ten operations per element, a tenth of what there
// is time for.
//   1. sums      every block sums its rows per channel: 16-byte loads, four rows in flight per thread
//   2. merge     adds the at most 528 partial sums of a channel in order: the bits do not depend on timing
//   3. elements  from the last row to the first: the rows read last in 1 are still in the L2 cache
#include "kernels/batch_norm.h"

#include <stdexcept>

#include "kernels/activation.cuh"
#include "kernels/columns.cuh"
#include "kernels/ranks.cuh"

namespace {

constexpr int kRows = 4;  // of one thread, loaded before the first is used

// partial (row_blocks, 2, channels): mean of the block's rows, and the sum of squared distances from it.
// A thread measures from its first row, so |mean| >> std costs nothing; should that row be an outlier, the squares
// lose no more than a factor of (rows per thread) of float's precision. The block then measures from its exact mean.
template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads, 4) forward_sums(BatchNormForward<T> p, float* partial) {
    SIMT_SHARED(float, of_channel, [kPlaces<kWidth>]);  // its first row, then its mean
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
        if (threadIdx.y == 0) of_channel[place<kWidth>(k, threadIdx.x)] = pivot[k];
    __syncthreads();
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) {
        pivot[k] -= of_channel[place<kWidth>(k, threadIdx.x)];
        mean[k] = fmaf(n, pivot[k], sum[k]);
    }
    sum_over_rows<kColumnThreads>(mean);
    const float per_row = 1.0f / rows_of_block(p.shape.rows, blockIdx.y, blockDim.y, gridDim.y);
    const float per_thread_row = n > 0 ? 1.0f / n : 0.0f;
    SIMT_UNROLL
    for (int k = 0; k < kWidth; ++k) {
        mean[k] *= per_row;
        const float thread_mean = sum[k] * per_thread_row, d = pivot[k] + thread_mean - mean[k];
        squares[k] = fmaf(-sum[k], thread_mean, squares[k]) + n * d * d;
        if (threadIdx.y == 0) of_channel[place<kWidth>(k, threadIdx.x)] += mean[k];
    }
    sum_over_rows<kColumnThreads>(squares, [&](unsigned k, unsigned lane, float sum) {
        const size_t channel = channel_of<kWidth>(k, lane);
        if (channel >= C) return;
        partial[(blockIdx.y * 2 + 0) * C + channel] = of_channel[place<kWidth>(k, lane)];
        partial[(blockIdx.y * 2 + 1) * C + channel] = sum;
    });
}

// `rows` of them have this mean and variance.
template <class T>
__device__ void set_statistics(const BatchNormForward<T>& p, size_t c, float mean, float var, float rows) {
    p.mean[c] = mean;
    p.rstd[c] = 1.0f / sqrtf(var + p.shape.eps);
    if (p.running_mean) p.running_mean[c] += p.momentum * (mean - p.running_mean[c]);
    if (p.running_var) p.running_var[c] += p.momentum * (var * (rows / (rows - 1)) - p.running_var[c]);
}

// All blocks' (mean, squares) to those of the channel: Chan, Golub & LeVeque 1979, the mean of all first. With ranks
// the variance of this one's rows is left in the place of rstd.
template <class T>
__global__ void __launch_bounds__(kMergeThreads)
    forward_merge(BatchNormForward<T> p, const float* partial, unsigned row_blocks, unsigned block_rows) {
    const size_t C = p.shape.channels, c = blockIdx.x * blockDim.x + threadIdx.x;
    const Columns<1> at(row_blocks, C);
    const float rows = float(p.shape.rows), first = at.inside ? partial[c] : 0;
    SIMT_SHARED(float, rows_of, [kSumBlocks]);
    if (const unsigned block = threadIdx.y * 32 + threadIdx.x; block < row_blocks)
        rows_of[block] = rows_of_block(p.shape.rows, block, block_rows, row_blocks);
    float means[kMergeRows], parts[kMergeRows];
    load_partial<2>(partial, row_blocks, unsigned(C), 0, means);
    __syncthreads();
    float mean[1] = {}, squares[1] = {};  // mean is measured from `first`
    SIMT_UNROLL
    for (int u = 0; u < kMergeRows; ++u)
        if (const unsigned block = merge_row(u); block < row_blocks)
            mean[0] = fmaf(rows_of[block], means[u] - first, mean[0]);
    sum_over_rows<kMergeThreads>(mean);
    mean[0] /= rows;
    load_partial<2>(partial, row_blocks, unsigned(C), 1, parts);
    SIMT_UNROLL
    for (int u = 0; u < kMergeRows; ++u)
        if (const unsigned block = merge_row(u); block < row_blocks) {
            const float d = means[u] - first - mean[0];
            squares[0] += fmaf(rows_of[block] * d, d, parts[u]);
        }
    sum_over_rows<kMergeThreads>(squares);
    if (threadIdx.y == 0 && at.inside) {
        const float var = squares[0] < 0 ? 0.0f : squares[0] / rows;  // NaN stays NaN
        if (p.ranks)
            p.mean[c] = first + mean[0], p.rstd[c] = var;
        else
            set_statistics(p, c, first + mean[0], var, rows);
    }
}

constexpr unsigned kRankThreads = 256;  // a channel each

// all: (2, ranks, channels), the means and variances of every rank's rows.
template <class T>
__global__ void __launch_bounds__(kRankThreads) forward_ranks(BatchNormForward<T> p, const float* all, unsigned ranks) {
    const size_t C = p.shape.channels, c = size_t(blockIdx.x) * kRankThreads + threadIdx.x;
    if (c >= C) return;
    const float first = all[c];
    float mean = 0, var = 0;  // mean is measured from `first`
    // Few ranks and one thread per channel: the loops stay loops.
#pragma unroll 1
    for (unsigned r = 0; r < ranks; ++r) mean += all[r * C + c] - first;
    mean /= float(ranks);
#pragma unroll 1
    for (unsigned r = 0; r < ranks; ++r) {
        const float d = all[r * C + c] - first - mean;
        var += fmaf(d, d, all[(ranks + r) * C + c]);
    }
    set_statistics(p, c, first + mean, var / float(ranks), float(p.shape.rows) * float(ranks));
}

// all: (2, ranks, channels)   means: (2, channels)
__global__ void __launch_bounds__(kRankThreads)
    mean_of_ranks(const float* all, unsigned ranks, size_t channels, float* means) {
    const size_t i = size_t(blockIdx.x) * kRankThreads + threadIdx.x;
    if (i >= 2 * channels) return;
    const float* const of_ranks = all + i / channels * ranks * channels + i % channels;
    float sum = 0;
#pragma unroll 1
    for (unsigned r = 0; r < ranks; ++r) sum += of_ranks[r * channels];
    means[i] = sum / float(ranks);
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kColumnThreads, 4) forward_elements(BatchNormForward<T> p) {
    constexpr int kPair = 2;
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    float constants[3][kWidth];
    const auto &mean = constants[0], &scale_rstd = constants[1], &shift = constants[2];
    const auto index = [&](size_t row) { return (at.rows - 1 - row) * C + at.channel; };
    // What a residual can be followed by: silu is refused.
    const Activation relu = p.shape.activation == Activation::relu ? Activation::relu : Activation::none;
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
                y[k] = p.residual ? activated(relu, z + residual[u][k]) : activated(p.shape.activation, z);
            }
            store(p.y + index(row), rounded<T>(y));
        },
        [&] {
            channel_constants(C, constants, [&](size_t c, float(&own)[3]) {
                own[0] = p.mean[c], own[1] = p.scale[c] * p.rstd[c], own[2] = p.shift[c];
            });
        });
}

// Where g of the header comes from. With a residual the sums kernel writes g to dresidual, which is due anyway, and the
// elements kernel reads it there instead of y, dy and dy2. Without one relu's mask is that of z computed again from x.
// silu is a case of its own because it needs more registers.
enum class Gradient { plain, silu, residual };

// The largest z that forward stored as y = 0, so that the mask of z is that of y, bit for bit.
template <class T>
constexpr float kStoredAsZero = std::is_same_v<T, fp16>   ? 0x1p-25f
                                : std::is_same_v<T, bf16> ? 0x1p-134f
                                                          : 0.0f;

// The operands of the gradient of one vector.
template <class T, int kWidth, Gradient kGradient>
struct Incoming {
    Vector<T, kWidth> x, y, dy, dy2;

    __device__ __forceinline__ void load_at(const BatchNormBackward<T>& p, size_t i) {
        x = load<kWidth>(p.x + i);
        dy = load<kWidth>(p.dy + i);
        if (p.dy2) dy2 = load<kWidth>(p.dy2 + i);
        if constexpr (kGradient == Gradient::residual)
            if (p.shape.activation == Activation::relu) y = load<kWidth>(p.y + i);
    }
    __device__ __forceinline__ float g(const BatchNormBackward<T>& p, int k, float centred, float scale_rstd,
                                       float shift) const {
        const float sum = p.dy2 ? dy[k] + dy2[k] : dy[k];
        const bool relu = p.shape.activation == Activation::relu;
        if constexpr (kGradient == Gradient::silu)
            return sum * silu_grad(fmaf(centred, scale_rstd, shift));
        else if constexpr (kGradient == Gradient::residual)
            return relu && !(y[k] > 0) ? 0.0f : sum;
        else
            return relu && !(fmaf(centred, scale_rstd, shift) > kStoredAsZero<T>) ? 0.0f : sum;
    }
};

// The constants of a channel that backward_sums needs: mean, scale * rstd, shift.
template <class T>
__device__ __forceinline__ void normalization(const BatchNormBackward<T>& p, size_t c, bool with_shift, float* own) {
    own[0] = p.mean[c], own[1] = p.scale[c] * p.rstd[c];
    own[2] = with_shift && p.shape.activation != Activation::none ? p.shift[c] : 0.0f;
}

// partial (row_blocks, 2, channels): sum of g, sum of g * (x - mean).
template <int kWidth, Gradient kGradient, class T>
__global__ void __launch_bounds__(kColumnThreads, kGradient == Gradient::silu ? 3 : 2)
    backward_sums(BatchNormBackward<T> p, float* partial) {
    constexpr int kPair = kGradient == Gradient::silu ? 1 : 2;
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    float sum[2 * kWidth] = {}, constants[3][kWidth];
    const auto &mean = constants[0], &scale_rstd = constants[1], &shift = constants[2];
    Incoming<T, kWidth, kGradient> in[kPair];
    for_rows<kPair>(
        at, [&](int u, size_t row) { in[u].load_at(p, row * C + at.channel); },
        [&](int u, size_t row) {
            const auto g_of = [&](int k) { return in[u].g(p, k, in[u].x[k] - mean[k], scale_rstd[k], shift[k]); };
            Vector<T, kWidth> stored;  // the sums are those of what is stored
            if constexpr (kGradient == Gradient::residual) {
                float g[kWidth];
                SIMT_UNROLL
                for (int k = 0; k < kWidth; ++k) g[k] = g_of(k);
                stored = rounded<T>(g);
                store(p.dresidual + row * C + at.channel, stored);
            }
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) {
                const float g = kGradient == Gradient::residual ? stored[k] : g_of(k);
                sum[k] += g;
                sum[kWidth + k] = fmaf(g, in[u].x[k] - mean[k], sum[kWidth + k]);
            }
        },
        [&] {
            channel_constants(C, constants, [&](size_t c, float(&own)[3]) {
                normalization(p, c, kGradient != Gradient::residual, own);
            });
        });
    sum_over_rows<kColumnThreads>(sum, [&](unsigned i, unsigned lane, float of_channel) {
        const size_t channel = channel_of<kWidth>(i % kWidth, lane);
        if (channel < C) partial[(blockIdx.y * 2 + i / kWidth) * C + channel] = of_channel;
    });
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
template <int kWidth, Gradient kGradient, class T>
__global__ void __launch_bounds__(kColumnThreads, 3) backward_elements(BatchNormBackward<T> p) {
    constexpr bool kStored = kGradient == Gradient::residual;
    constexpr int kPair = kStored ? 2 : 1;
    const size_t C = p.shape.channels;
    const Columns<kWidth> at(p.shape.rows, C);
    float constants[5][kWidth];
    const auto &mean = constants[0], &scale_rstd = constants[1], &shift = constants[2], &offset = constants[3],
               &per_centred = constants[4];
    const auto index = [&](size_t row) { return (at.rows - 1 - row) * C + at.channel; };
    Incoming<T, kWidth, kGradient> in[kPair];
    for_rows<kPair>(
        at,
        [&](int u, size_t row) {
            if constexpr (kStored) {
                in[u].x = load<kWidth>(p.x + index(row));
                in[u].dy = load<kWidth>(p.dresidual + index(row));
            } else {
                in[u].load_at(p, index(row));
            }
        },
        [&](int u, size_t row) {
            float dx[kWidth];
            SIMT_UNROLL
            for (int k = 0; k < kWidth; ++k) {
                const float centred = in[u].x[k] - mean[k];
                const float g = kStored ? in[u].dy[k] : in[u].g(p, k, centred, scale_rstd[k], shift[k]);
                dx[k] = fmaf(-centred, per_centred[k], fmaf(scale_rstd[k], g, -offset[k]));
            }
            store(p.dx + index(row), rounded<T>(dx));
        },
        [&] {
            channel_constants(C, constants, [&](size_t c, float(&own)[5]) {
                normalization(p, c, !kStored, own);
                const float per_row = 1.0f / float(p.shape.rows);
                own[3] = p.dshift[c] * (own[1] * per_row), own[4] = p.dscale[c] * (own[1] * p.rstd[c] * per_row);
            });
        });
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
    float* const partial = gpu.scratch.take<float>(2 * sums.row_blocks() * C);
    simt::launch(forward_sums<kWidth, T>, sums.grid, sums.block, 0, stream, p, partial);
    simt::launch(forward_merge<T>, merge_grid(C), merge_block(), 0, stream, p, partial, sums.row_blocks(),
                 sums.block.y);
    if (p.ranks) {
        const size_t ranks = p.ranks->count;
        float* const all = gpu.scratch.take<float>(2 * ranks * C);  // nobody needs `partial` any more
        gather_over_ranks(gpu, *p.ranks, p.mean, all, C);
        gather_over_ranks(gpu, *p.ranks, p.rstd, all + ranks * C, C);
        simt::launch(forward_ranks<T>, dim3(ceil_div(C, size_t(kRankThreads))), dim3(kRankThreads), 0, stream, p, all,
                     unsigned(ranks));
    }
    simt::launch(forward_elements<kWidth, T>, map.grid, map.block, 0, stream, p);
}

template <Gradient kGradient, int kWidth, class T>
void backward(const Gpu& gpu, const BatchNormBackward<T>& p) {
    const auto [rows, C, eps, activation] = p.shape;
    const ColumnGrid sums(rows, C, kWidth, kSumBlocks), map(rows, C, kWidth, kMapBlocks);
    const simt::stream_t stream = stream_of(gpu);
    float* const partial = gpu.scratch.take<float>(2 * sums.row_blocks() * C);
    simt::launch(backward_sums<kWidth, kGradient, T>, sums.grid, sums.block, 0, stream, p, partial);
    simt::launch(backward_merge<T>, merge_grid(C), merge_block(), 0, stream, p, partial, sums.row_blocks());
    BatchNormBackward<T> all = p;
    if (p.ranks) {  // dx needs the sums over all rows: their means over ranks, with the rows of one
        const size_t ranks = p.ranks->count;
        Scratch scratch = gpu.scratch;
        float *const means = scratch.split<float>(2 * C), *const sums_of_ranks = scratch.take<float>(2 * ranks * C);
        gather_over_ranks(gpu, *p.ranks, p.dshift, sums_of_ranks, C);
        gather_over_ranks(gpu, *p.ranks, p.dscale, sums_of_ranks + ranks * C, C);
        simt::launch(mean_of_ranks, dim3(ceil_div(2 * C, size_t(kRankThreads))), dim3(kRankThreads), 0, stream,
                     sums_of_ranks, unsigned(ranks), C, means);
        all.dshift = means, all.dscale = means + C;
    }
    simt::launch(backward_elements<kWidth, kGradient, T>, map.grid, map.block, 0, stream, all);
}

template <Gradient kGradient, class T>
void backward_of_width(const Gpu& gpu, const BatchNormBackward<T>& p) {
    const bool vectors = p.shape.channels % kVector<T> == 0 && aligned(p.x, p.y, p.dy, p.dy2, p.dx, p.dresidual);
    vectors ? backward<kGradient, kVector<T>>(gpu, p) : backward<kGradient, 1>(gpu, p);
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
    if (p.dresidual) return backward_of_width<Gradient::residual>(gpu, p);
    p.shape.activation == Activation::silu ? backward_of_width<Gradient::silu>(gpu, p)
                                           : backward_of_width<Gradient::plain>(gpu, p);
}

template void compute(const Gpu&, const BatchNormForward<float>&);
template void compute(const Gpu&, const BatchNormForward<bf16>&);
template void compute(const Gpu&, const BatchNormForward<fp16>&);
template void compute(const Gpu&, const BatchNormBackward<float>&);
template void compute(const Gpu&, const BatchNormBackward<bf16>&);
template void compute(const Gpu&, const BatchNormBackward<fp16>&);
