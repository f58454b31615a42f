// Convolution and linear on the CPU: oneDNN against the loops, the loops against the formula of conv.h in the test.
#include "kernels/conv/conv.h"

#include <array>

#include "kernels/conv/cpu.h"
#include "kernels/conv/onednn.h"
#include "kernels/linear.h"
#include "tests/conv_cases.h"

namespace {
// Sums of up to 5000 products of floats, in another order.
constexpr double tolerance = 5e-6;

class ConvCpu : public testing::TestWithParam<ConvShape> {};

double naive_forward(const ConvShape& s, const Floats& x, const Floats& weight, size_t n, size_t p, size_t q,
                     size_t k) {
    double sum = 0;
    for (size_t r = 0; r < s.kernel_h; ++r)
        for (size_t t = 0; t < s.kernel_w; ++t)
            for (size_t c = 0; c < s.c_in; ++c) {
                const long i = long(p * s.stride + r) - long(s.padding), j = long(q * s.stride + t) - long(s.padding);
                if (i < 0 || j < 0 || i >= long(s.h) || j >= long(s.w)) continue;
                sum += double(x[((n * s.h + i) * s.w + j) * s.c_in + c]) *
                       double(weight[((k * s.kernel_h + r) * s.kernel_w + t) * s.c_in + c]);
            }
    return sum;
}

TEST_P(ConvCpu, loops_follow_the_formula) {
    const ConvShape s = GetParam();
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    Floats y = unwritten(s.y_count());
    compute_direct(
        CpuDevice(),
        ConvForward<float>{
            .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y.data()});
    std::mt19937 generator(3);
    for (int i = 0; i < 100; ++i) {
        const size_t k = generator() % s.c_out, q = generator() % s.out_w(), p = generator() % s.out_h(),
                     n = generator() % s.n;
        EXPECT_NEAR(y[((n * s.out_h() + p) * s.out_w() + q) * s.c_out + k], naive_forward(s, x, weight, n, p, q, k),
                    1e-4);
    }
}

// <dy, conv(x, w)> = <dx, x> = <dw, w>: forward is linear in x and in w, so its gradients are adjoint to it.
TEST_P(ConvCpu, gradients_are_adjoint_to_forward) {
    const ConvShape s = GetParam();
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    const Floats dy = random_floats(s.y_count(), 3);
    Floats y = unwritten(s.y_count()), dx = unwritten(s.x_count()), dweight = unwritten(s.weight_count());
    const CpuDevice cpu;
    compute_direct(
        cpu,
        ConvForward<float>{
            .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y.data()});
    compute_direct(cpu, ConvBackwardData<float>{s, dy.data(), weight.data(), dx.data()});
    compute_direct(cpu, ConvBackwardWeight<float>{s, x.data(), dy.data(), dweight.data()});
    const auto dot = [](const Floats& a, const Floats& b) {
        double sum = 0;
        for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
        return sum;
    };
    const double scale = std::sqrt(double(s.y_count()));
    EXPECT_NEAR(dot(dy, y) / scale, dot(dx, x) / scale, 1e-5);
    EXPECT_NEAR(dot(dy, y) / scale, dot(dweight, weight) / scale, 1e-5);
}

TEST_P(ConvCpu, onednn_matches_the_loops) {
    const ConvShape s = GetParam();
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    const Floats dy = random_floats(s.y_count(), 3);
    const CpuDevice cpu;
    Floats y = unwritten(s.y_count()), dx = unwritten(s.x_count()), dweight = unwritten(s.weight_count());
    Floats y2 = y, dx2 = dx, dweight2 = dweight;
    ConvForward<float> forward{
        .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y.data()};
    ConvBackwardData<float> backward_data{s, dy.data(), weight.data(), dx.data()};
    ConvBackwardWeight<float> backward_weight{s, x.data(), dy.data(), dweight.data()};
    compute(cpu, forward);
    compute(cpu, backward_data);
    compute(cpu, backward_weight);
    forward.y = y2.data(), backward_data.dx = dx2.data(), backward_weight.dweight = dweight2.data();
    compute_direct(cpu, forward);
    compute_direct(cpu, backward_data);
    compute_direct(cpu, backward_weight);
    expect_close(y2, y, tolerance, "y");
    expect_close(dx2, dx, tolerance, "dx");
    expect_close(dweight2, dweight, tolerance, "dweight");
}

// Eight combinations of bias, residual and activation.
TEST_P(ConvCpu, onednn_matches_the_loops_with_all_that_follows) {
    const ConvShape s = GetParam();
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    const Floats bias = random_floats(s.c_out, 3), residual = random_floats(s.y_count(), 4);
    const CpuDevice cpu;
    for (size_t i = 0; i < 8; ++i) {
        const Activation activation = std::array{Activation::none, Activation::relu, Activation::silu}[i % 3];
        const size_t follow = (s.c_in + i + i / 4) % 4;  // other combinations for other shapes
        Floats y = unwritten(s.y_count()), y2 = y;
        ConvForward<float> op{.shape = s,
                              .activation = activation,
                              .residual_last = follow == 2,
                              .x = x.data(),
                              .weight = weight.data(),
                              .bias = follow != 3 ? bias.data() : nullptr,
                              .residual = follow ? residual.data() : nullptr,
                              .y = y.data()};
        compute(cpu, op);
        op.y = y2.data();
        compute_direct(cpu, op);
        expect_close(y2, y, tolerance);
        if (!op.residual) continue;
        Floats in_place = residual;
        op.residual = op.y = in_place.data();
        compute(cpu, op);
        expect_close(y2, in_place, tolerance, "residual in place");
    }
}

INSTANTIATE_TEST_SUITE_P(shapes, ConvCpu, testing::ValuesIn(conv_shapes));

TEST(ConvCpuPrimitives, are_created_once) {
    const CpuDevice cpu;
    const ConvShape s{2, 9, 9, 32, 48, 3, 3, 1, 1};
    const Floats x = random_floats(s.x_count(), 1), dy = random_floats(s.y_count(), 3);
    Floats weight = random_weight(s), y(s.y_count()), dx(s.x_count()), dweight(s.weight_count());
    const auto step = [&] {
        compute(cpu, ConvForward<float>{.shape = s,
                                        .activation = Activation::relu,
                                        .x = x.data(),
                                        .weight = weight.data(),
                                        .bias = nullptr,
                                        .residual = nullptr,
                                        .y = y.data()});
        compute(cpu, ConvBackwardData<float>{s, dy.data(), weight.data(), dx.data()});
        compute(cpu, ConvBackwardWeight<float>{s, x.data(), dy.data(), dweight.data()});
    };
    if (!onednn::supports_this_cpu()) GTEST_SKIP() << "by the loops";
    const size_t before = conv_primitives_created();
    step();
    const size_t after = conv_primitives_created();
    EXPECT_GT(after, before);
    const Floats first = y, first_dx = dx, first_dweight = dweight;
    step();
    EXPECT_EQ(conv_primitives_created(), after);
    EXPECT_EQ(first, y);
    EXPECT_EQ(first_dx, dx);
    EXPECT_EQ(first_dweight, dweight);
}

TEST(ConvCpuPrimitives, constant_weights_are_packed_until_forgotten) {
    const CpuDevice cpu;
    for (const size_t stride : {1, 2}) {  // by Winograd's method where the machine has it, by oneDNN
        const ConvShape s{1, 9, 9, 32, 48, 3, 3, stride, 1};
        const Floats x = random_floats(s.x_count(), 1);
        Floats weight = random_weight(s), y(s.y_count()), expected(s.y_count());
        ConvForward<float> op{.shape = s,
                              .x = x.data(),
                              .weight = weight.data(),
                              .bias = nullptr,
                              .residual = nullptr,
                              .y = y.data(),
                              .weight_is_constant = true};
        compute(cpu, op);
        compute(cpu, op);
        op.y = expected.data();
        compute_direct(cpu, op);
        expect_close(expected, y, tolerance);
        for (float& value : weight) value *= -2;
        drop_packed_weights(weight.data(), weight.size() * sizeof(float));
        compute_direct(cpu, op);
        op.y = y.data();
        compute(cpu, op);
        expect_close(expected, y, tolerance);
        drop_packed_weights(weight.data(), weight.size() * sizeof(float));
    }
}

TEST(ConvCpuPrimitives, name_the_scratch_memory_that_is_missing) {
    if (!onednn::supports_this_cpu()) GTEST_SKIP() << "by the loops";
    const ConvShape s{1, 9, 9, 32, 48, 3, 3, 1, 1};
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    Floats y(s.y_count());
    const ConvForward<float> op{
        .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y.data()};
    const CpuDevice small(2, 8);
    EXPECT_THROW(compute(small, op), std::length_error);
    const CpuDevice enough(2, scratch_bytes(small, op));
    EXPECT_NO_THROW(compute(enough, op));
}

TEST(ConvCpuScratch, of_resnet50_fits_into_what_a_device_has) {
    const float some = 0;
    for (const auto& [n, size] : {std::pair<size_t, size_t>{8, 224}, {64, 224}, {32, 64}, {256, 64}, {1024, 64}})
        for (const ConvShape& s : resnet50(n, size))
            for (const int threads : {1, 2, 16, 96, 256}) {
                Cpu cpu;
                cpu.threads = threads;
                ConvForward<float> forward{
                    .shape = s, .x = nullptr, .weight = nullptr, .bias = nullptr, .residual = nullptr, .y = nullptr};
                size_t most = std::max({scratch_bytes(cpu, forward),
                                        scratch_bytes(cpu, ConvBackwardData<float>{s, nullptr, nullptr, nullptr}),
                                        scratch_bytes(cpu, ConvBackwardWeight<float>{s, nullptr, nullptr, nullptr})});
                forward.bias = &some, forward.activation = Activation::relu, forward.weight_is_constant = true;
                most = std::max(most, scratch_bytes(cpu, forward));
                EXPECT_LE(most, Cpu::scratch_reserved(threads))
                    << threads << " threads, " << n << " times " << s.h << "x" << s.w << ", " << s.c_in << " to "
                    << s.c_out << " channels, kernel " << s.kernel_h;
            }
}

TEST(LinearCpu, matches_double) {
    const CpuDevice cpu;
    for (const auto& [rows, in, out] : {LinearShape{1, 1, 1}, {3, 7, 33}, {33, 513, 3}, {8, 2048, 2}, {70, 33, 1000}}) {
        const Floats x = random_floats(rows * in, 1), weight = random_floats(out * in, 2), bias = random_floats(out, 3);
        const Floats dy = random_floats(rows * out, 4);
        Floats y = unwritten(rows * out), dx = unwritten(rows * in), dweight = unwritten(out * in),
               dbias = unwritten(out);
        Doubles ey(rows * out), edx(rows * in), edweight(out * in), edbias(out);
        for (size_t r = 0; r < rows; ++r)
            for (size_t o = 0; o < out; ++o) {
                ey[r * out + o] = bias[o];
                edbias[o] += dy[r * out + o];
                for (size_t i = 0; i < in; ++i) {
                    ey[r * out + o] += double(x[r * in + i]) * double(weight[o * in + i]);
                    edx[r * in + i] += double(dy[r * out + o]) * double(weight[o * in + i]);
                    edweight[o * in + i] += double(dy[r * out + o]) * double(x[r * in + i]);
                }
            }
        const LinearShape shape{rows, in, out};
        compute(cpu, LinearForward<float>{shape, x.data(), weight.data(), bias.data(), y.data()});
        compute(cpu, LinearBackward<float>{shape, x.data(), weight.data(), dy.data(), dx.data(), dweight.data(),
                                           dbias.data()});
        expect_close(ey, y, tolerance, "y");
        expect_close(edx, dx, tolerance, "dx");
        expect_close(edweight, dweight, tolerance, "dweight");
        expect_close(edbias, dbias, 1e-6, "dbias");
        compute(cpu, LinearForward<float>{shape, x.data(), weight.data(), nullptr, y.data()});
        for (size_t i = 0; i < rows * out; ++i) ey[i] -= bias[i % out];
        expect_close(ey, y, tolerance, "y without bias");
        compute(cpu, LinearBackward<float>{shape, x.data(), weight.data(), dy.data(), nullptr, nullptr, nullptr});
    }
}
}  // namespace
