// Kernels over rows of channels on ptx, with so many rows that each thread has several and all of those that it loads
// together: the grids have at most 528 (sums) or 1056 blocks of 256 rows. Beside the CPU loops; 4 s.
#include <fmt/format.h>

#include "kernels/batch_norm.h"
#include "kernels/bias.h"
#include "kernels/layout.h"
#include "tests/simt_fixture.h"

namespace {

template <class T>
class ManyRows : public testing::Test {
protected:
    PtxDevice gpu;
    CpuDevice cpu{1};
};
using Types = testing::Types<float, bf16, fp16>;
TYPED_TEST_SUITE(ManyRows, Types);

// Numbers in [-2, 2) that every type holds exactly.
Floats spread(size_t count, unsigned factor = 2654435761u) {
    Floats x(count);
    for (size_t i = 0; i < count; ++i) x[i] = float(unsigned(i) * factor >> 16 & 255) / 64 - 2;
    return x;
}

// One access of 16 bytes for each row, and one number.
template <class T>
std::vector<size_t> channel_counts() {
    return {16 / sizeof(T), 1};
}

template <class T>
size_t count_wrong(const Floats& want, const std::vector<T>& got, double tolerance) {
    size_t wrong = 0;
    for (size_t i = 0; i < want.size(); ++i)
        wrong += !(std::fabs(float(got[i]) - want[i]) <= tolerance + 1.01 * rounding<T>() * std::fabs(want[i]));
    return wrong;
}

}  // namespace

TYPED_TEST(ManyRows, BatchNorm) {
    using T = TypeParam;
    for (const size_t channels : channel_counts<T>()) {
        constexpr size_t kRows = 600007;
        const size_t elements = kRows * channels;
        const Floats x = spread(elements), scale = random_floats(channels, 1, 1, 0.3f),
                     shift = random_floats(channels, 2);
        const DeviceArray<T> device_x(stored<T>(x)), y(elements);
        const DeviceArray<float> device_scale(scale), device_shift(shift), mean(channels), rstd(channels);
        Floats want(elements), want_mean(channels), want_rstd(channels);
        for (const Activation activation : {Activation::none, Activation::relu, Activation::silu})
            for (const bool residual : {false, true}) {
                if (residual && activation == Activation::silu) continue;
                BatchNormForward<float> reference{};
                reference.shape = {.rows = kRows, .channels = channels, .activation = activation};
                reference.x = x.data(), reference.scale = scale.data(), reference.shift = shift.data();
                reference.residual = residual ? x.data() : nullptr;
                reference.y = want.data(), reference.mean = want_mean.data(), reference.rstd = want_rstd.data();
                compute(this->cpu, reference);
                BatchNormForward<T> op{};
                op.shape = reference.shape;
                op.x = device_x.get(), op.scale = device_scale.get(), op.shift = device_shift.get();
                op.residual = residual ? device_x.get() : nullptr;
                op.y = y.get(), op.mean = mean.get(), op.rstd = rstd.get();
                compute(this->gpu, op);
                EXPECT_EQ(count_wrong(want, y.host(), 1e-5), 0u) << channels << ' ' << int(activation) << residual;
            }
    }
}

