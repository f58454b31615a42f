// Convolution as plain loops: the readable reference on the CPU. See conv.h.
#include "kernels/conv/conv.h"
#include "kernels/index.h"
#include "kernels/parallel.h"
#include "kernels/vector_math.h"

namespace {
// Runs visit(out, tap) for every output position and tap of one axis that meet input position `in`.
template <class Visit>
void for_windows(size_t in, size_t kernel, size_t out_size, const ConvShape& s, const Visit& visit) {
    for (size_t tap = 0; tap < kernel; ++tap) {
        if (in + s.padding < tap || (in + s.padding - tap) % s.stride) continue;
        const size_t out = (in + s.padding - tap) / s.stride;
        if (out < out_size) visit(out, tap);
    }
}

// Calls visit(r, s, i, j) for every tap of the window of output pixel (p, q) that lies inside x.
template <class Visit>
void for_taps(const ConvShape& shape, size_t p, size_t q, const Visit& visit) {
    for (size_t r = 0; r < shape.kernel_h; ++r)
        for (size_t s = 0; s < shape.kernel_w; ++s) {
            const auto i = ptrdiff_t(p * shape.stride + r) - ptrdiff_t(shape.padding);
            const auto j = ptrdiff_t(q * shape.stride + s) - ptrdiff_t(shape.padding);
            if (inside(i, shape.h) && inside(j, shape.w)) visit(r, s, size_t(i), size_t(j));
        }
}

float activate(Activation activation, float x) {
    switch (activation) {
        case Activation::relu: return x < 0 ? 0 : x;
        case Activation::silu: return silu(x);
        default: return x;
    }
}

constexpr size_t block = 64;  // channels summed at a time
}  // namespace

template <class T>
void compute_direct(const Cpu& cpu, const ConvForward<T>& op) {
    const ConvShape& shape = op.shape;
    const size_t out_h = shape.out_h(), out_w = shape.out_w(), c_in = shape.c_in, c_out = shape.c_out;
    parallel_for(cpu, shape.n * out_h * out_w, 1, [&](size_t begin, size_t end) {
        for (size_t pixel = begin; pixel < end; ++pixel) {
            const size_t n = pixel / (out_h * out_w), p = pixel / out_w % out_h, q = pixel % out_w;
            for (size_t k = 0; k < c_out; ++k) {
                double sum = op.bias ? double(op.bias[k]) : 0;
                for_taps(shape, p, q, [&](size_t r, size_t s, size_t i, size_t j) {
                    const T* const x = op.x + ((n * shape.h + i) * shape.w + j) * c_in;
                    const T* const weight = op.weight + ((k * shape.kernel_h + r) * shape.kernel_w + s) * c_in;
#pragma omp simd reduction(+ : sum)
                    for (size_t c = 0; c < c_in; ++c) sum += double(float(x[c])) * double(float(weight[c]));
                });
                const float residual = op.residual ? float(op.residual[pixel * c_out + k]) : 0;
                op.y[pixel * c_out + k] = T(op.residual_last ? activate(op.activation, float(sum)) + residual
                                                             : activate(op.activation, float(sum + double(residual))));
            }
        }
    });
}

template <class T>
void compute_direct(const Cpu& cpu, const ConvBackwardData<T>& op) {
    const ConvShape& shape = op.shape;
    const size_t out_h = shape.out_h(), out_w = shape.out_w(), c_in = shape.c_in, c_out = shape.c_out;
    parallel_for(cpu, shape.n * shape.h * shape.w, 1, [&](size_t begin, size_t end) {
        for (size_t pixel = begin; pixel < end; ++pixel)
            for (size_t c0 = 0; c0 < c_in; c0 += block) {
                const size_t n = pixel / (shape.h * shape.w), i = pixel / shape.w % shape.h, j = pixel % shape.w;
                const size_t count = std::min(block, c_in - c0);
                double sum[block] = {};
                for_windows(i, shape.kernel_h, out_h, shape, [&](size_t p, size_t r) {
                    for_windows(j, shape.kernel_w, out_w, shape, [&](size_t q, size_t s) {
                        const T* const dy = op.dy + ((n * out_h + p) * out_w + q) * c_out;
                        for (size_t k = 0; k < c_out; ++k) {
                            const T* const weight =
                                op.weight + ((k * shape.kernel_h + r) * shape.kernel_w + s) * c_in + c0;
                            for (size_t c = 0; c < count; ++c)
                                sum[c] += double(float(dy[k])) * double(float(weight[c]));
                        }
                    });
                });
                for (size_t c = 0; c < count; ++c) op.dx[pixel * c_in + c0 + c] = T(float(sum[c]));
            }
    });
}

template <class T>
void compute_direct(const Cpu& cpu, const ConvBackwardWeight<T>& op) {
    const ConvShape& shape = op.shape;
    const size_t out_h = shape.out_h(), out_w = shape.out_w(), c_in = shape.c_in, c_out = shape.c_out;
    const size_t taps = shape.kernel_h * shape.kernel_w;
    parallel_for(cpu, c_out * taps, 1, [&](size_t begin, size_t end) {
        for (size_t weight = begin; weight < end; ++weight)  // weight is (k, r, s) as one index
            for (size_t c0 = 0; c0 < c_in; c0 += block) {
                const size_t k = weight / taps, r = weight % taps / shape.kernel_w, s = weight % shape.kernel_w;
                const size_t count = std::min(block, c_in - c0);
                double sum[block] = {};
                for (size_t pixel = 0; pixel < shape.n * out_h * out_w; ++pixel) {
                    const size_t n = pixel / (out_h * out_w);
                    const auto i = ptrdiff_t(pixel / out_w % out_h * shape.stride + r) - ptrdiff_t(shape.padding);
                    const auto j = ptrdiff_t(pixel % out_w * shape.stride + s) - ptrdiff_t(shape.padding);
                    if (!inside(i, shape.h) || !inside(j, shape.w)) continue;
                    const T* const x = op.x + ((n * shape.h + size_t(i)) * shape.w + size_t(j)) * c_in + c0;
                    const double dy = double(float(op.dy[pixel * c_out + k]));
                    for (size_t c = 0; c < count; ++c) sum[c] += dy * double(float(x[c]));
                }
                for (size_t c = 0; c < count; ++c) op.dweight[weight * c_in + c0 + c] = T(float(sum[c]));
            }
    });
}

template void compute_direct(const Cpu&, const ConvForward<float>&);
template void compute_direct(const Cpu&, const ConvForward<bf16>&);
template void compute_direct(const Cpu&, const ConvBackwardData<float>&);
template void compute_direct(const Cpu&, const ConvBackwardData<bf16>&);
template void compute_direct(const Cpu&, const ConvBackwardWeight<float>&);
template void compute_direct(const Cpu&, const ConvBackwardWeight<bf16>&);
