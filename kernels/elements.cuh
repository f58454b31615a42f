// Kernels over flat arrays: every thread takes kWidth neighbouring elements at a time.
#pragma once

#include <algorithm>

#include "kernels/vector.cuh"

inline constexpr unsigned kElementThreads = 256;

// Calls body.operator()<n>(i) for parts of [0, count), n being kWidth, or 1 for what is left at the end.
template <int kWidth, class Body>
__device__ __forceinline__ void for_elements(size_t count, const Body& body) {
    const size_t step = size_t(gridDim.x) * blockDim.x * kWidth;
    for (size_t i = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * kWidth; i < count; i += step) {
        if (i + kWidth <= count) {
            body.template operator()<kWidth>(i);
        } else {
#pragma unroll 1  // nvcc 13 makes sixteen copies of these at most seven turns, which nothing can reach
            for (size_t last = i; last < count; ++last) body.template operator()<1>(last);
        }
    }
}

// At most sixteen blocks per multiprocessor, twice as many as run at once: then GPUs with another number of
// multiprocessors stay busy to the end as well.
inline dim3 element_blocks(size_t count, int width) {
    return dim3(unsigned(
        std::clamp<size_t>(ceil_div(count, size_t(kElementThreads) * unsigned(width)), 1, kMultiprocessors * 16)));
}

template <int kWidth, class Op>
void launch_elements(const Gpu& gpu, void (*kernel)(Op), const Op& op) {
    simt::launch(kernel, element_blocks(op.count, kWidth), dim3(kElementThreads), 0, stream_of(gpu), op);
}
