// Convolution and linear in bf16 on the CPU against sums of doubles, for every instruction set that this machine has:
// within one rounding to bf16, and the same bits with any number of threads and images. 1 s of CPU
// time, more where waiting threads spin.
#include <array>

#include "kernels/conv/bf16.h"
#include "kernels/conv/cpu.h"
#include "kernels/conv/onednn.h"
#include "kernels/linear.h"
#include "tests/conv_cases.h"

static bool operator==(const bf16& a, const bf16& b) { return a.bits == b.bits; }

namespace {
using Halves = std::vector<bf16>;

Halves rounded(const Floats& values) {
    Halves result;
    for (const float value : values) result.push_back(bf16(value));
    return result;
}
Floats widened(const Halves& values) {
    Floats result;
    for (const bf16 value : values) result.push_back(float(value));
    return result;
}
Halves unwritten_halves(size_t count) { return rounded(unwritten(count)); }

// Half a unit of the last place of bf16, and `rest` of the largest value for sums of floats in another order. A result
// that was cut off instead of rounded, or rounded once more on the way, is outside.
void expect_rounded(const Floats& expected, const Halves& result, const char* what, double rest = 1e-5) {
    ASSERT_EQ(expected.size(), result.size()) << what;
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::fabs(value));
    for (size_t i = 0; i < result.size(); ++i)
        ASSERT_LE(std::fabs(double(expected[i]) - double(float(result[i]))),
                  0x1.01p-8 * std::fabs(double(expected[i])) + rest * largest)
            << what << "[" << i << "]: expected " << expected[i] << ", got " << float(result[i]);
}

std::vector<const Bf16Loops*> all_loops() {
    std::vector<const Bf16Loops*> all;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&bf16_loops_avx2);
    if (bf16_loops() == &bf16_loops_avx512) all.push_back(&bf16_loops_avx512);
#endif
    return all;
}

bool has_avx512() { return bf16_loops() && bf16_loops()->lanes == 16; }

struct ConvBf16 : testing::TestWithParam<ConvShape> {
    const ConvShape s = GetParam();
    const Halves x = rounded(random_floats(s.x_count(), 1)), weight = rounded(random_weight(s)),
                 dy = rounded(random_floats(s.y_count(), 3)), residual = rounded(random_floats(s.y_count(), 4));
    const Floats bias = random_floats(s.c_out, 5), x_floats = widened(x), weight_floats = widened(weight),
                 dy_floats = widened(dy), residual_floats = widened(residual);
    const CpuDevice cpu{2}, one{1}, three{3};
};

// With and without bias, residual and activation.
TEST_P(ConvBf16, forward) {
    for (size_t i = 0; i < 4; ++i) {
        const Activation activation = std::array{Activation::none, Activation::relu, Activation::silu}[i % 3];
        const size_t follow = (s.c_in + i + i / 3) % 4;  // other combinations for other shapes
        Floats expected = unwritten(s.y_count());
        compute_direct(cpu, ConvForward<float>{.shape = s,
                                               .activation = activation,
                                               .residual_last = follow == 2,
                                               .x = x_floats.data(),
                                               .weight = weight_floats.data(),
                                               .bias = follow != 3 ? bias.data() : nullptr,
                                               .residual = follow ? residual_floats.data() : nullptr,
                                               .y = expected.data()});
        ConvForward<bf16> op{.shape = s,
                             .activation = activation,
                             .residual_last = follow == 2,
                             .x = x.data(),
                             .weight = weight.data(),
                             .bias = follow != 3 ? bias.data() : nullptr,
                             .residual = follow ? residual.data() : nullptr,
                             .y = nullptr};
        const auto check = [&](const auto& run) {
            Halves y = unwritten_halves(s.y_count()), again = y, in_place = residual;
            op.y = y.data(), run(cpu, op);
            expect_rounded(expected, y, "y", activation == Activation::silu ? 1.1e-4 : 1e-5);  // 2^x there is a cubic
            op.y = again.data(), run(one, op);
            EXPECT_EQ(y, again) << "one thread";
            if (!op.residual) return;
            op.y = in_place.data(), op.residual = in_place.data(), run(cpu, op);
            EXPECT_EQ(y, in_place) << "residual in place";
            op.residual = residual.data();
        };
        for (const Bf16Loops* const loops : all_loops()) {
            SCOPED_TRACE(loops->lanes);
            check([&](const Cpu& device, const auto& now) { bf16_compute(device, now, *loops); });
        }
        check([](const Cpu& device, const auto& now) { compute(device, now); });
        if (has_avx512()) {  // as with AMX: the sums are rounded before SiLU once more
            Halves y = unwritten_halves(s.y_count()), in_place = residual;
            op.y = y.data();
            onednn::convolve(cpu, op);
            expect_rounded(expected, y, "oneDNN", 0x1p-7);
            op.y = in_place.data();
            if (op.residual) op.residual = in_place.data();
            onednn::convolve(cpu, op);
            expect_rounded(expected, in_place, "oneDNN in place", 0x1p-7);
            op.residual = op.residual ? residual.data() : nullptr;
        }
        Halves direct = unwritten_halves(s.y_count());
        op.y = direct.data();
        compute_direct(cpu, op);
        EXPECT_EQ(rounded(expected), direct) << "loops.cpp";
    }
}

