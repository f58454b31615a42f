// One number out of those of a warp or a block, in an order that does not depend on timing.
#pragma once

#include "kernels/gpu.h"

struct Sum {
    template <class T>
    __device__ __forceinline__ T operator()(T a, T b) const {
        return a + b;
    }
};
struct Max {  // ignores NaN, as fmaxf does
    __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Every lane gets the result. All 32 lanes call it.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, const Op& op) {
    SIMT_UNROLL
    for (int offset = 16; offset > 0; offset /= 2) value = op(value, __shfl_xor_sync(~0u, value, offset));
    return value;
}

// Every thread gets the result. All threads of a block of kThreads, a multiple of 32, call it.
template <unsigned kThreads, class T, class Op>
__device__ T block_reduce(T value, const Op& op) {
    SIMT_SHARED(T, of_warp, [kThreads / 32]);
    value = warp_reduce(value, op);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warp[0];
    for (unsigned w = 1; w < kThreads / 32; ++w) value = op(value, of_warp[w]);
    __syncthreads();  // the next call may write now
    return value;
}
