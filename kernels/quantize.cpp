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
    const ToByte to_byte(op.y_range);
    const bool same = op.x_range == op.y_range;
    const size_t rows = std::max<size_t>(1, grain / std::max<size_t>(1, op.channels));
    parallel_for(cpu, op.rows, rows, [=](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const uint8_t* __restrict x = op.x + row * op.x_pitch + op.x_offset;
            uint8_t* __restrict y = op.y + row * op.y_pitch + op.y_offset;
            if (same)
                std::copy_n(x, op.channels, y);
            else
                for (size_t c = 0; c < op.channels; ++c) y[c] = to_byte(op.x_range.value(x[c]));
        }
    });
}

namespace {
template <Activation activation>
void add(const Cpu& cpu, const AddInt8& op) {
    const ToByte to_byte(op.y_range);
    parallel_for(cpu, op.count, grain, [=](size_t begin, size_t end) {
        constexpr size_t block = 64;  // of its own memory, because y may be a or b
        for (; begin < end; begin += block) {
            const size_t count = std::min(block, end - begin);
            const uint8_t *const a = op.a + begin, *const b = op.b + begin;
            uint8_t sums[block];
            for (size_t i = 0; i < count; ++i)
                sums[i] = to_byte(activate_rough<activation>(op.a_range.value(a[i]) + op.b_range.value(b[i])));
            std::copy_n(sums, count, op.y + begin);
        }
    });
}
}  // namespace

void compute(const Cpu& cpu, const AddInt8& op) {
    switch (op.activation) {
        case Activation::relu: return add<Activation::relu>(cpu, op);
        case Activation::silu: return add<Activation::silu>(cpu, op);
        default: return add<Activation::none>(cpu, op);
    }
}