TEST_P(ConvBf16, backward) {
    Floats dx = unwritten(s.x_count()), dweight = unwritten(s.weight_count());
    compute_direct(cpu, ConvBackwardData<float>{s, dy_floats.data(), weight_floats.data(), dx.data()});
    compute_direct(cpu, ConvBackwardWeight<float>{s, x_floats.data(), dy_floats.data(), dweight.data()});
    const auto check = [&](const auto& run) {
        const auto on = [&](const Cpu& device) {
            std::pair result{unwritten_halves(s.x_count()), unwritten_halves(s.weight_count())};
            run(device, ConvBackwardData<bf16>{s, dy.data(), weight.data(), result.first.data()});
            run(device, ConvBackwardWeight<bf16>{s, x.data(), dy.data(), result.second.data()});
            return result;
        };
        const auto result = on(cpu);
        expect_rounded(dx, result.first, "dx");
        expect_rounded(dweight, result.second, "dweight");
        EXPECT_TRUE(on(one) == result) << "one thread";
        EXPECT_TRUE(on(three) == result) << "three threads";
    };
    for (const Bf16Loops* const loops : all_loops()) {
        SCOPED_TRACE(loops->lanes);
        check([&](const Cpu& device, const auto& op) { bf16_compute(device, op, *loops); });
    }
    check([](const Cpu& device, const auto& op) { compute(device, op); });
    if (has_avx512()) {  // as with AMX; oneDNN's gradient of the weights differs with the number of threads
        Halves by_onednn_dx = unwritten_halves(s.x_count()), by_onednn_dweight = unwritten_halves(s.weight_count());
        onednn::convolve(cpu, ConvBackwardData<bf16>{s, dy.data(), weight.data(), by_onednn_dx.data()});
        onednn::convolve(cpu, ConvBackwardWeight<bf16>{s, x.data(), dy.data(), by_onednn_dweight.data()});
        expect_rounded(dx, by_onednn_dx, "oneDNN's dx");
        expect_rounded(dweight, by_onednn_dweight, "oneDNN's dweight");
    }
    Halves direct_dx = unwritten_halves(s.x_count()), direct_dweight = unwritten_halves(s.weight_count());
    compute_direct(cpu, ConvBackwardData<bf16>{s, dy.data(), weight.data(), direct_dx.data()});
    compute_direct(cpu, ConvBackwardWeight<bf16>{s, x.data(), dy.data(), direct_dweight.data()});
    EXPECT_EQ(rounded(dx), direct_dx) << "loops.cpp";
    EXPECT_EQ(rounded(dweight), direct_dweight) << "loops.cpp";
}

INSTANTIATE_TEST_SUITE_P(shapes, ConvBf16, testing::ValuesIn(conv_shapes));
// Strides above 2, a kernel with odd sides, layers of YOLO: many channels on few pixels, the 80 channels of YOLOv5x.
INSTANTIATE_TEST_SUITE_P(more_shapes, ConvBf16,
                         testing::Values(ConvShape{1, 14, 14, 48, 112, 1, 1, 3},
                                         ConvShape{1, 9, 20, 31, 35, 5, 3, 3, 2},
                                         ConvShape{1, 17, 23, 80, 80, 3, 3, 1, 1},
                                         ConvShape{1, 19, 22, 80, 160, 3, 3, 2, 1},
                                         ConvShape{2, 3, 4, 640, 40, 3, 3, 1, 1}, ConvShape{1, 50, 60, 16, 16, 1, 1}));

