// Corner cases of the kernels that sum over rows, batch norm and the gradient of a bias, on simt: against the CPU
// loops, in every order. The ordinary cases are in bench/op_cases.h.
#include <fmt/format.h>

#include "base/ranks.h"
#include "kernels/batch_norm.h"
#include "kernels/bias.h"
#include "tests/simt_fixture.h"

namespace {

struct Matrix {
    size_t rows, channels;
    std::string name() const { return fmt::format("{} x {}", rows, channels); }
};
// Channels that fill vectors of 8, of 4, or none; rows that fill no block.
const std::vector<Matrix> matrices = {{2, 1},  {2, 64},  {7, 3},   {33, 8},   {33, 33},  {513, 8},
                                      {7, 70}, {513, 3}, {513, 1}, {1500, 8}, {1500, 3}, {33, 264}};

struct Inputs {
    Floats x, scale, shift, running_mean, running_var;
};

template <class T>
Inputs inputs(const Matrix& m, float mean = 0.5f) {
    const size_t count = m.rows * m.channels;
    return {.x = representable<T>(random_floats(count, 1, mean)),
            .scale = random_floats(m.channels, 3, 1, 0.3f),
            .shift = random_floats(m.channels, 4),
            .running_mean = random_floats(m.channels, 5),
            .running_var = random_floats(m.channels, 6, 2, 0.2f)};
}

struct Forward {  // what the CPU loops say
    Floats y, mean, rstd, running_mean, running_var;
};

Forward forward_on_cpu(const Cpu& cpu, const Matrix& m, const Inputs& in) {
    Forward out{unwritten(m.rows * m.channels), unwritten(m.channels), unwritten(m.channels), in.running_mean,
                in.running_var};
    compute(cpu, BatchNormForward<float>{.shape = {.rows = m.rows, .channels = m.channels},
                                         .momentum = 0.1f,
                                         .x = in.x.data(),
                                         .scale = in.scale.data(),
                                         .shift = in.shift.data(),
                                         .residual = nullptr,
                                         .running_mean = out.running_mean.data(),
                                         .running_var = out.running_var.data(),
                                         .y = out.y.data(),
                                         .mean = out.mean.data(),
                                         .rstd = out.rstd.data()});
    return out;
}

template <class T>
auto forward_on(const auto& gpu, const Matrix& m, const Inputs& in) {
    const DeviceArray<T> x(stored<T>(in.x));
    const DeviceArray<float> scale(in.scale), shift(in.shift);
    return in_every_order([&] {
        const DeviceArray<T> y(m.rows * m.channels);
        const DeviceArray<float> mean(m.channels), rstd(m.channels), running_mean(in.running_mean),
            running_var(in.running_var);
        compute(gpu, BatchNormForward<T>{.shape = {.rows = m.rows, .channels = m.channels},
                                         .momentum = 0.1f,
                                         .x = x.get(),
                                         .scale = scale.get(),
                                         .shift = shift.get(),
                                         .residual = nullptr,
                                         .running_mean = running_mean.get(),
                                         .running_var = running_var.get(),
                                         .y = y.get(),
                                         .mean = mean.get(),
                                         .rstd = rstd.get()});
        return std::tuple(y.host(), mean.host(), rstd.host(), running_mean.host(), running_var.host());
    });
}

}  // namespace

// The mean is a thousand times the deviation; a sum of squares in float would have lost the variance.
TYPED_TEST(SimtKernels, BatchNormStatisticsFarFromZero) {
    using T = typename TypeParam::Type;
    const Matrix m{1500, 8};
    Inputs in = inputs<T>(m);
    for (size_t i = 0; i < in.x.size(); ++i) in.x[i] = 1000 + float(i * 7 % 11);  // exact in fp16, steps of 4 in bf16
    in.x = representable<T>(in.x);
    const Forward want = forward_on_cpu(this->cpu, m, in);
    const auto [y, mean, rstd, running_mean, running_var] = forward_on<T>(this->gpu, m, in);
    for (size_t c = 0; c < m.channels; ++c) {
        EXPECT_NEAR(rstd[c] / want.rstd[c], 1, 1e-5);
        EXPECT_NEAR(mean[c] / want.mean[c], 1, 1e-6);
    }
}

