// What ranks that train together tell each other between two kernels of an operation.
#pragma once

#include <string>

#include "base/ranks.h"
#include "kernels/gpu.h"

// all: (ranks, count) of what every rank has as `own`, in the order of ranks, before what is launched next.
template <class T>
void gather_over_ranks(const Gpu& gpu, Ranks& ranks, const T* own, T* all, size_t count) {
#if defined(TUNDRA_CUDA_FLAVOUR)
    if (!ranks.gpu_sums) throw std::logic_error("these ranks have no sums between GPUs");
    ranks.gpu_sums->gather(gpu.stream, own, all, count * sizeof(T));
#else
    std::string bytes(count * sizeof(T), 0);
    simt::copy(bytes.data(), own, bytes.size());
    for (const std::string& of_rank : ranks.gather(bytes)) simt::copy(all, of_rank.data(), bytes.size()), all += count;
    static_cast<void>(gpu);  // it waits for nothing
#endif
}
