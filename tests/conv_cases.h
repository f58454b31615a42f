// Shapes that tests of the CPU convolutions share: tails, strides, paddings, first layers, layers of ResNet-50.
#pragma once

#include "kernels/conv/conv.h"
#include "tests/cpu_fixture.h"

inline const ConvShape conv_shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0},      {2, 7, 7, 3, 33, 3, 3, 1, 1},     {1, 33, 7, 7, 3, 5, 5, 2, 2},
    {2, 3, 5, 33, 7, 1, 1, 1, 0},     {1, 13, 11, 16, 32, 3, 3, 2, 1},  {2, 32, 32, 3, 64, 7, 7, 2, 3},
    {1, 64, 48, 3, 16, 6, 6, 2, 2},   {2, 14, 14, 64, 64, 3, 3, 1, 1},  {2, 14, 14, 64, 256, 1, 1, 1, 0},
    {1, 15, 15, 128, 64, 1, 1, 2, 0}, {1, 7, 7, 513, 70, 1, 1, 1, 0},   {1, 4, 4, 512, 512, 3, 3, 1, 1},
    {1, 5, 9, 8, 8, 3, 5, 1, 1},      {3, 10, 10, 32, 255, 1, 1, 1, 0}, {1, 40, 24, 48, 96, 3, 3, 2, 1},
};

// Weights that keep y near 1, so that errors before and after an activation compare.
inline Floats random_weight(const ConvShape& s) {
    return random_floats(s.weight_count(), 2, 0, 1 / std::sqrt(float(s.kernel_h * s.kernel_w * s.c_in)));
}

// Of ResNet-50, every different convolution.
inline std::vector<ConvShape> resnet50(size_t n, size_t size) {
    std::vector<ConvShape> all = {{n, size, size, 3, 64, 7, 7, 2, 3}};
    size_t side = size / 4, c_in = 64;
    for (const size_t width : {64, 128, 256, 512}) {
        const size_t stride = width == 64 ? 1 : 2, out = side / stride;
        all.insert(all.end(), {{n, side, side, c_in, width, 1, 1},
                               {n, side, side, width, width, 3, 3, stride, 1},
                               {n, out, out, width, 4 * width, 1, 1},
                               {n, side, side, c_in, 4 * width, 1, 1, stride},
                               {n, out, out, 4 * width, width, 1, 1},
                               {n, out, out, width, width, 3, 3, 1, 1}});
        side = out, c_in = 4 * width;
    }
    return all;
}
