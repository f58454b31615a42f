// Element by element: add and cast.
//
// Floor, bytes per element of size s: Add 3s, Cast 4 + s.
#include "kernels/elementwise.h"

#include "kernels/elements.cuh"

namespace {

template <int kWidth, class T>
__global__ void __launch_bounds__(kElementThreads) add(Add<T> p) {
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        const auto a = load<n>(p.a + i), b = load<n>(p.b + i);
        float y[n];
        SIMT_UNROLL
        for (int k = 0; k < n; ++k) y[k] = a[k] + b[k];
        store(p.y + i, rounded<T>(y));
    });
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kElementThreads) cast(Cast<T> p) {
    for_elements<kWidth>(p.count, [&]<int n>(size_t i) {
        float values[n];
        load_floats<n>(p.x + i, values);
        store_floats<n>(p.y + i, values);
    });
}

}  // namespace

template <class T>
void compute(const Gpu& gpu, const Add<T>& p) {
    constexpr int kWidth = kVector<T>;
    aligned(p.a, p.b, p.y) ? launch_elements<kWidth>(gpu, add<kWidth, T>, p) : launch_elements<1>(gpu, add<1, T>, p);
}

template <class T>
void compute(const Gpu& gpu, const Cast<T>& p) {  // four at a time: neighbouring lanes touch neighbouring 16 bytes of x
    aligned(p.x, p.y) ? launch_elements<4>(gpu, cast<4, T>, p) : launch_elements<1>(gpu, cast<1, T>, p);
}

template void compute(const Gpu&, const Add<float>&);
template void compute(const Gpu&, const Add<bf16>&);
template void compute(const Gpu&, const Add<fp16>&);
template void compute(const Gpu&, const Cast<float>&);
template void compute(const Gpu&, const Cast<bf16>&);
template void compute(const Gpu&, const Cast<fp16>&);

#if defined(TUNDRA_CUDA_FLAVOUR)
int cuda_kernel_error() {
    cudaFuncAttributes attributes;
    return int(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(add<kVector<float>, float>)));
}
#endif
