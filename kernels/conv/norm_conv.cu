// The fused chain of training: the constants of a normalization (every device), and around the direct convolutions the
// parts that cuDNN's engines fuse (simt).
//
// Constants: 4 floats in, 2 floats and 2 elements out per channel, all launch. The rest is written to be read, not to
// be fast: on a GPU the fused engines take its place and move x, weight and y once.
#include "kernels/conv/norm_conv.h"

#include "kernels/columns.cuh"

namespace {

template <class T>
__global__ void norm_constants(NormConstants<T> p) {
    const size_t c = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= p.channels) return;
    const float rows = float(p.rows), mean = p.sum[c] / rows, spread = p.squares[c] / rows - mean * mean;
    const float var = spread < 0 ? 0.0f : spread;  // NaN stays NaN
    const float rstd = 1.0f / sqrtf(var + p.eps), a = p.scale[c] * rstd;
    p.mean[c] = mean;
    p.rstd[c] = rstd;
    if (p.a) {
        p.a[c] = T(a);
        p.b[c] = T(p.shift[c] - mean * a);
    }
    if (p.running_mean) p.running_mean[c] += p.momentum * (mean - p.running_mean[c]);
    if (p.running_var) p.running_var[c] += p.momentum * (var * (rows / (rows - 1)) - p.running_var[c]);
}

#if defined(TUNDRA_SIMT_FLAVOUR)

template <class T>
__global__ void norm_relu(size_t rows, size_t channels, const T* x, const T* a, const T* b, T* z) {
    const Columns<1> at(rows, channels);
    for (size_t row = at.row; row < at.rows; row += at.step) {
        const size_t i = row * channels + at.channel;
        const float v = fmaf(float(a[at.channel]), float(x[i]), float(b[at.channel]));
        z[i] = T(v > 0 ? v : 0.0f);
    }
}

// partial (row_blocks, 2, channels): sum of y, sum of its squares.
template <class T>
__global__ void __launch_bounds__(kColumnThreads) norm_sums(size_t rows, size_t channels, const T* y, float* partial) {
    const Columns<1> at(rows, channels);
    float sum[2] = {};
    for (size_t row = at.row; row < at.rows; row += at.step) {
        const float v = float(y[row * channels + at.channel]);
        sum[0] += v;
        sum[1] = fmaf(v, v, sum[1]);
    }
    sum_over_rows<kColumnThreads>(sum);
    if (threadIdx.y == 0 && at.inside)
        for (int i = 0; i < 2; ++i) partial[(blockIdx.y * 2 + i) * channels + at.channel] = sum[i];
}

// g in place of the gradient of z. partial (row_blocks, 2, channels): sum of g, sum of g * (x - mean).
template <class T>
__global__ void __launch_bounds__(kColumnThreads)
    norm_gradient(size_t rows, NormConvBackwardData<T> p, float* partial) {
    const size_t channels = p.shape.c_in;
    const Columns<1> at(rows, channels);
    float sum[2] = {};
    for (size_t row = at.row; row < at.rows; row += at.step) {
        const size_t i = row * channels + at.channel;
        const float centred = float(p.x[i]) - p.mean[at.channel];
        if (!(fmaf(centred * p.rstd[at.channel], p.scale[at.channel], p.shift[at.channel]) > 0)) p.g[i] = T(0.0f);
        const float g = float(p.g[i]);
        sum[0] += g;
        sum[1] = fmaf(g, centred, sum[1]);
    }
    sum_over_rows<kColumnThreads>(sum);
    if (threadIdx.y == 0 && at.inside)
        for (int i = 0; i < 2; ++i) partial[(blockIdx.y * 2 + i) * channels + at.channel] = sum[i];
}

// Adds the partial sums in order; the second ones times `factor`, where there is one.
__global__ void __launch_bounds__(kMergeThreads) norm_merge(const float* partial, unsigned row_blocks, size_t channels,
                                                            const float* factor, float* first, float* second) {
    float sum[2];
    merge_partial(partial, row_blocks, channels, sum);
    const Columns<1> at(row_blocks, channels);
    if (threadIdx.y == 0 && at.inside) {
        first[at.channel] = sum[0];
        second[at.channel] = factor ? sum[1] * factor[at.channel] : sum[1];
    }
}

