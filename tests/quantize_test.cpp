// Operations on bytes on the CPU beside their definition in doubles, at every instruction level. Below 1 s.
#include "kernels/quantize.h"

#include <limits>

#include "kernels/layout.h"
#include "kernels/pool.h"
#include "tests/cpu_fixture.h"

extern "C" int tundra_cpu_level;

namespace {
using Bytes = std::vector<uint8_t>;

Bytes random_bytes(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    Bytes values(count);
    for (uint8_t& value : values) value = uint8_t(generator());
    return values;
}

// The nearest byte, of two the even one.
uint8_t nearest(float value, const Quantization& range) {
    return uint8_t(std::clamp(std::nearbyint(double(std::fma(value, 1 / range.scale, float(range.zero)))), 0.0, 255.0));
}

template <class Run>
void at_every_level(const Run& run) {
    const int highest = tundra_cpu_level;
    for (tundra_cpu_level = 0; tundra_cpu_level < highest; ++tundra_cpu_level) run();
    run();
}

constexpr Quantization ranges[] = {{1, 0}, {0.5f, 255}, {0.01f, 128}, {3.7f, 9}};

TEST(Quantize, rounds_to_the_nearest_byte) {
    const CpuDevice cpu;
    Floats x = random_floats(9001, 1, 0, 100);
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float value : {0.5f, 1.5f, 2.5f, -0.5f, 254.5f, 255.5f, 1e30f, -1e30f, infinity, -infinity, -0.0f})
        x.push_back(value);
    for (const Quantization& range : ranges)
        at_every_level([&] {
            Bytes y(x.size());
            compute(cpu, Quantize{x.size(), range, x.data(), y.data()});
            for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], nearest(x[i], range)) << x[i];
        });
}

TEST(Quantize, every_byte_comes_back) {
    const CpuDevice cpu;
    Bytes x(256), again(256);
    for (size_t i = 0; i < 256; ++i) x[i] = uint8_t(i);
    for (const Quantization& range : ranges)
        at_every_level([&] {
            Floats y = unwritten(256);
            compute(cpu, Dequantize{256, range, x.data(), y.data()});
            for (size_t i = 0; i < 256; ++i) ASSERT_EQ(y[i], float(int(i) - range.zero) * range.scale);
            compute(cpu, Quantize{256, range, y.data(), again.data()});
            EXPECT_EQ(x, again);
        });
}

TEST(Quantize, copies_channels_between_ranges) {
    const CpuDevice cpu;
    constexpr size_t rows = 301, channels = 37, x_pitch = 50, y_pitch = 44, x_offset = 11, y_offset = 5;
    const Bytes x = random_bytes(rows * x_pitch, 2);
    for (const Quantization& x_range : ranges)
        for (const Quantization& y_range : ranges)
            at_every_level([&] {
                Bytes y(rows * y_pitch, 99);
                compute(cpu, CopyChannelsInt8{rows, channels, x_pitch, x_offset, y_pitch, y_offset, x_range, y_range,
                                              x.data(), y.data()});
                for (size_t i = 0; i < y.size(); ++i) {
                    const size_t c = i % y_pitch - y_offset;
                    const uint8_t from = c < channels ? x[i / y_pitch * x_pitch + x_offset + c] : uint8_t(0);
                    ASSERT_EQ(y[i], c >= channels        ? 99
                                    : x_range == y_range ? from
                                                         : nearest(x_range.value(from), y_range));
                }
            });
}

// As the operation on floats.
TEST(Quantize, max_pool_and_upsampling_of_bytes) {
    const CpuDevice cpu;
    for (const MaxPoolShape& s : {MaxPoolShape{2, 13, 10, 70, 3, 2, 1},
                                  {1, 9, 9, 64, 5, 1, 2},
                                  {1, 8, 6, 3, 2, 2, 0},
                                  {3, 7, 7, 33, 3, 1, 1}}) {
        const Bytes x = random_bytes(s.n * s.h * s.w * s.c, 5);
        const Floats floats(x.begin(), x.end());
        const size_t count = s.n * s.out_h() * s.out_w() * s.c;
        Floats expected = unwritten(count), wider = unwritten(4 * x.size());
        compute(cpu, MaxPoolForward<float>{s, floats.data(), expected.data(), nullptr});
        compute(cpu, Upsample2<float>{s.n, s.h, s.w, s.c, floats.data(), wider.data()});
        at_every_level([&] {
            Bytes y(count), more(4 * x.size());
            compute(cpu, MaxPoolForward<uint8_t>{s, x.data(), y.data(), nullptr});
            EXPECT_EQ(expected, Floats(y.begin(), y.end()));
            compute(cpu, Upsample2<uint8_t>{s.n, s.h, s.w, s.c, x.data(), more.data()});
            EXPECT_EQ(wider, Floats(more.begin(), more.end()));
        });
    }
}
}  // namespace