// The row that squares are measured from is the worst there could be.
TYPED_TEST(SimtKernels, BatchNormStatisticsWithAnOutlierFirst) {
    using T = typename TypeParam::Type;
    const Matrix m{1500, 8};
    Inputs in = inputs<T>(m);
    for (size_t c = 0; c < m.channels; ++c) in.x[c] = 512;
    const Forward want = forward_on_cpu(this->cpu, m, in);
    const auto [y, mean, rstd, running_mean, running_var] = forward_on<T>(this->gpu, m, in);
    for (size_t c = 0; c < m.channels; ++c) EXPECT_NEAR(rstd[c] / want.rstd[c], 1, 1e-5);
}

// Enough rows that each of the 528 blocks goes round more than once, and more than one tile of channels.
TYPED_TEST(SimtKernels, BatchNormOfManyBlocks) {
    using T = typename TypeParam::Type;
    const Matrix m{70001, 1};
    const Inputs in = inputs<T>(m);
    const Forward want = forward_on_cpu(this->cpu, m, in);
    const DeviceArray<T> x(stored<T>(in.x)), y(m.rows);
    const DeviceArray<float> scale(in.scale), shift(in.shift), mean(1), rstd(1);
    compute(this->gpu, BatchNormForward<T>{.shape = {.rows = m.rows, .channels = 1},
                                           .momentum = 0.1f,
                                           .x = x.get(),
                                           .scale = scale.get(),
                                           .shift = shift.get(),
                                           .residual = nullptr,
                                           .running_mean = nullptr,
                                           .running_var = nullptr,
                                           .y = y.get(),
                                           .mean = mean.get(),
                                           .rstd = rstd.get()});
    expect_stored(want.mean, mean.host(), 1e-6, "mean");
    expect_stored(want.rstd, rstd.host(), 1e-5, "rstd");
    expect_stored(want.y, y.host(), 1e-5, "y");
}

// Backward takes relu's mask from x: the same as that of the stored y, also where y is so small that it was stored as
// 0. Every row's dy is a power of two, so that their sum tells which rows were let through.
TYPED_TEST(SimtKernels, BatchNormMasksWhatWasStoredAsZero) {
    using T = typename TypeParam::Type;
    const Matrix m{8, 8};
    Inputs in = inputs<T>(m);
    in.scale = {1, 1e-7f, 3e-8f, 2e-8f, 1e-8f, 1e-40f, 3e-41f, 1e-45f};
    in.shift = Floats(8, 0.0f);
    Floats dy(64), y, dshift;
    for (size_t i = 0; i < dy.size(); ++i) dy[i] = float(1 << i / 8);
    const DeviceArray<T> x(stored<T>(in.x)), device_y(64), device_dy(stored<T>(dy)), dx(64);
    const DeviceArray<float> scale(in.scale), shift(in.shift), mean(8), rstd(8), dscale(8), device_dshift(8);
    const BatchNormShape shape{.rows = 8, .channels = 8, .activation = Activation::relu};
    compute(this->gpu, BatchNormForward<T>{shape, 0.1f, x.get(), scale.get(), shift.get(), nullptr, nullptr, nullptr,
                                           device_y.get(), mean.get(), rstd.get()});
    compute(this->gpu,
            BatchNormBackward<T>{shape, x.get(), nullptr, device_dy.get(), nullptr, scale.get(), shift.get(),
                                 mean.get(), rstd.get(), dx.get(), dscale.get(), device_dshift.get(), nullptr});
    y = floats(device_y.host()), dshift = device_dshift.host();
    for (size_t c = 0; c < 8; ++c) {
        float want = 0;
        for (size_t row = 0; row < 8; ++row) want += y[row * 8 + c] > 0 ? dy[row * 8 + c] : 0;
        EXPECT_EQ(dshift[c], want) << "scale " << in.scale[c];
    }
}

