// ImageBatch on the CPU: augmentation and normalisation in one pass over the output.
#include "kernels/image.h"

#include <algorithm>

#include "kernels/image_math.h"
#include "kernels/vector_math.h"

namespace {

// A row of pixels that are not resampled.
template <class T>
void normalized_row(const ImageBatch<T>& op, const uint8_t* pixels, size_t count, float gain, float offset, T* y) {
    const Normalize& n = op.normalize;
    const auto value = [=](uint8_t pixel, float scale, float shift) {
        const float colored = gain * float(pixel) + offset, above = select(colored > 0, colored, 0.0f);
        return T(select(above < 255, above, 255.0f) * scale + shift);  // as colored() of image_math.h
    };
    constexpr size_t kLanes = 48;  // whole pixels, and whole vectors
    if (op.out_c == 3 && !n.bgr) {
        float scale[kLanes], shift[kLanes];
        for (size_t k = 0; k < kLanes; ++k) scale[k] = n.scale[k % 3], shift[k] = n.shift[k % 3];
        for (; count >= kLanes / 3; count -= kLanes / 3, pixels += kLanes, y += kLanes)
#pragma GCC ivdep
            for (size_t k = 0; k < kLanes; ++k) y[k] = value(pixels[k], scale[k], shift[k]);
    }
    for (; count; --count, pixels += 3, y += op.out_c) {
        for (size_t c = 0; c < 3; ++c) y[c] = value(pixels[n.bgr ? 2 - c : c], n.scale[c], n.shift[c]);
        std::fill(y + 3, y + op.out_c, T(0.0f));
    }
}

}  // namespace

template <class T>
void compute(const Cpu& cpu, const ImageBatch<T>& op) {
    constexpr float kSame[] = {1, 0, 0, 0, 1, 0};
    const ptrdiff_t rows = ptrdiff_t(op.n * op.out_h);
#pragma omp parallel for num_threads(std::max(cpu.threads, 1)) schedule(static) if (cpu.threads > 1)
    for (ptrdiff_t row = 0; row < rows; ++row) {
        const size_t image = size_t(row) / op.out_h, i = size_t(row) % op.out_h;
        const uint8_t* const pixels = op.images + image * op.h * op.w * 3;
        const float gain = op.color[2 * image], offset = op.color[2 * image + 1];
        T* y = op.y + size_t(row) * op.out_w * op.out_c;
        const size_t inner_w = op.inner_h == 0 ? op.out_w : i < op.inner_h ? op.inner_w : 0;
        for (size_t j = inner_w; j < op.out_w; ++j)
            for (size_t c = 0; c < op.out_c; ++c)
                y[j * op.out_c + c] = T(c < 3 ? op.grey * op.normalize.scale[c] + op.normalize.shift[c] : 0);
        const float* const transform = op.transform + 6 * image;
        if (std::equal(kSame, kSame + 6, transform) && i < op.h && inner_w <= op.w) {
            normalized_row(op, pixels + i * op.w * 3, inner_w, gain, offset, y);
            continue;
        }
        for (size_t j = 0; j < inner_w; ++j, y += op.out_c) {
            const AffineTap tap = affine_tap(transform, int(i), int(j), int(op.h), int(op.w));
            const uint8_t *p00 = pixels + (size_t(tap.top) * op.w + size_t(tap.left)) * 3,
                          *p01 = pixels + (size_t(tap.top) * op.w + size_t(tap.right)) * 3,
                          *p10 = pixels + (size_t(tap.bottom) * op.w + size_t(tap.left)) * 3,
                          *p11 = pixels + (size_t(tap.bottom) * op.w + size_t(tap.right)) * 3;
            for (size_t c = 0; c < 3; ++c) {
                const size_t from = op.normalize.bgr ? 2 - c : c;
                const float value = bilinear(p00[from], p01[from], p10[from], p11[from], tap);
                y[c] = T(colored(value, gain, offset) * op.normalize.scale[c] + op.normalize.shift[c]);
            }
            std::fill(y + 3, y + op.out_c, T(0.0f));
        }
    }
}

template void compute(const Cpu&, const ImageBatch<float>&);
template void compute(const Cpu&, const ImageBatch<bf16>&);

void compute(const Cpu& cpu, const CameraBatch& op) {
    const ptrdiff_t rows = ptrdiff_t(op.n * op.h);
#pragma omp parallel for num_threads(std::max(cpu.threads, 1)) schedule(static) if (cpu.threads > 1)
    for (ptrdiff_t row = 0; row < rows; ++row) {
        uint8_t* y = op.y + size_t(row) * op.w * 3;
        for (size_t j = 0; j < op.w; ++j, y += 3) {
            const Rgb p = camera_pixel(op, size_t(row) / op.h, int(size_t(row) % op.h), int(j));
            y[0] = uint8_t(p.r), y[1] = uint8_t(p.g), y[2] = uint8_t(p.b);
        }
    }
}
