// The convolution of bytes as plain loops: the definition. See int8.h.
#include <algorithm>

#include "kernels/conv/int8_terms.h"
#include "kernels/parallel.h"

namespace {
int32_t sum_of(const ConvInt8& op, size_t n, size_t p, size_t q, size_t k) {
    const ConvShape& s = op.shape;
    int32_t sum = 0;
    for (size_t r = 0; r < s.kernel_h; ++r)
        for (size_t t = 0; t < s.kernel_w; ++t) {
            const auto i = ptrdiff_t(p * s.stride + r) - ptrdiff_t(s.padding);
            const auto j = ptrdiff_t(q * s.stride + t) - ptrdiff_t(s.padding);
            if (!inside(i, s.h) || !inside(j, s.w)) continue;
            const uint8_t* const x = op.x + ((n * s.h + size_t(i)) * s.w + size_t(j)) * s.c_in;
            const int8_t* const weight = op.weight + ((k * s.kernel_h + r) * s.kernel_w + t) * s.c_in;
            for (size_t c = 0; c < s.c_in; ++c) sum += (int32_t(x[c]) - op.x_range.zero) * int32_t(weight[c]);
        }
    return sum;
}

template <Activation activation>
void convolve(const Cpu& cpu, const ConvInt8& op) {
    const ConvShape& s = op.shape;
    const size_t out_w = s.out_w(), pixels = s.out_h() * out_w;
    const ToByte to_byte(op.y_range);
    const Int8Terms terms(op);
    parallel_for(cpu, s.n * pixels, 1, [=](size_t begin, size_t end) {
        for (size_t pixel = begin; pixel < end; ++pixel)
            for (size_t k = 0; k < s.c_out; ++k) {
                const int32_t sum = sum_of(op, pixel / pixels, pixel % pixels / out_w, pixel % out_w, k);
                const size_t at = pixel * s.c_out + k;
                const float residual = op.residual ? op.residual[at] : 0;
                float value = fused(float(sum), terms.scale(op, k), terms.shift(op, k));
                if (terms.is_early) value = fused(residual, terms.residual_scale, value);
                if (terms.in_steps) {
                    op.y[at] = round_to_byte(value, terms.least);
                    continue;
                }
                value = activate_rough<activation>(value);
                if (terms.is_late) value = fused(residual, terms.residual_scale, value) + terms.residual_shift;
                op.y ? void(op.y[at] = to_byte(value)) : void(op.y_float[at] = value);
            }
    });
}
}  // namespace

void compute_direct(const Cpu& cpu, const ConvInt8& op) {
    switch (op.activation) {
        case Activation::relu: return convolve<Activation::relu>(cpu, op);
        case Activation::silu: return convolve<Activation::silu>(cpu, op);
        default: return convolve<Activation::none>(cpu, op);
    }
}
