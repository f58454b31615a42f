// Elementwise operations, layout, bias, optimizers and cross-entropy on the CPU against their headers' formulas in
// double.
#include <algorithm>
#include <tuple>

#include "kernels/bias.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/layout.h"
#include "kernels/optimizer.h"
#include "kernels/vector_math.h"
#include "tests/cpu_fixture.h"

namespace {
constexpr size_t sizes[] = {1, 3, 7, 33, 513, 20001};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

TEST(ElementwiseCpu, add) {
    const CpuDevice cpu;
    for (const size_t n : sizes) {
        const Floats a = random_floats(n, 1), b = random_floats(n, 2);
        Floats y = unwritten(n);
        compute(cpu, Add<float>{.count = n, .a = a.data(), .b = b.data(), .y = y.data()});
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(y[i], a[i] + b[i]);
    }
}

TEST(VectorMath, silu_and_its_derivative) {
    for (const float x : random_floats(20001, 1, 0, 5)) {
        const double v = x, s = sigmoid_of(v);
        ASSERT_NEAR(sigmoid(x), s, 1e-6);
        ASSERT_NEAR(silu(x), v * s, 1e-6 * std::max(1.0, std::fabs(v * s)));
        ASSERT_NEAR(silu_grad(x), s * (1 + v * (1 - s)), 1e-6);
    }
}

TEST(VectorMath, huge_numbers_saturate_and_nan_stays) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float x : {-infinity, -200.0f, -88.0f}) EXPECT_NEAR(sigmoid(x), 0, 1e-37);
    for (const float x : {88.0f, 200.0f, infinity}) EXPECT_EQ(sigmoid(x), 1);
    EXPECT_TRUE(std::isnan(sigmoid(std::nanf(""))));
    EXPECT_NEAR(silu(-88), 0, 1e-35);
    EXPECT_EQ(silu(200), 200);
    EXPECT_TRUE(std::isnan(silu(std::nanf(""))));
}

TEST(LayoutCpu, copies_channels_between_pitches) {
    for (const auto& [rows, channels] : {std::pair<size_t, size_t>{1, 1}, {33, 7}, {513, 3}, {70, 64}}) {
        const size_t x_pitch = channels + 3, y_pitch = channels + 10;
        const Floats x = random_floats(rows * x_pitch, 1);
        Floats y(rows * y_pitch, -1);
        compute(CpuDevice(), CopyChannels<float>{.rows = rows,
                                                 .channels = channels,
                                                 .x_pitch = x_pitch,
                                                 .x_offset = 2,
                                                 .y_pitch = y_pitch,
                                                 .y_offset = 4,
                                                 .x = x.data(),
                                                 .y = y.data()});
        for (size_t r = 0; r < rows; ++r)
            for (size_t c = 0; c < y_pitch; ++c)
                ASSERT_EQ(y[r * y_pitch + c], c >= 4 && c < 4 + channels ? x[r * x_pitch + 2 + c - 4] : -1);
    }
}

TEST(LayoutCpu, upsamples_and_sums_back) {
    const size_t n = 2, h = 3, w = 5, c = 7;
    const Floats x = random_floats(n * h * w * c, 1), dy = random_floats(4 * n * h * w * c, 2);
    Floats y = unwritten(dy.size()), dx = unwritten(x.size());
    compute(CpuDevice(), Upsample2<float>{n, h, w, c, x.data(), y.data()});
    compute(CpuDevice(), Upsample2Backward<float>{n, h, w, c, dy.data(), dx.data()});
    Doubles expected(x.size());
    for (size_t image = 0; image < n; ++image)
        for (size_t i = 0; i < 2 * h; ++i)
            for (size_t j = 0; j < 2 * w; ++j)
                for (size_t k = 0; k < c; ++k) {
                    const size_t small = ((image * h + i / 2) * w + j / 2) * c + k;
                    const size_t large = ((image * 2 * h + i) * 2 * w + j) * c + k;
                    ASSERT_EQ(y[large], x[small]);
                    expected[small] += dy[large];
                }
    expect_close(expected, dx, 1e-6);
}

TEST(BiasCpu, sums_rows_with_the_same_bits_for_any_number_of_threads) {
    for (const size_t rows : sizes)
        for (const size_t channels : {1, 3, 33}) {
            const Floats dy = random_floats(rows * channels, 1, 0.5f);
            Floats one = unwritten(channels), two = unwritten(channels);
            compute(CpuDevice(1), BiasBackward<float>{rows, channels, dy.data(), one.data()});
            compute(CpuDevice(2), BiasBackward<float>{rows, channels, dy.data(), two.data()});
            Doubles expected(channels);
            for (size_t i = 0; i < dy.size(); ++i) expected[i % channels] += dy[i];
            expect_close(expected, one, 1e-6);
            EXPECT_EQ(one, two);
        }
}

