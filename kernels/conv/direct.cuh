// What the direct convolution kernels share: a tile of a matrix product in shared memory, and what follows the sum.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/conv/conv.h"
#include "kernels/vector.cuh"

// A block of 64 threads makes a tile of 64 x 64 results; thread (ty, tx) owns the 8 x 8 ones from (8 ty, 8 tx) on.
inline constexpr int kTile = 64, kDepth = 16, kOwn = 8, kTileThreads = 64;

struct alignas(16) TileRow {
    float at[kTile];
};

// sum[i][j] += left[k][8 ty + i] * right[k][8 tx + j] over all k
__device__ __forceinline__ void multiply_tiles(const TileRow (&left)[kDepth], const TileRow (&right)[kDepth],
                                               float (&sum)[kOwn][kOwn]) {
    const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
    SIMT_UNROLL
    for (int k = 0; k < kDepth; ++k) {
        float a[kOwn], b[kOwn];
        load_floats(left[k].at + kOwn * ty, a);
        load_floats(right[k].at + kOwn * tx, b);
        SIMT_UNROLL
        for (int i = 0; i < kOwn; ++i) {
            SIMT_UNROLL
            for (int j = 0; j < kOwn; ++j) sum[i][j] += a[i] * b[j];
        }
    }
}

// Up to 8 neighbours of one row, at `column` of `columns`; `wide` promises that all 8 may be written as 16-byte words.
template <class T>
__device__ __forceinline__ void store_own(T* row, int column, int columns, bool wide, const float (&values)[kOwn]) {
    if (wide && column + kOwn <= columns) {
        store_floats(row + column, values);
    } else {
        SIMT_UNROLL
        for (int j = 0; j < kOwn; ++j)
            if (column + j < columns) row[column + j] = T(values[j]);
    }
}

// Bias, residual, activation and the store of 8 channels of one output pixel.
template <class T>
__device__ __forceinline__ void finish_pixel(const ConvForward<T>& op, size_t pixel, int channel, bool wide,
                                             float (&sum)[kOwn]) {
    const int channels = int(op.shape.c_out);
    const T* residual = op.residual ? op.residual + pixel * op.shape.c_out : nullptr;
    SIMT_UNROLL
    for (int j = 0; j < kOwn; ++j) {
        if (channel + j >= channels) break;
        const float rest = residual ? float(residual[channel + j]) : 0.0f;
        const float value = sum[j] + (op.bias ? op.bias[channel + j] : 0.0f);
        sum[j] = op.residual_last ? activated(op.activation, value) + rest : activated(op.activation, value + rest);
    }
    store_own(op.y + pixel * op.shape.c_out, channel, channels, wide, sum);
}
