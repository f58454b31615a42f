// Pooling on the CPU against the formulas of pool.h, and no heap allocation in any of the plain loops.
#include "kernels/pool.h"

#include <atomic>
#include <cstdlib>
#include <new>

#include "kernels/batch_norm.h"
#include "kernels/bias.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/layout.h"
#include "kernels/optimizer.h"
#include "tests/cpu_fixture.h"

namespace {
std::atomic<size_t> allocations = 0;
}

[[gnu::noinline]] void* operator new(size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {
class MaxPoolCpu : public testing::TestWithParam<MaxPoolShape> {};

// x of small integers has many ties.
Floats with_ties(size_t count) {
    Floats x = random_floats(count, 1);
    for (float& value : x) value = std::round(value);
    return x;
}

TEST_P(MaxPoolCpu, takes_the_first_maximum_and_sends_its_gradient_there) {
    const MaxPoolShape s = GetParam();
    const Floats x = with_ties(s.n * s.h * s.w * s.c), dy = random_floats(s.n * s.out_h() * s.out_w() * s.c, 2);
    const Floats dy2 = s.stride == 2 ? random_floats(dy.size(), 3) : Floats{};  // a second gradient, or none
    Floats y = unwritten(dy.size()), dx = unwritten(x.size());
    std::vector<uint8_t> argmax(dy.size(), 255);
    const CpuDevice cpu;
    compute(cpu, MaxPoolForward<float>{s, x.data(), y.data(), argmax.data()});
    compute(cpu, MaxPoolBackward<float>{s, dy.data(), dy2.empty() ? nullptr : dy2.data(), argmax.data(), dx.data()});
    Doubles edx(x.size());
    for (size_t o = 0; o < dy.size(); ++o) {
        const size_t c = o % s.c, q = o / s.c % s.out_w(), p = o / s.c / s.out_w() % s.out_h();
        const size_t n = o / s.c / s.out_w() / s.out_h();
        double best = -1e30;
        size_t where = 0, from = 0;
        for (size_t r = 0; r < s.kernel; ++r)
            for (size_t t = 0; t < s.kernel; ++t) {
                const long i = long(p * s.stride + r) - long(s.padding), j = long(q * s.stride + t) - long(s.padding);
                if (i < 0 || j < 0 || i >= long(s.h) || j >= long(s.w)) continue;
                const size_t at = ((n * s.h + size_t(i)) * s.w + size_t(j)) * s.c + c;
                if (x[at] > best) best = x[at], where = r * s.kernel + t, from = at;
            }
        ASSERT_EQ(y[o], best);
        ASSERT_EQ(argmax[o], where);
        edx[from] += dy[o] + (dy2.empty() ? 0 : dy2[o]);
    }
    expect_close(edx, dx, 1e-6);
    Floats again = unwritten(dy.size());
    compute(cpu, MaxPoolForward<float>{s, x.data(), again.data(), nullptr});
    EXPECT_EQ(again, y);
}

INSTANTIATE_TEST_SUITE_P(shapes, MaxPoolCpu,
                         testing::Values(MaxPoolShape{1, 1, 1, 1, 1, 1, 0}, MaxPoolShape{2, 7, 9, 33, 3, 2, 1},
                                         MaxPoolShape{1, 16, 16, 64, 3, 2, 1}, MaxPoolShape{1, 13, 7, 70, 5, 1, 2},
                                         MaxPoolShape{3, 6, 6, 3, 2, 2, 0}, MaxPoolShape{1, 5, 33, 130, 13, 1, 6},
                                         MaxPoolShape{1, 20, 18, 5, 2, 3, 1}, MaxPoolShape{1, 33, 1, 7, 3, 3, 1}));

TEST(MaxPoolCpuValues, nan_wins_and_minus_infinity_is_a_value) {
    const float nan = std::nanf(""), lowest = -std::numeric_limits<float>::infinity();
    const Floats x = {lowest, lowest, lowest, lowest, 1, nan, 3, nan};
    Floats y(2);
    uint8_t argmax[2];
    compute(CpuDevice(), MaxPoolForward<float>{{2, 2, 2, 1, 2, 2, 0}, x.data(), y.data(), argmax});
    EXPECT_EQ(y[0], lowest);
    EXPECT_EQ(argmax[0], 0);
    EXPECT_TRUE(std::isnan(y[1]));
    EXPECT_EQ(argmax[1], 1);
}

TEST(GlobalAveragePoolCpu, is_the_mean_and_spreads_its_gradient) {
    for (const auto& [n, pixels, c] :
         {std::tuple<size_t, size_t, size_t>{1, 1, 1}, {3, 49, 33}, {2, 4, 2048}, {1, 513, 7}}) {
        const Floats x = random_floats(n * pixels * c, 1, 3), dy = random_floats(n * c, 2);
        Floats y = unwritten(n * c), dx = unwritten(x.size());
        compute(CpuDevice(), GlobalAveragePoolForward<float>{n, pixels, c, x.data(), y.data()});
        compute(CpuDevice(), GlobalAveragePoolBackward<float>{n, pixels, c, dy.data(), dx.data()});
        Doubles ey(n * c);
        for (size_t i = 0; i < x.size(); ++i) ey[i / c / pixels * c + i % c] += double(x[i]) / double(pixels);
        expect_close(ey, y, 1e-6);
        for (size_t i = 0; i < x.size(); ++i) ASSERT_FLOAT_EQ(dx[i], dy[i / c / pixels * c + i % c] / float(pixels));
    }
}

TEST(PlainLoopsCpu, allocate_nothing) {
    const CpuDevice cpu;
    const size_t rows = 1024, c = 64, n = rows * c;
    Floats a = random_floats(n, 1), b = random_floats(n, 2), y(4 * n), p(4 * n), channel[8];
    for (Floats& values : channel) values = Floats(c, 1);
    std::vector<uint8_t> argmax(n);
    std::vector<int32_t> labels(rows, 3);
    StepState state;
    float loss, correct[2];
    const BatchNormShape shape{.rows = rows, .channels = c, .activation = Activation::relu};
    const MaxPoolShape pool{1, 32, 32, c, 3, 2, 1};
    const auto everything = [&] {
        compute(cpu, BatchNormForward<float>{shape, 0.1f, a.data(), channel[0].data(), channel[1].data(), b.data(),
                                             channel[2].data(), channel[3].data(), y.data(), channel[4].data(),
                                             channel[5].data()});
        compute(cpu, BatchNormBackward<float>{shape, a.data(), y.data(), b.data(), a.data(), channel[0].data(),
                                              channel[1].data(), channel[4].data(), channel[5].data(), p.data(),
                                              channel[6].data(), channel[7].data(), nullptr});
        compute(cpu, BiasBackward<float>{rows, c, a.data(), channel[2].data()});
        compute(cpu, Add<float>{n, a.data(), b.data(), y.data()});
        compute(cpu, CopyChannels<float>{.rows = rows,
                                         .channels = c,
                                         .x_pitch = c,
                                         .x_offset = 0,
                                         .y_pitch = c,
                                         .y_offset = 0,
                                         .x = a.data(),
                                         .y = y.data()});
        compute(cpu, Upsample2<float>{1, 32, 32, c, a.data(), y.data()});
        compute(cpu, Upsample2Backward<float>{1, 32, 32, c, y.data(), p.data()});
        compute(cpu, MaxPoolForward<float>{pool, a.data(), y.data(), argmax.data()});
        compute(cpu, MaxPoolBackward<float>{pool, y.data(), nullptr, argmax.data(), p.data()});
        compute(cpu, GlobalAveragePoolForward<float>{1, rows, c, a.data(), y.data()});
        compute(cpu, GlobalAveragePoolBackward<float>{1, rows, c, y.data(), p.data()});
        compute(cpu, CrossEntropyForward{
                         {rows, c, 0.1f}, a.data(), labels.data(), nullptr, &loss, y.data(), p.data(), correct});
        compute(cpu, CrossEntropyBackward{{rows, c, 0.1f}, p.data(), labels.data(), nullptr, &loss, y.data()});
        compute(cpu, CheckFinite<float>{n, b.data(), &state});
        compute(cpu, SgdStep<float>{n, 0, false, &state, b.data(), y.data(), p.data(), nullptr});
        compute(cpu, FinishStep{.growth_interval = 0, .max_scale = 1, .state = &state});
    };
    everything();
    const size_t before = allocations;
    everything();
    EXPECT_EQ(allocations, before);
}
}  // namespace