// With a residual the sums are those of g as it was stored for the residual, and dx is made of it.
TYPED_TEST(SimtKernels, BatchNormGradientOfAResidualIsStoredOnce) {
    using T = typename TypeParam::Type;
    const Matrix m{33, 8};
    const size_t count = m.rows * m.channels;
    const Inputs in = inputs<T>(m);
    const Floats dy = representable<T>(random_floats(count, 7)), dy2 = representable<T>(random_floats(count, 8));
    const Floats y = representable<T>(random_floats(count, 9)), mean = random_floats(8, 10, 0.5f, 0.1f), rstd(8, 1.5f);
    Floats g(count), dx(count), dscale(8), dshift(8);
    for (size_t i = 0; i < count; ++i) g[i] = float(T(y[i] > 0 ? dy[i] + dy2[i] : 0.0f));
    BatchNormBackward<float> op{{m.rows, m.channels}, in.x.data(),     nullptr,     g.data(),    nullptr,
                                in.scale.data(),      in.shift.data(), mean.data(), rstd.data(), dx.data(),
                                dscale.data(),        dshift.data(),   nullptr};
    compute(this->cpu, op);
    const DeviceArray<T> x(stored<T>(in.x)), device_y(stored<T>(y)), device_dy(stored<T>(dy)),
        device_dy2(stored<T>(dy2));
    const DeviceArray<float> scale(in.scale), shift(in.shift), device_mean(mean), device_rstd(rstd);
    const auto [got_dx, got_g, got_dscale, got_dshift] = in_every_order([&] {
        const DeviceArray<T> dx(count), dresidual(count);
        const DeviceArray<float> dscale(8), dshift(8);
        compute(this->gpu,
                BatchNormBackward<T>{{.rows = m.rows, .channels = m.channels, .activation = Activation::relu},
                                     x.get(),
                                     device_y.get(),
                                     device_dy.get(),
                                     device_dy2.get(),
                                     scale.get(),
                                     nullptr,
                                     device_mean.get(),
                                     device_rstd.get(),
                                     dx.get(),
                                     dscale.get(),
                                     dshift.get(),
                                     dresidual.get()});
        return std::tuple(dx.host(), dresidual.host(), dscale.host(), dshift.host());
    });
    EXPECT_EQ(floats(got_g), g);
    expect_stored(dx, got_dx, 1e-5, "dx");
    expect_stored(dscale, got_dscale, 1e-5, "dscale");
    expect_stored(dshift, got_dshift, 1e-5, "dshift");
}

TYPED_TEST(SimtKernels, BatchNormRefusesWhatItCannotDo) {
    using T = typename TypeParam::Type;
    BatchNormForward<T> op{};
    const DeviceArray<T> residual(16);
    const DeviceArray<float> running(8);
    op.shape = {.rows = 2, .channels = 8, .activation = Activation::silu};
    op.residual = residual.get();
    EXPECT_THROW(compute(this->gpu, op), std::invalid_argument);
    op.shape = {.rows = 1, .channels = 8};
    op.residual = nullptr;
    op.running_var = running.get();
    EXPECT_THROW(compute(this->gpu, op), std::invalid_argument);
}

TYPED_TEST(SimtKernels, BiasBackward) {
    using T = typename TypeParam::Type;
    for (const Matrix& m : matrices) {
        const Floats dy = representable<T>(random_floats(m.rows * m.channels, 1));
        Floats want = unwritten(m.channels);
        compute(this->cpu, BiasBackward<float>{m.rows, m.channels, dy.data(), want.data()});
        const DeviceArray<T> device_dy(stored<T>(dy));
        const auto [got] = in_every_order([&] {
            const DeviceArray<float> dbias(m.channels);
            compute(this->gpu, BiasBackward<T>{m.rows, m.channels, device_dy.get(), dbias.get()});
            return std::tuple(dbias.host());
        });
        expect_stored(want, got, 1e-5, m.name());
    }
}

namespace {

// One of two ranks: what the other one told is known before.
struct OneOfTwo final : Ranks, GpuSums {
    using Ranks::start_sum, Ranks::wait;
    std::vector<std::string> told = {}, of_other = {};
    OneOfTwo() { count = 2, gpu_sums = this; }
    std::vector<std::string> gather(const std::string& text) override {
        told.push_back(text);
        return {text, of_other.size() >= told.size() ? of_other[told.size() - 1] : text};
    }
    void gather(CUstream_st*, const void* own, void* all, size_t bytes) override {
        std::string text(bytes, 0);
        simt::copy(text.data(), own, bytes);
        for (const std::string& of_rank : gather(text)) {
            simt::copy(all, of_rank.data(), bytes);
            all = static_cast<char*>(all) + bytes;
        }
    }
    void start_sum(CUstream_st*, void*, size_t, DType, float) override {}
    void wait(CUstream_st*) override {}
    void abandon() noexcept override {}
};

// Of rows [begin, begin + m.rows) of `all`: forward, then backward with x as the gradient.
template <class T>
struct BothWays {
    std::vector<T> y, dx;
    Floats mean, rstd, running_mean, running_var, dscale, dshift;

