// Tensors of bytes on the CPU: see quantize.h.
#include "kernels/quantize.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace {
constexpr size_t grain = 4096;
}

void compute(const Cpu& cpu, const Quantize& op) {
    const ToByte to_byte(op.range);
    parallel_for(cpu, op.count, grain, [=](size_t begin, size_t end) {
        const float* __restrict x = op.x;
        uint8_t* __restrict y = op.y;
        for (size_t i = begin; i < end; ++i) y[i] = to_byte(x[i]);
    });
}

void compute(const Cpu& cpu, const Dequantize& op) {
    parallel_for(cpu, op.count, grain, [=](size_t begin, size_t end) {
        const uint8_t* __restrict x = op.x;
        float* __restrict y = op.y;
        for (size_t i = begin; i < end; ++i) y[i] = op.range.value(x[i]);
    });
}

void compute(const Cpu& cpu, const CopyChannelsInt8& op) {
    const bool same = op.x_range == op.y_range;
    const size_t rows = std::max<size_t>(1, grain / std::max<size_t>(1, op.channels));
    parallel_for(cpu, op.rows, rows, [=](size_t begin, size_t end) {
        const ToByte to_byte(op.y_range);  // here, where the compiler sees that writing to y does not change it
        const Quantization x_range = op.x_range;
        const size_t channels = op.channels;
        for (size_t row = begin; row < end; ++row) {
            const uint8_t* __restrict x = op.x + row * op.x_pitch + op.x_offset;
            uint8_t* __restrict y = op.y + row * op.y_pitch + op.y_offset;
            if (same)
                std::copy_n(x, channels, y);
            else
                for (size_t c = 0; c < channels; ++c) y[c] = to_byte(x_range.value(x[c]));
        }
    });
}
