// Parts of the direct convolution kernels: a tile of a matrix product in shared memory, and storing its results.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/conv/conv.h"
#include "kernels/vector.cuh"

// A block of 64 threads makes 64 x 64 results; thread (ty, tx) makes the 8 x 8 of them that start at (8 ty, 8 tx).
inline constexpr int kTile = 64, kDepth = 16, kSide = 8, kTileThreads = 64;

struct alignas(16) TileRow {
    float at[kTile];
};

// sum[i][j] += left[k][8 ty + i] * right[k][8 tx + j] over all k
__device__ __forceinline__ void multiply_tiles(const TileRow (&left)[kDepth], const TileRow (&right)[kDepth],
                                               float (&sum)[kSide][kSide]) {
    const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
    SIMT_UNROLL
    for (int k = 0; k < kDepth; ++k) {
        float a[kSide], b[kSide];
        load_floats(left[k].at + kSide * ty, a);
        load_floats(right[k].at + kSide * tx, b);
        SIMT_UNROLL
        for (int i = 0; i < kSide; ++i) {
            SIMT_UNROLL
            for (int j = 0; j < kSide; ++j) sum[i][j] += a[i] * b[j];
        }
    }
}

// Up to 8 neighbours of one row, at `column` of `columns`; `wide` promises that all 8 may be written as 16-byte words.
template <class T>
__device__ __forceinline__ void store_row(T* row, int column, int columns, bool wide, const float (&values)[kSide]) {
    if (wide && column + kSide <= columns) {
        store_floats(row + column, values);
    } else {
        SIMT_UNROLL
        for (int j = 0; j < kSide; ++j)
            if (column + j < columns) row[column + j] = T(values[j]);
    }
}

// Bias, residual, activation and the store of 8 channels of one output pixel.
template <class T>
__device__ __forceinline__ void finish_pixel(const ConvForward<T>& op, size_t pixel, int channel, bool wide,
                                             float (&sum)[kSide]) {
    const int channels = int(op.shape.c_out);
    const T* residual = op.residual ? op.residual + pixel * op.shape.c_out : nullptr;
    SIMT_UNROLL
    for (int j = 0; j < kSide; ++j) {
        if (channel + j >= channels) break;
        const float rest = residual ? float(residual[channel + j]) : 0.0f;
        const float value = sum[j] + (op.bias ? op.bias[channel + j] : 0.0f);
        sum[j] = op.residual_last ? activated(op.activation, value) + rest : activated(op.activation, value + rest);
    }
    store_row(op.y + pixel * op.shape.c_out, channel, channels, wide, sum);
}

// The second gradient, the ReLU's, and the store of 8 channels of one input pixel.
template <class T>
__device__ __forceinline__ void finish_pixel(const ConvBackwardData<T>& op, size_t pixel, int channel, bool wide,
                                             float (&sum)[kSide]) {
    const int channels = int(op.shape.c_in);
    const size_t first = pixel * op.shape.c_in;
    if (op.dx2) {
        SIMT_UNROLL
        for (int j = 0; j < kSide; ++j) {
            if (channel + j >= channels) break;
            const size_t i = first + size_t(channel + j);
            sum[j] = float(op.x[i]) > 0 ? sum[j] + float(op.dx2[i]) : 0.0f;
        }
    }
    store_row(op.dx + first, channel, channels, wide, sum);
}
