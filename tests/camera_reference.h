// What CameraBatch must give, from the parts of the program that read images on the CPU: colour in libjpeg-turbo's
// integers, resize() of data/, then normalisation.
#pragma once

#include <vector>

#include "data/resize.h"
#include "kernels/image.h"
#include "kernels/image_math.h"

// (h, w, 3) from the planes of op.
template <class T>
std::vector<uint8_t> rgb_of_planes(const CameraBatch<T>& op) {
    const size_t chroma_h = (op.h + 1) / 2, chroma_w = (op.w + 1) / 2;
    std::vector<uint8_t> rgb(op.h * op.w * 3);
    for (size_t i = 0; i < op.h; ++i)
        for (size_t j = 0; j < op.w; ++j) {
            const ChromaTap down = chroma_tap(int(i), int(chroma_h)), across = chroma_tap(int(j), int(chroma_w));
            const auto upsampled = [&](const uint8_t* plane) {
                const auto sum = [&](int column) {
                    return 3 * plane[size_t(down.near) * chroma_w + size_t(column)] +
                           plane[size_t(down.far) * chroma_w + size_t(column)];
                };
                return chroma_value(sum(across.near), sum(across.far), int(j));
            };
            const Rgb p = ycbcr_to_rgb(op.luma[i * op.w + j], upsampled(op.cb), upsampled(op.cr));
            uint8_t* const to = &rgb[(i * op.w + j) * 3];
            to[0] = uint8_t(p.r), to[1] = uint8_t(p.g), to[2] = uint8_t(p.b);
        }
    return rgb;
}

inline void camera_reference(const CameraBatch<float>& op) {
    std::vector<uint8_t> rgb = op.rgb ? std::vector<uint8_t>(op.rgb, op.rgb + op.h * op.w * 3) : rgb_of_planes(op);
    std::vector<uint8_t> inner(op.inner_h * op.inner_w * 3);
    resize({.h = op.h,
            .w = op.w,
            .out_h = op.inner_h,
            .out_w = op.inner_w,
            .filter = op.filter,
            .x = rgb.data(),
            .y = inner.data()});
    float* y = op.y + op.index * op.out_h * op.out_w * op.out_c;
    for (size_t i = 0; i < op.out_h; ++i)
        for (size_t j = 0; j < op.out_w; ++j)
            for (size_t c = 0; c < op.out_c; ++c, ++y) {
                const bool inside = i - op.top < op.inner_h && j - op.left < op.inner_w;  // both wrap
                const float value =
                    inside && c < 3 ? inner[((i - op.top) * op.inner_w + j - op.left) * 3 + c] : op.grey;
                *y = c < 3 ? value * op.normalize.scale[c] + op.normalize.shift[c] : 0;
            }
}
