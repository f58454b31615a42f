// Copies of channels and upsampling on the CPU: see layout.h.
#include "kernels/layout.h"

#include <algorithm>
#include <vector>

#include "kernels/parallel.h"

void compute(const Cpu& cpu, const ConvWeight& op) {
    const size_t kernel = op.kernel, in = op.c_in * kernel, out = op.padded_c_in * kernel;
    parallel_for(cpu, op.c_out, 1, [&](size_t begin, size_t end) {
        std::vector<float> scaled(in);
        for (size_t o = begin; o < end; ++o) {
            const float* const x = op.x + o * in;
            float* const y = op.y + o * out;
            const double factor = op.factor ? op.factor[o] : 1;
            float* const row = kernel == 1 ? y : scaled.data();
            for (size_t i = 0; i < in; ++i) row[i] = float(x[i] * factor);
            if (out != in) std::fill_n(y + (kernel == 1 ? in : 0), out - (kernel == 1 ? in : 0), 0.0f);
            if (kernel == 1) continue;
            for (size_t k = 0; k < kernel; ++k)
                for (size_t c = 0; c < op.c_in; ++c) y[k * op.padded_c_in + c] = row[c * kernel + k];
        }
    });
}

template <class T>
void compute(const Cpu& cpu, const CopyChannels<T>& op) {
    const size_t grain = std::max<size_t>(1, 4096 / std::max<size_t>(1, op.channels));
    parallel_for(cpu, op.rows, grain, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row)
            std::copy_n(op.x + row * op.x_pitch + op.x_offset, op.channels, op.y + row * op.y_pitch + op.y_offset);
    });
}

template <class T>
void compute(const Cpu& cpu, const Upsample2<T>& op) {
    const size_t w = op.w, c = op.c;
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            T* const upper = op.y + row * 4 * w * c;
            for (size_t j = 0; j < w; ++j) {
                const T* const pixel = op.x + (row * w + j) * c;
                std::copy_n(pixel, c, upper + 2 * j * c);
                std::copy_n(pixel, c, upper + (2 * j + 1) * c);
            }
            std::copy_n(upper, 2 * w * c, upper + 2 * w * c);
        }
    });
}

template <class T>
void compute(const Cpu& cpu, const Upsample2Backward<T>& op) {
    const size_t w = op.w, c = op.c;
    parallel_for(cpu, op.n * op.h, 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row)
            for (size_t j = 0; j < w; ++j) {
                const T* const upper = op.dy + (row * 4 * w + 2 * j) * c;
                const T* const lower = upper + 2 * w * c;
                T* __restrict dx = op.dx + (row * w + j) * c;
                for (size_t k = 0; k < c; ++k)
                    dx[k] = T((float(upper[k]) + float(upper[c + k])) + (float(lower[k]) + float(lower[c + k])));
            }
    });
}

template void compute(const Cpu&, const CopyChannels<float>&);
template void compute(const Cpu&, const CopyChannels<bf16>&);
template void compute(const Cpu&, const Upsample2<float>&);
template void compute(const Cpu&, const Upsample2<bf16>&);
template void compute(const Cpu&, const Upsample2<uint8_t>&);
template void compute(const Cpu&, const Upsample2Backward<float>&);
template void compute(const Cpu&, const Upsample2Backward<bf16>&);