    BothWays(const auto& gpu, const Matrix& m, const Inputs& all, size_t begin, Ranks* forward, Ranks* backward) {
        const BatchNormShape shape{.rows = m.rows, .channels = m.channels, .activation = Activation::relu};
        const auto rows = all.x.begin() + ptrdiff_t(begin * m.channels);
        const DeviceArray<T> x(stored<T>({rows, rows + ptrdiff_t(m.rows * m.channels)})), result(m.rows * m.channels),
            gradient(m.rows * m.channels);
        const DeviceArray<float> scale(all.scale), shift(all.shift), means(m.channels), rstds(m.channels),
            of_mean(all.running_mean), of_var(all.running_var), of_scale(m.channels), of_shift(m.channels);
        compute(gpu, BatchNormForward<T>{.shape = shape,
                                         .momentum = 0.1f,
                                         .x = x.get(),
                                         .scale = scale.get(),
                                         .shift = shift.get(),
                                         .residual = nullptr,
                                         .running_mean = of_mean.get(),
                                         .running_var = of_var.get(),
                                         .y = result.get(),
                                         .mean = means.get(),
                                         .rstd = rstds.get(),
                                         .ranks = forward});
        compute(gpu, BatchNormBackward<T>{.shape = shape,
                                          .x = x.get(),
                                          .y = result.get(),
                                          .dy = x.get(),
                                          .dy2 = nullptr,
                                          .scale = scale.get(),
                                          .shift = shift.get(),
                                          .mean = means.get(),
                                          .rstd = rstds.get(),
                                          .dx = gradient.get(),
                                          .dscale = of_scale.get(),
                                          .dshift = of_shift.get(),
                                          .dresidual = nullptr,
                                          .ranks = backward});
        y = result.host(), dx = gradient.host(), mean = means.host(), rstd = rstds.host();
        running_mean = of_mean.host(), running_var = of_var.host(), dscale = of_scale.host(), dshift = of_shift.host();
    }
};

}  // namespace

// Two ranks with half of the rows each: statistics, y and dx of all rows, dscale and dshift of each rank's. 1 s.
TYPED_TEST(SimtKernels, BatchNormOfRanksIsThatOfAllRows) {
    using T = typename TypeParam::Type;
    for (const Matrix half : {Matrix{33, 8}, Matrix{7, 70}, Matrix{150, 300}}) {
        SCOPED_TRACE(half.name());
        const Matrix both{2 * half.rows, half.channels};
        Inputs in = inputs<T>(both, 3);
        for (size_t i = 0; i < half.rows * half.channels; ++i) in.x[i] += 2;  // the halves have other means
        in.x = representable<T>(in.x);
        const BothWays<T> want(this->gpu, both, in, 0, nullptr, nullptr);
        OneOfTwo forward[2], backward[2];
        const auto of_rank = [&](size_t rank) {
            for (OneOfTwo* ranks : {forward, backward})
                ranks[rank].of_other = ranks[1 - rank].told, ranks[rank].told.clear();
            return BothWays<T>(this->gpu, half, in, rank * half.rows, &forward[rank], &backward[rank]);
        };
        of_rank(1), of_rank(0);  // to hear what they tell: the backward pass needs the statistics of both
        const BothWays<T> second = of_rank(1), first = of_rank(0);
        const auto near = [](const auto& got, const auto& want, size_t offset, double limit) {
            for (size_t i = 0; i < got.size(); ++i)
                ASSERT_NEAR(float(got[i]), float(want[offset + i]), limit * (1 + std::abs(float(want[offset + i]))))
                    << i;
        };
        constexpr double kStored = 1e-4 + 2 * rounding<T>();
        for (const BothWays<T>* got : {&first, &second}) {
            const size_t offset = got == &first ? 0 : got->y.size();
            near(got->mean, want.mean, 0, 1e-5), near(got->rstd, want.rstd, 0, 1e-5);
            near(got->running_mean, want.running_mean, 0, 1e-5), near(got->running_var, want.running_var, 0, 1e-5);
            near(got->y, want.y, offset, kStored), near(got->dx, want.dx, offset, kStored);
        }
        EXPECT_EQ(first.mean, second.mean);
        EXPECT_EQ(first.running_var, second.running_var);
        Floats dscale = first.dscale, dshift = first.dshift;
        for (size_t c = 0; c < half.channels; ++c) dscale[c] += second.dscale[c], dshift[c] += second.dshift[c];
        near(dscale, want.dscale, 0, 1e-3), near(dshift, want.dshift, 0, 1e-3);
    }
}
