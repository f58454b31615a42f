// Tensors of bytes: a byte stands for (byte - zero) * scale. The convolution is kernels/conv/int8.h; max pooling is
// MaxPoolForward<uint8_t> of pool.h, upsampling Upsample2<uint8_t> of layout.h, both without a change of range. On Cpu
// only.
//
//   Quantize           y = x as bytes: the nearest, of two the even one, and within 0 to 255
//   Dequantize         y = x as floats
//   CopyChannelsInt8   CopyChannels of layout.h; bytes are copied as they are where the ranges are equal, else they are
//                      made anew
//
// Scales are positive, 0 <= zero <= 255. All arithmetic is that of float32, with fused operations where fused() stands,
// so results are the same on every processor. What becomes of a NaN is not defined: a byte cannot say it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device.h"
#include "kernels/types.h"
#include "kernels/vector_math.h"

struct Quantization {
    float scale = 1;
    int32_t zero = 0;
    bool operator==(const Quantization&) const = default;

    float value(uint8_t byte) const { return float(int32_t(byte) - zero) * scale; }
};

// a * b + c, rounded once; without the instruction a call.
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// A byte that is not rounded yet -> byte.
inline uint8_t round_to_byte(float steps, float least) {
    steps = select(steps > least, steps, least);
    steps = select(steps < 255, steps, 255);
    return uint8_t(std::bit_cast<int32_t>(steps + exp_round) - std::bit_cast<int32_t>(exp_round));
}

// value -> byte
class ToByte {
public:
    explicit ToByte(const Quantization& range) : inverse_(1 / range.scale), zero_(float(range.zero)) {}
    uint8_t operator()(float value) const { return round_to_byte(fused(value, inverse_, zero_), 0); }

private:
    float inverse_, zero_;
};

// x * sigmoid(x) with 2^t as a cubic: within 1.1e-4, far below the step of a byte. The vector loops of conv/int8.h do
// the same.
inline float rough_silu(float x) {
    float t = x * -1.44269504f;
    t = select(t > -126.0f, t, -126.0f);
    t = select(t < 126.0f, t, 126.0f);
    const float shifted = t + exp_round, r = t - (shifted - exp_round);
    const float p = fused(fused(fused(0.05500885f, r, 0.24221095f), r, 0.69328293f), r, 1.0f);
    return x / (1.0f + std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23)));
}
template <Activation activation>
float activate_rough(float x) {
    if constexpr (activation == Activation::relu) return select(x < 0, 0, x);
    if constexpr (activation == Activation::silu) return rough_silu(x);
    return x;
}

struct Quantize {
    size_t count;
    Quantization range;  // of y
    const float* x;
    uint8_t* y;
};

struct Dequantize {
    size_t count;
    Quantization range;  // of x
    const uint8_t* x;
    float* y;
};

struct CopyChannelsInt8 {
    size_t rows, channels, x_pitch, x_offset, y_pitch, y_offset;
    Quantization x_range, y_range;
    const uint8_t* x;
    uint8_t* y;
};

void compute(const Cpu&, const Quantize&);
void compute(const Cpu&, const Dequantize&);
void compute(const Cpu&, const CopyChannelsInt8&);