// relu(a * x + b), or x itself.
template <class T>
const T* normalized(Simt& rest, const ConvShape& s, const T* x, const T* a, const T* b) {
    if (!a) return x;
    T* const z = rest.scratch.split<T>(s.x_count());
    const ColumnGrid map(s.n * s.h * s.w, s.c_in, 1, kMapBlocks);
    simt::launch(norm_relu<T>, map.grid, map.block, 0, stream_of(rest), s.n * s.h * s.w, s.c_in, x, a, b, z);
    return z;
}

#endif

}  // namespace

template <class T>
void compute(const Gpu& gpu, const NormConstants<T>& p) {
    simt::launch(norm_constants<T>, dim3(ceil_div(p.channels, 128)), dim3(128), 0, stream_of(gpu), p);
}
template void compute(const Gpu&, const NormConstants<float>&);
template void compute(const Gpu&, const NormConstants<bf16>&);
template void compute(const Gpu&, const NormConstants<fp16>&);

#if defined(TUNDRA_SIMT_FLAVOUR)

template <class T>
void compute(const Simt& gpu, const NormConvForward<T>& p) {
    Simt rest = gpu;
    const T* z = normalized(rest, p.shape, p.x, p.a, p.b);
    compute(rest, ConvForward<T>{
                      .shape = p.shape, .x = z, .weight = p.weight, .bias = nullptr, .residual = nullptr, .y = p.y});
    const size_t channels = p.shape.c_out, rows = p.shape.y_count() / channels;
    const ColumnGrid sums(rows, channels, 1, kSumBlocks);
    float* const partial = rest.scratch.take<float>(2 * sums.row_blocks() * channels);
    simt::launch(norm_sums<T>, sums.grid, sums.block, 0, stream_of(gpu), rows, channels, p.y, partial);
    simt::launch(norm_merge, merge_grid(channels), merge_block(), 0, stream_of(gpu), partial, sums.row_blocks(),
                 channels, nullptr, p.sum, p.squares);
}

template <class T>
void compute(const Simt& gpu, const NormConvBackwardData<T>& p) {
    compute(gpu, ConvBackwardData<T>{p.shape, p.dy, p.weight, p.g});
    if (!p.scale) return;
    const size_t channels = p.shape.c_in, rows = p.shape.x_count() / channels;
    const ColumnGrid sums(rows, channels, 1, kSumBlocks);
    float* const partial = gpu.scratch.take<float>(2 * sums.row_blocks() * channels);
    simt::launch(norm_gradient<T>, sums.grid, sums.block, 0, stream_of(gpu), rows, p, partial);
    simt::launch(norm_merge, merge_grid(channels), merge_block(), 0, stream_of(gpu), partial, sums.row_blocks(),
                 channels, p.rstd, p.dshift, p.dscale);
}

template <class T>
void compute(const Simt& gpu, const NormConvBackwardWeight<T>& p) {
    Simt rest = gpu;
    const T* z = normalized(rest, p.shape, p.x, p.a, p.b);
    compute(rest, ConvBackwardWeight<T>{p.shape, z, p.dy, p.dweight});
}

template void compute(const Simt&, const NormConvForward<float>&);
template void compute(const Simt&, const NormConvForward<bf16>&);
template void compute(const Simt&, const NormConvForward<fp16>&);
template void compute(const Simt&, const NormConvBackwardData<float>&);
template void compute(const Simt&, const NormConvBackwardData<bf16>&);
template void compute(const Simt&, const NormConvBackwardData<fp16>&);
template void compute(const Simt&, const NormConvBackwardWeight<float>&);
template void compute(const Simt&, const NormConvBackwardWeight<bf16>&);
template void compute(const Simt&, const NormConvBackwardWeight<fp16>&);
#endif