TEST(OptimizerCpu, sgd) {
    for (const size_t n : sizes)
        for (const bool nesterov : {false, true}) {
            const StepState state{.learning_rate = 0.1f, .momentum = 0.9f, .loss_scale = 4};
            const Floats gradient = random_floats(n, 1, 0, 4), old = random_floats(n, 2),
                         old_buffer = random_floats(n, 3);
            Floats parameter = old, buffer = old_buffer, copy = unwritten(n);
            compute(CpuDevice(), SgdStep<float>{.count = n,
                                                .weight_decay = 0.01f,
                                                .nesterov = nesterov,
                                                .state = &state,
                                                .gradient = gradient.data(),
                                                .parameter = parameter.data(),
                                                .momentum = buffer.data(),
                                                .compute_copy = copy.data()});
            for (size_t i = 0; i < n; ++i) {
                const double g = gradient[i] / 4.0 + 0.01 * old[i], b = 0.9 * old_buffer[i] + g;
                ASSERT_NEAR(buffer[i], b, 2e-6);
                ASSERT_NEAR(parameter[i], old[i] - 0.1 * (nesterov ? g + 0.9 * b : b), 2e-6);
            }
            EXPECT_EQ(copy, parameter);
        }
}

TEST(OptimizerCpu, adam_in_its_four_forms) {
    for (const size_t n : sizes)
        for (const AdamForm form : {AdamForm::torch, AdamForm::keras})
            for (const bool decoupled : {false, true}) {
                const StepState state{.learning_rate = 0.01f,
                                      .momentum = 0.9f,
                                      .bias_correction1 = 0.271f,
                                      .bias_correction2 = 0.003f,
                                      .loss_scale = 2};
                const Floats gradient = random_floats(n, 1), old = random_floats(n, 2),
                             old_first = random_floats(n, 3, 0, 0.1f);
                Floats parameter = old, first = old_first, second = random_floats(n, 4, 0, 0.1f);
                for (float& value : second) value *= value;
                const Floats old_second = second;
                const float epsilon = 1e-3f, decay = 0.05f;
                compute(CpuDevice(), AdamStep<float>{.count = n,
                                                     .weight_decay = decay,
                                                     .beta2 = 0.999f,
                                                     .epsilon = epsilon,
                                                     .decoupled = decoupled,
                                                     .form = form,
                                                     .state = &state,
                                                     .gradient = gradient.data(),
                                                     .parameter = parameter.data(),
                                                     .m = first.data(),
                                                     .v = second.data(),
                                                     .compute_copy = nullptr});
                for (size_t i = 0; i < n; ++i) {
                    double p = old[i];
                    const double g = gradient[i] / 2.0 + (decoupled ? 0 : decay * p);
                    const double m = 0.9 * old_first[i] + 0.1 * g,
                                 v = double(0.999f) * old_second[i] + (1 - double(0.999f)) * g * g;
                    if (decoupled) p *= 1 - 0.01 * decay;
                    p -= form == AdamForm::torch
                             ? 0.01 * (m / double(state.bias_correction1)) /
                                   (std::sqrt(v / double(state.bias_correction2)) + double(epsilon))
                             : 0.01 * std::sqrt(double(state.bias_correction2)) / double(state.bias_correction1) * m /
                                   (std::sqrt(v) + double(epsilon));
                    ASSERT_NEAR(first[i], m, 1e-6);
                    ASSERT_NEAR(second[i], v, 1e-6);
                    ASSERT_NEAR(parameter[i], p, 2e-6);
                }
            }
}

TEST(OptimizerCpu, a_lost_gradient_skips_the_step_and_halves_the_scale) {
    const CpuDevice cpu;
    StepState state{.learning_rate = 1, .momentum = 0.9f, .loss_scale = 1024};
    Floats gradient = random_floats(10000, 1), parameter = random_floats(10000, 2), momentum(10000);
    const Floats before = parameter;
    gradient[7] = std::numeric_limits<float>::infinity();
    gradient[9999] = std::nanf("");
    compute(cpu, CheckFinite<float>{5000, gradient.data(), &state});
    compute(cpu, CheckFinite<float>{5000, gradient.data() + 5000, &state});
    EXPECT_EQ(state.nonfinite, 2);
    const SgdStep<float> sgd{.count = 10000,
                             .weight_decay = 0,
                             .nesterov = false,
                             .state = &state,
                             .gradient = gradient.data(),
                             .parameter = parameter.data(),
                             .momentum = momentum.data(),
                             .compute_copy = nullptr};
    compute(cpu, sgd);
    EXPECT_EQ(parameter, before);
    const FinishStep finish{.growth_interval = 2, .max_scale = 1000, .state = &state};
    compute(cpu, finish);
    EXPECT_EQ(state.loss_scale, 512);
    EXPECT_EQ(state.skipped_steps, 1);
    EXPECT_EQ(state.clean_steps, 0);
    EXPECT_EQ(state.nonfinite, 0);
    compute(cpu, finish);
    EXPECT_EQ(state.loss_scale, 512);
    compute(cpu, finish);
    EXPECT_EQ(state.loss_scale, 1000);
    compute(cpu, FinishStep{.growth_interval = 0, .max_scale = 1e6f, .state = &state});
    EXPECT_EQ(state.loss_scale, 1000);
}

