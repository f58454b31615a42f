// The first layer of ResNet, forward: 7x7, stride 2, padding 3, few channels; a tile's piece of the image is read
// once.
//
// A block makes 8 x 8 pixels of 64 channels from 21 x 21 pixels of the image, which it keeps in shared memory as
// floats, a plane per channel; the weights pass by one kernel row at a time. A thread makes 8 pixels in a row of 8
// channels: 21 floats of an image row, held in registers, serve 7 x 8 x 8 multiply-adds.
// Floor for (n, 224, 224, 4) in 16 bits: 0.40 MB in, 1.6 MB out, 0.31 GFLOP per image (c_in 4); the operations count
// on CUDA cores (5 us on an H200), the bytes beside tensor cores (0.4 us).
#include "kernels/conv/direct.cuh"

namespace {

constexpr int kKernel = 7, kPadding = 3, kSide = 8, kPatch = 2 * kSide + 5;
constexpr int kPatchPitch = 28;  // floats: rows that four lanes read at once lie in different banks

template <class T, int kChannels>
__global__ void __launch_bounds__(kTileThreads) conv_stem(ConvForward<T> op, bool wide) {
    struct alignas(16) Plane {
        float at[kPatch][kPatchPitch];
    };
    SIMT_SHARED(Plane, patch, [kChannels]);
    SIMT_SHARED(TileRow, weights, [2][kKernel * kChannels]);
    constexpr int kStep = kChannels == 3 ? 1 : kChannels;  // elements that one load can take
    const ConvShape& shape = op.shape;
    const int out_h = int(shape.out_h()), out_w = int(shape.out_w()), t = int(threadIdx.x), ty = t / 8, tx = t % 8;
    const int tiles_across = (out_w + kSide - 1) / kSide, tiles_down = (out_h + kSide - 1) / kSide;
    const int tile = int(blockIdx.x) % (tiles_across * tiles_down), n = int(blockIdx.x) / (tiles_across * tiles_down);
    const int first_row = tile / tiles_across * kSide, first_column = tile % tiles_across * kSide;

    const T* const image = op.x + size_t(n) * shape.h * shape.w * kChannels;
    for (int at = t; at < kPatch * kPatchPitch; at += kTileThreads) {
        const int row = at / kPatchPitch, column = at % kPatchPitch;
        const int i = 2 * first_row - kPadding + row, j = 2 * first_column - kPadding + column;
        const bool inside = unsigned(i) < unsigned(shape.h) && unsigned(j) < unsigned(shape.w) && column < kPatch;
        SIMT_UNROLL
        for (int c = 0; c < kChannels; c += kStep) {
            float values[kStep] = {};
            if (inside) load_floats(image + (ptrdiff_t(i) * ptrdiff_t(shape.w) + j) * kChannels + c, values);
            SIMT_UNROLL
            for (int k = 0; k < kStep; ++k) patch[c + k].at[row][column] = values[k];
        }
    }

    const int my_channel = int(blockIdx.y) * kTile + t;
    float sum[kSide][kOwn] = {};
#pragma unroll 1
    for (int r = 0; r < kKernel; ++r) {  // two sets of weights: one barrier per row
        const T* from = op.weight + (size_t(my_channel) * kKernel + size_t(r)) * kKernel * kChannels;
        for (int k = 0; k < kKernel * kChannels; k += kStep) {
            float values[kStep] = {};
            if (my_channel < int(shape.c_out)) load_floats(from + k, values);
            SIMT_UNROLL
            for (int i = 0; i < kStep; ++i) weights[r & 1][k + i].at[t] = values[i];
        }
        __syncthreads();
#pragma unroll 1
        for (int c = 0; c < kChannels; ++c) {
            float row[24];
            load_floats(patch[c].at[2 * ty + r], row);
            SIMT_UNROLL
            for (int s = 0; s < kKernel; ++s) {
                float weight[kOwn];
                load_floats(weights[r & 1][s * kChannels + c].at + kOwn * tx, weight);
                SIMT_UNROLL
                for (int q = 0; q < kSide; ++q) {
                    SIMT_UNROLL
                    for (int j = 0; j < kOwn; ++j) sum[q][j] += row[2 * q + s] * weight[j];
                }
            }
        }
    }
    const int p = first_row + ty, channel = int(blockIdx.y) * kTile + kOwn * tx;
    SIMT_UNROLL
    for (int q = 0; q < kSide; ++q)
        if (p < out_h && first_column + q < out_w && channel < int(shape.c_out))
            finish_pixel(op, size_t((n * out_h + p) * out_w + first_column + q), channel, wide, sum[q]);
}

}  // namespace

template <class T>
void convolve_stem(const Gpu& gpu, const ConvForward<T>& op) {
    const bool wide = op.shape.c_out % kVector<T> == 0 && aligned(op.y);
    const dim3 grid(unsigned(op.shape.n) * ceil_div(op.shape.out_h(), kSide) * ceil_div(op.shape.out_w(), kSide),
                    ceil_div(op.shape.c_out, kTile));
    simt::launch(op.shape.c_in == 3 ? conv_stem<T, 3> : conv_stem<T, 4>, grid, dim3(kTileThreads), 0, stream_of(gpu),
                 op, wide);
}

template void convolve_stem(const Gpu&, const ConvForward<float>&);
template void convolve_stem(const Gpu&, const ConvForward<bf16>&);
template void convolve_stem(const Gpu&, const ConvForward<fp16>&);