// An image's result does not depend on the images beside it.
TEST(ConvBf16Images, do_not_matter) {
    const CpuDevice cpu;
    for (ConvShape s : conv_shapes) {
        s.n = 3;
        const Halves x = rounded(random_floats(s.x_count(), 1)), weight = rounded(random_weight(s));
        Halves y(s.y_count()), alone(s.y_count() / 3);
        ConvForward<bf16> op{.shape = s,
                             .x = x.data(),
                             .weight = weight.data(),
                             .bias = nullptr,
                             .residual = nullptr,
                             .y = y.data(),
                             .weight_is_constant = true};
        compute(cpu, op);
        op.shape.n = 1, op.y = alone.data();
        for (size_t n = 0; n < 3; ++n) {
            op.x = x.data() + n * s.x_count() / 3;
            compute(cpu, op);
            EXPECT_TRUE(std::equal(alone.begin(), alone.end(), y.begin() + ptrdiff_t(n * alone.size())));
        }
        drop_packed_weights(weight.data(), weight.size() * sizeof(bf16));
    }
}

TEST(ConvBf16Weights, are_packed_until_forgotten) {
    const CpuDevice cpu;
    if (all_loops().empty()) GTEST_SKIP() << "by the loops";
    for (const size_t stride : {1, 2}) {
        const ConvShape s{1, 9, 9, 32, 48, 3, 3, stride, 1};
        const Halves x = rounded(random_floats(s.x_count(), 1));
        Halves weight = rounded(random_weight(s)), y(s.y_count()), plain(s.y_count());
        ConvForward<bf16> op{.shape = s,
                             .x = x.data(),
                             .weight = weight.data(),
                             .bias = nullptr,
                             .residual = nullptr,
                             .y = y.data(),
                             .weight_is_constant = true};
        const size_t before = packed_weight_count();
        compute(cpu, op);
        EXPECT_EQ(packed_weight_count(), before) << "a single run needs no memory";
        for (int i = 0; i < 2; ++i) compute(cpu, op);
        EXPECT_EQ(packed_weight_count(), before + 1);
        for (bf16& value : weight) value = bf16(-2 * float(value));
        drop_packed_weights(weight.data(), weight.size() * sizeof(bf16));
        EXPECT_EQ(packed_weight_count(), before);
        for (int i = 0; i < 2; ++i) compute(cpu, op);
        op.y = plain.data(), op.weight_is_constant = false;
        compute(cpu, op);
        EXPECT_EQ(y, plain);
        drop_packed_weights(weight.data(), weight.size() * sizeof(bf16));
    }
}

// One network sees images of several sizes, which want its weights packed in different ways (Winograd's for large
// ones).
TEST(ConvBf16Weights, serve_large_and_small_images) {
    const ConvShape large{1, 20, 15, 128, 128, 3, 3, 1, 1}, small{1, 20, 12, 128, 128, 3, 3, 1, 1};
    const Halves weight = rounded(random_weight(large)), x = rounded(random_floats(large.x_count(), 1));
    const Halves of_large = weight, of_small = weight;
    const CpuDevice cpu;
    const auto y_of = [&](const ConvShape& s, const Halves& w) {
        Halves y(s.y_count());
        compute(cpu, ConvForward<bf16>{.shape = s,
                                       .x = x.data(),
                                       .weight = w.data(),
                                       .bias = nullptr,
                                       .residual = nullptr,
                                       .y = y.data(),
                                       .weight_is_constant = true});
        return y;
    };
    for (int round = 0; round < 3; ++round) {  // packed weights are kept from the second use on
        EXPECT_TRUE(y_of(large, weight) == y_of(large, of_large)) << round;
        EXPECT_TRUE(y_of(small, weight) == y_of(small, of_small)) << round;
    }
    for (const Halves* w : {&weight, &of_large, &of_small}) drop_packed_weights(w->data(), w->size() * sizeof(bf16));
}