struct LossCase {
    size_t rows, classes;
    float smoothing;
    bool weighted, ignored;
};
class CrossEntropyCpu : public testing::TestWithParam<LossCase> {};

TEST_P(CrossEntropyCpu, matches_double) {
    const LossCase& c = GetParam();
    const size_t rows = c.rows, classes = c.classes;
    const float smoothing = c.smoothing;
    const bool weighted = c.weighted;
    Floats logits = random_floats(rows * classes, 1, 30, 8), weight = random_floats(classes, 2, 2, 0.2f);
    logits[0] = 120;  // far beyond what exp holds
    std::vector<int32_t> labels(rows);
    for (size_t r = 0; r < rows; ++r) labels[r] = c.ignored && r % 3 == 1 ? -1 : int32_t(r * 5 % classes);
    const float dloss = 2;
    float loss = std::nanf(""), correct[2];
    Floats sample = unwritten(rows), p = unwritten(rows * classes), dlogits = unwritten(rows * classes);
    const float* const class_weight = weighted ? weight.data() : nullptr;
    const CrossEntropyShape shape{rows, classes, smoothing};
    const CpuDevice cpu;
    compute(cpu, CrossEntropyForward{shape, logits.data(), labels.data(), class_weight, &loss, sample.data(), p.data(),
                                     correct});
    compute(cpu, CrossEntropyBackward{shape, p.data(), labels.data(), class_weight, &dloss, dlogits.data()});

    double total = 0, denominator = 0;
    Doubles ep(rows * classes), esample(rows), edlogits(rows * classes);
    int first = 0, fifth = 0;
    for (size_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (size_t k = 0; k < classes; ++k) sum += std::exp(double(logits[r * classes + k]));
        size_t above = 0;
        for (size_t k = 0; k < classes; ++k) {
            ep[r * classes + k] = std::exp(double(logits[r * classes + k])) / sum;
            if (labels[r] >= 0) above += logits[r * classes + k] > logits[r * classes + size_t(labels[r])];
        }
        if (labels[r] < 0) continue;
        first += above < 1, fifth += above < 5;
        const auto wq = [&](size_t k) {
            const double q = double(smoothing) / double(classes) + (k == size_t(labels[r]) ? 1 - double(smoothing) : 0);
            return q * (weighted ? double(weight[k]) : 1);
        };
        double row_weight = 0;
        for (size_t k = 0; k < classes; ++k) {
            esample[r] -= wq(k) * (double(logits[r * classes + k]) - std::log(sum));
            row_weight += wq(k);
        }
        for (size_t k = 0; k < classes; ++k)
            edlogits[r * classes + k] = dloss * (ep[r * classes + k] * row_weight - wq(k));
        total += esample[r];
        denominator += weighted ? double(weight[size_t(labels[r])]) : 1;
    }
    for (double& value : edlogits) value /= denominator;
    EXPECT_NEAR(loss, total / denominator, 1e-5 * total / denominator);
    EXPECT_EQ(correct[0], first);
    EXPECT_EQ(correct[1], fifth);
    expect_close(ep, p, 2e-6, "probabilities");
    expect_close(esample, sample, 2e-6, "sample_loss");
    expect_close(edlogits, dlogits, 2e-6, "dlogits");
}

INSTANTIATE_TEST_SUITE_P(shapes, CrossEntropyCpu,
                         testing::Values(LossCase{1, 2, 0, false, false}, LossCase{3, 7, 0.1f, false, false},
                                         LossCase{33, 33, 0, true, true}, LossCase{513, 3, 0.1f, true, true},
                                         LossCase{7, 513, 0.2f, false, true}));

TEST(CrossEntropyCpuTies, count_as_correct) {
    const Floats logits = {1, 1, 1, 1, 1, 1, 1};
    const int32_t label = 6;
    float loss, sample, correct[2];
    Floats p(7);
    compute(CpuDevice(),
            CrossEntropyForward{{1, 7, 0}, logits.data(), &label, nullptr, &loss, &sample, p.data(), correct});
    EXPECT_EQ(correct[0], 1);
    EXPECT_EQ(correct[1], 1);
    EXPECT_NEAR(loss, std::log(7.0), 1e-6);
}
}  // namespace
