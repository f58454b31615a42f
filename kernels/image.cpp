// ImageBatch on the CPU: augmentation and normalisation in one pass over the output.
#include "kernels/image.h"

#include <algorithm>

#include "kernels/image_math.h"

namespace {

// A row of pixels that are not resampled: each of the values that a byte can have is computed once.
void normalized_row(const ImageBatch<float>& op, const uint8_t* pixels, size_t count, float gain, float offset,
                    float* y) {
    float values[3][256];
    for (size_t c = 0; c < 3; ++c)
        for (int v = 0; v < 256; ++v)
            values[c][v] = colored(float(v), gain, offset) * op.normalize.scale[c] + op.normalize.shift[c];
    const size_t first = op.normalize.bgr ? 2 : 0, last = 2 - first;
    for (size_t j = 0; j < count; ++j, pixels += 3, y += op.out_c) {
        y[0] = values[0][pixels[first]], y[1] = values[1][pixels[1]], y[2] = values[2][pixels[last]];
        for (size_t c = 3; c < op.out_c; ++c) y[c] = 0;
    }
}

}  // namespace

void compute(const Cpu& cpu, const ImageBatch<float>& op) {
    constexpr float kSame[] = {1, 0, 0, 0, 1, 0};
    const ptrdiff_t rows = ptrdiff_t(op.n * op.out_h);
#pragma omp parallel for num_threads(std::max(cpu.threads, 1)) schedule(static) if (cpu.threads > 1)
    for (ptrdiff_t row = 0; row < rows; ++row) {
        const size_t image = size_t(row) / op.out_h, i = size_t(row) % op.out_h;
        const uint8_t* const pixels = op.images + image * op.h * op.w * 3;
        const float gain = op.color[2 * image], offset = op.color[2 * image + 1];
        float* y = op.y + size_t(row) * op.out_w * op.out_c;
        const size_t inner_w = op.inner_h == 0 ? op.out_w : i < op.inner_h ? op.inner_w : 0;
        for (size_t j = inner_w; j < op.out_w; ++j)
            for (size_t c = 0; c < op.out_c; ++c)
                y[j * op.out_c + c] = c < 3 ? op.grey * op.normalize.scale[c] + op.normalize.shift[c] : 0;
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
                y[c] = colored(value, gain, offset) * op.normalize.scale[c] + op.normalize.shift[c];
            }
            for (size_t c = 3; c < op.out_c; ++c) y[c] = 0;
        }
    }
}

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