TYPED_TEST(ManyRows, BatchNormBackward) {
    using T = TypeParam;
    for (const size_t channels : channel_counts<T>()) {
        const size_t rows = channels == 1 ? 600007 : 410007, elements = rows * channels;
        const Floats x = spread(elements), dy = spread(elements, 2246822519u);
        const Floats ones(channels, 1), zeros(channels, 0);  // y is x
        const DeviceArray<T> device_x(stored<T>(x)), device_dy(stored<T>(dy)), dx(elements), dresidual(elements);
        const DeviceArray<float> scale(ones), shift(zeros), dscale(channels), dshift(channels);
        Floats want(elements), want_dresidual(elements), want_dscale(channels), want_dshift(channels);
        for (const Activation activation : {Activation::none, Activation::relu})
            for (const bool residual : {false, true})
                for (const bool two : {false, true}) {
                    BatchNormBackward<float> reference{};
                    reference.shape = {.rows = rows, .channels = channels, .activation = activation};
                    reference.x = reference.y = x.data(), reference.dy = dy.data();
                    reference.dy2 = two ? x.data() : nullptr;
                    reference.scale = reference.rstd = ones.data(), reference.shift = zeros.data();
                    reference.mean = zeros.data(), reference.dx = want.data();
                    reference.dscale = want_dscale.data(), reference.dshift = want_dshift.data();
                    reference.dresidual = residual ? want_dresidual.data() : nullptr;
                    compute(this->cpu, reference);
                    BatchNormBackward<T> op{};
                    op.shape = reference.shape;
                    op.x = op.y = device_x.get(), op.dy = device_dy.get(), op.dy2 = two ? device_x.get() : nullptr;
                    op.scale = op.rstd = scale.get(), op.shift = shift.get(), op.mean = shift.get(), op.dx = dx.get();
                    op.dscale = dscale.get(), op.dshift = dshift.get();
                    op.dresidual = residual ? dresidual.get() : nullptr;
                    compute(this->gpu, op);
                    SCOPED_TRACE(fmt::format("{} channels {} {} {}", channels, int(activation), residual, two));
                    const double sum = residual && two ? 3e-3 : 1e-3;  // of g as it was stored, in 16 bits
                    if (residual) expect_stored(want_dresidual, dresidual.host(), 1e-6, "dresidual");
                    expect_stored(want_dscale, dscale.host(), sum, "dscale");
                    expect_stored(want_dshift, dshift.host(), sum, "dshift");
                    EXPECT_EQ(count_wrong(want, dx.host(), residual && two ? 4 * rounding<T>() + 1e-4 : 1e-4), 0u);
                }
    }
}

TYPED_TEST(ManyRows, Bias) {
    using T = TypeParam;
    for (const size_t channels : channel_counts<T>()) {
        constexpr size_t kRows = 800011;
        const Floats dy = spread(kRows * channels);
        const DeviceArray<T> device_dy(stored<T>(dy));
        const DeviceArray<float> dbias(channels);
        Floats want(channels);
        compute(this->cpu, BiasBackward<float>{kRows, channels, dy.data(), want.data()});
        compute(this->gpu, BiasBackward<T>{kRows, channels, device_dy.get(), dbias.get()});
        expect_stored(want, dbias.host(), 1e-4, "dbias");
    }
}

TYPED_TEST(ManyRows, CopiedAndUpsampled) {
    using T = TypeParam;
    for (const size_t channels : channel_counts<T>()) {
        constexpr size_t kW = 1031, kH = 1063, kRows = kH * kW;
        const Floats numbers = spread(kRows * channels);
        const std::vector<T> x = stored<T>(numbers);
        const DeviceArray<T> device_x(x), slices(2 * kRows * channels), y(4 * kRows * channels);
        compute(this->gpu,
                CopyChannels<T>{kRows, channels, channels, 0, 2 * channels, channels, device_x.get(), slices.get()});
        compute(this->gpu, Upsample2<T>{1, kH, kW, channels, device_x.get(), y.get()});
        const std::vector<T> copied = slices.host(), large = y.host();
        size_t wrong = 0;
        for (size_t row = 0; row < kRows; ++row)
            for (size_t c = 0; c < channels; ++c) {
                const float want = numbers[row * channels + c];
                wrong += float(copied[(2 * row + 1) * channels + c]) != want;
                for (const size_t corner : {size_t(0), size_t(1), 2 * kW, 2 * kW + 1})
                    wrong += float(large[(row / kW * 4 * kW + row % kW * 2 + corner) * channels + c]) != want;
            }
        EXPECT_EQ(wrong, 0u) << channels;
    }
}