TEST(ConvBf16Scratch, of_resnet50_fits_into_what_a_device_has) {
    for (const auto& [n, size] : {std::pair<size_t, size_t>{8, 224}, {64, 224}, {256, 64}})
        for (const ConvShape& s : resnet50(n, size))
            for (const int threads : {1, 2, 16, 96, 256}) {
                Cpu cpu;
                cpu.threads = threads;
                ConvForward<bf16> forward{
                    .shape = s, .x = nullptr, .weight = nullptr, .bias = nullptr, .residual = nullptr, .y = nullptr};
                size_t most = std::max({scratch_bytes(cpu, forward),
                                        scratch_bytes(cpu, ConvBackwardData<bf16>{s, nullptr, nullptr, nullptr}),
                                        scratch_bytes(cpu, ConvBackwardWeight<bf16>{s, nullptr, nullptr, nullptr})});
                forward.weight_is_constant = true;
                most = std::max(most, scratch_bytes(cpu, forward));
                EXPECT_LE(most, Cpu::scratch_reserved(threads))
                    << threads << " threads, " << n << " times " << s.h << "x" << s.w << ", " << s.c_in << " to "
                    << s.c_out << " channels, kernel " << s.kernel_h;
            }
}

TEST(LinearBf16, follows_the_formula) {
    const CpuDevice cpu, one(1);
    for (const LinearShape shape : {LinearShape{1, 1, 1}, {3, 7, 33}, {33, 513, 3}, {8, 2048, 2}, {70, 33, 1000}}) {
        const size_t rows = shape.rows, in = shape.in, out = shape.out;
        const Halves x = rounded(random_floats(rows * in, 1)), weight = rounded(random_floats(out * in, 2));
        const Floats bias = random_floats(out, 3), dy = random_floats(rows * out, 4);
        Floats ey(rows * out), edx(rows * in), edweight(out * in), edbias(out);
        const auto dot = [](size_t count, const auto& product) {
            double sum = 0;
            for (size_t i = 0; i < count; ++i) sum += product(i);
            return sum;
        };
        for (size_t r = 0; r < rows; ++r)
            for (size_t k = 0; k < out; ++k)
                ey[r * out + k] = float(bias[k] + dot(in, [&](size_t i) {
                                            return double(float(x[r * in + i])) * double(float(weight[k * in + i]));
                                        }));
        for (size_t r = 0; r < rows; ++r)
            for (size_t i = 0; i < in; ++i)
                edx[r * in + i] = float(
                    dot(out, [&](size_t k) { return double(dy[r * out + k]) * double(float(weight[k * in + i])); }));
        for (size_t k = 0; k < out; ++k) {
            edbias[k] = float(dot(rows, [&](size_t r) { return double(dy[r * out + k]); }));
            for (size_t i = 0; i < in; ++i)
                edweight[k * in + i] =
                    float(dot(rows, [&](size_t r) { return double(dy[r * out + k]) * double(float(x[r * in + i])); }));
        }
        const auto check = [&](const Cpu& device) {
            Floats y = unwritten(rows * out), dbias = unwritten(out);
            Halves dx = unwritten_halves(rows * in), dweight = unwritten_halves(out * in);
            compute(device, LinearForward<bf16>{shape, x.data(), weight.data(), bias.data(), y.data()});
            compute(device, LinearBackward<bf16>{shape, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(),
                                                 dbias.data()});
            expect_close(ey, y, 5e-6, "y");
            expect_rounded(edx, dx, "dx");
            expect_rounded(edweight, dweight, "dweight");
            expect_close(edbias, dbias, 1e-6, "dbias");
            return std::tuple{y, dx, dweight, dbias};
        };
        EXPECT_TRUE(check(cpu) == check(one));
        Floats y = unwritten(rows * out);
        compute(cpu, LinearForward<bf16>{shape, x.data(), weight.data(), nullptr, y.data()});
        for (size_t i = 0; i < rows * out; ++i) ey[i] -= bias[i % out];
        expect_close(ey, y, 5e-6, "y without bias");
        compute(cpu, LinearBackward<bf16>{shape, x.data(), weight.data(), dy.data(), nullptr, nullptr, nullptr});
    }
}
}  // namespace
