// Batch normalization on the CPU against the formulas of batch_norm.h in double.
#include "kernels/batch_norm.h"

#include <tuple>

#include "tests/cpu_fixture.h"

namespace {
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

struct Case {
    size_t rows, channels;
    Activation activation = Activation::none;
    bool residual = false, second_dy = false;
    float mean = 0, deviation = 1;
};

struct Result {
    Floats y, mean, rstd, running_mean, running_var, dx, dscale, dshift, dresidual;
    bool operator==(const Result&) const = default;
};

struct Inputs {
    Floats x, scale, shift, residual, running_mean, running_var, dy, dy2;

    explicit Inputs(const Case& c)
        : x(random_floats(c.rows * c.channels, 1, c.mean, c.deviation)),
          scale(random_floats(c.channels, 2, 1, 0.3f)),
          shift(random_floats(c.channels, 3)),
          residual(random_floats(c.rows * c.channels, 4)),
          running_mean(random_floats(c.channels, 5)),
          running_var(random_floats(c.channels, 6, 3, 0.1f)),
          dy(random_floats(c.rows * c.channels, 7, 0.1f)),
          dy2(random_floats(c.rows * c.channels, 8)) {}
};

// As the plan of memory has it: dx lies where x was, the residual's gradient where dy was.
void expect_same_in_place(const Cpu& cpu, BatchNormBackward<float> op, Floats x, Floats dy, const Result& r) {
    const bool residual = op.dresidual;
    op.x = op.dx = x.data();
    op.dy = dy.data();
    if (residual) op.dresidual = dy.data();
    Floats dscale(r.dscale.size()), dshift(r.dshift.size());
    op.dscale = dscale.data(), op.dshift = dshift.data();
    compute(cpu, op);
    EXPECT_EQ(x, r.dx);
    if (residual) {
        EXPECT_EQ(dy, r.dresidual);
    }
}

Result run(const Case& c, const Inputs& in, int threads) {
    const CpuDevice cpu(threads);
    const size_t n = c.rows * c.channels;
    Result r{unwritten(n), unwritten(c.channels), unwritten(c.channels), in.running_mean, in.running_var,
             unwritten(n), unwritten(c.channels), unwritten(c.channels), unwritten(n)};
    const BatchNormShape shape{.rows = c.rows, .channels = c.channels, .activation = c.activation};
    compute(cpu, BatchNormForward<float>{.shape = shape,
                                         .momentum = 0.1f,
                                         .x = in.x.data(),
                                         .scale = in.scale.data(),
                                         .shift = in.shift.data(),
                                         .residual = c.residual ? in.residual.data() : nullptr,
                                         .running_mean = r.running_mean.data(),
                                         .running_var = r.running_var.data(),
                                         .y = r.y.data(),
                                         .mean = r.mean.data(),
                                         .rstd = r.rstd.data()});
    const BatchNormBackward<float> backward{.shape = shape,
                                            .x = in.x.data(),
                                            .y = r.y.data(),
                                            .dy = in.dy.data(),
                                            .dy2 = c.second_dy ? in.dy2.data() : nullptr,
                                            .scale = in.scale.data(),
                                            .shift = in.shift.data(),
                                            .mean = r.mean.data(),
                                            .rstd = r.rstd.data(),
                                            .dx = r.dx.data(),
                                            .dscale = r.dscale.data(),
                                            .dshift = r.dshift.data(),
                                            .dresidual = c.residual ? r.dresidual.data() : nullptr};
    compute(cpu, backward);
    expect_same_in_place(cpu, backward, in.x, in.dy, r);
    return r;
}

struct Expected {
    Doubles y, mean, rstd, running_mean, running_var, dx, dscale, dshift, dresidual;
};

Expected expect(const Case& c, const Inputs& in, const Floats& y) {
    const size_t n = c.rows * c.channels;
    const double count = double(c.rows);
    Expected e{Doubles(n), Doubles(c.channels), Doubles(c.channels), Doubles(c.channels), Doubles(c.channels),
               Doubles(n), Doubles(c.channels), Doubles(c.channels), Doubles(n)};
    for (size_t channel = 0; channel < c.channels; ++channel) {
        double mean = 0, var = 0;
        for (size_t i = channel; i < n; i += c.channels) mean += in.x[i] / count;
        for (size_t i = channel; i < n; i += c.channels) var += (in.x[i] - mean) * (in.x[i] - mean) / count;
        const double rstd = 1 / std::sqrt(var + double(1e-5f)), scale = in.scale[channel], shift = in.shift[channel];
        e.mean[channel] = mean;
        e.rstd[channel] = rstd;
        e.running_mean[channel] = 0.9 * in.running_mean[channel] + 0.1 * mean;
        e.running_var[channel] = 0.9 * in.running_var[channel] + 0.1 * var * count / (count - 1);
        Doubles g(n);
        for (size_t i = channel; i < n; i += c.channels) {
            const double xhat = (in.x[i] - mean) * rstd, z = scale * xhat + shift + (c.residual ? in.residual[i] : 0);
            const double s = sigmoid_of(z);
            e.y[i] = c.activation == Activation::relu ? std::max(z, 0.0) : c.activation == Activation::silu ? z * s : z;
            const double dy = double(in.dy[i]) + (c.second_dy ? double(in.dy2[i]) : 0);
            g[i] = c.activation == Activation::relu   ? (y[i] > 0 ? dy : 0)
                   : c.activation == Activation::silu ? dy * s * (1 + z * (1 - s))
                                                      : dy;
            e.dshift[channel] += g[i];
            e.dscale[channel] += g[i] * xhat;
            e.dresidual[i] = g[i];
        }
        for (size_t i = channel; i < n; i += c.channels)
            e.dx[i] = scale * rstd * (g[i] - (e.dshift[channel] + (in.x[i] - mean) * rstd * e.dscale[channel]) / count);
    }
    return e;
}

class BatchNormCpu : public testing::TestWithParam<Case> {};

TEST_P(BatchNormCpu, matches_double) {
    const Case c = GetParam();
    const Inputs in(c);
    const Result r = run(c, in, 2);
    const Expected e = expect(c, in, r.y);
    // x is known to one part in 2^24, so xhat to |mean| / deviation of that.
    const double input_error = 1e-7 * std::fabs(c.mean) / c.deviation, tolerance = 3e-6 + 4 * input_error;
    expect_close(e.mean, r.mean, 1e-6, "mean");
    expect_close(e.rstd, r.rstd, 1e-6, "rstd");
    expect_close(e.running_mean, r.running_mean, 1e-6, "running_mean");
    expect_close(e.running_var, r.running_var, 1e-6, "running_var");
    expect_close(e.y, r.y, tolerance, "y");
    // Sums of `rows` terms of either sign may cancel: their error is that of the terms.
    const double sum_tolerance = tolerance * std::max(1.0, std::sqrt(double(c.rows)) / 4);
    expect_close(e.dshift, r.dshift, sum_tolerance, "dshift");
    expect_close(e.dscale, r.dscale, sum_tolerance, "dscale");
    expect_close(e.dx, r.dx, c.rows == 2 ? 1e-3 : 2 * tolerance,
                 "dx");  // two rows: dx is what is left of a cancellation
    if (c.residual) expect_close(e.dresidual, r.dresidual, tolerance, "dresidual");
}

TEST_P(BatchNormCpu, same_bits_for_any_number_of_threads) {
    const Inputs in(GetParam());
    const Result one = run(GetParam(), in, 1), two = run(GetParam(), in, 2), three = run(GetParam(), in, 3);
    EXPECT_EQ(one.y, two.y);
    EXPECT_EQ(one.dx, two.dx);
    EXPECT_EQ(one.dscale, two.dscale);
    EXPECT_EQ(one.dshift, three.dshift);
    EXPECT_EQ(one.running_var, three.running_var);
    EXPECT_EQ(one.dx, three.dx);
}

INSTANTIATE_TEST_SUITE_P(
    shapes, BatchNormCpu,
    testing::Values(Case{2, 1}, Case{3, 7}, Case{33, 1}, Case{7, 33, Activation::relu}, Case{513, 3, Activation::silu},
                    Case{513, 33, Activation::relu, true}, Case{1500, 64, Activation::relu, true, true},
                    Case{70, 513, Activation::none, true}, Case{1025, 16, Activation::silu, false, true},
                    Case{33, 256, Activation::none, false, true}, Case{513, 7, Activation::none, false, false, 1e4f, 1},
                    Case{2000, 33, Activation::relu, true, false, -300, 0.05f}));

TEST(BatchNormCpuStatistics, hold_when_the_first_row_is_an_outlier) {
    const Case c{4000, 8, Activation::none, false, false, 500, 0.01f};
    Inputs in(c);
    for (size_t channel = 0; channel < 8; ++channel) in.x[channel] = -500;
    const Result r = run(c, in, 2);
    const Expected e = expect(c, in, r.y);
    for (size_t channel = 0; channel < 8; ++channel) EXPECT_NEAR(r.rstd[channel] / e.rstd[channel], 1, 1e-5);
}

TEST(BatchNormCpuStatistics, running_statistics_may_be_absent_and_x_constant) {
    const CpuDevice cpu;
    const Floats x(21, 2.5f), scale(7, 2.0f), shift(7, 0.5f);
    Floats y = unwritten(21), mean = unwritten(7), rstd = unwritten(7);
    compute(cpu, BatchNormForward<float>{.shape = {.rows = 3, .channels = 7},
                                         .momentum = 0.1f,
                                         .x = x.data(),
                                         .scale = scale.data(),
                                         .shift = shift.data(),
                                         .residual = nullptr,
                                         .running_mean = nullptr,
                                         .running_var = nullptr,
                                         .y = y.data(),
                                         .mean = mean.data(),
                                         .rstd = rstd.data()});
    EXPECT_EQ(y, Floats(21, 0.5f));
    EXPECT_EQ(mean, Floats(7, 2.5f));
    EXPECT_NEAR(rstd[0], 1 / std::sqrt(1e-5), 1e-3);
}

TEST(BatchNormCpuErrors, say_what_is_wrong) {
    Cpu cpu;  // without scratch memory
    Floats v(8);
    BatchNormForward<float> op{.shape = {.rows = 4, .channels = 2},
                               .momentum = 0.1f,
                               .x = v.data(),
                               .scale = v.data(),
                               .shift = v.data(),
                               .residual = nullptr,
                               .running_mean = nullptr,
                               .running_var = nullptr,
                               .y = v.data(),
                               .mean = v.data(),
                               .rstd = v.data()};
    EXPECT_THROW(compute(cpu, op), std::length_error);
    op.shape.activation = Activation::silu;
    op.residual = v.data();
    EXPECT_THROW(compute(CpuDevice(), op), std::invalid_argument);
    op.shape = {.rows = 1, .channels = 2};
    op.running_mean = op.running_var = v.data();
    EXPECT_THROW(compute(CpuDevice(), op), std::invalid_argument);
}
}  // namespace
