// Pools and the optimizer's kernels on simt: against the CPU loops, for every type, in every order of threads.
#include <fmt/format.h>

#include "kernels/optimizer.h"
#include "kernels/pool.h"
#include "tests/simt_fixture.h"

namespace {

StepState step_state() {
    return {.learning_rate = 0.05f,
            .momentum = 0.9f,
            .bias_correction1 = 0.271f,
            .bias_correction2 = 0.003f,
            .loss_scale = 128};
}

bool operator==(const StepState& a, const StepState& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// CheckFinite adds to the count so far.
template <class T>
float counted(const auto& gpu, const Floats& gradient, float before) {
    StepState state = step_state();
    state.nonfinite = before;
    const DeviceArray<T> device_gradient(stored<T>(gradient));
    const auto [got] = in_every_order([&] {
        const DeviceArray<StepState> device_state(std::vector{state});
        compute(gpu, CheckFinite<T>{gradient.size(), device_gradient.get(), device_state.get()});
        return std::tuple(device_state.host());
    });
    return got[0].nonfinite;
}

}  // namespace

TYPED_TEST(SimtKernels, MaxPool) {
    using T = typename TypeParam::Type;
    // n, h, w, c, kernel, stride, padding
    for (const MaxPoolShape s :
         {MaxPoolShape{2, 13, 9, 8, 3, 2, 1}, MaxPoolShape{1, 7, 7, 3, 2, 2, 0}, MaxPoolShape{1, 6, 5, 33, 5, 1, 2},
          MaxPoolShape{3, 1, 1, 1, 3, 2, 1}, MaxPoolShape{1, 5, 4, 264, 3, 2, 1}, MaxPoolShape{2, 9, 40, 64, 3, 2, 1},
          MaxPoolShape{1, 11, 8, 70, 3, 3, 0}, MaxPoolShape{1, 16, 16, 8, 13, 1, 6}}) {
        const std::string name =
            fmt::format("{} x {} x {} x {}, kernel {} stride {}", s.n, s.h, s.w, s.c, s.kernel, s.stride);
        const size_t in = s.n * s.h * s.w * s.c, out = s.n * s.out_h() * s.out_w() * s.c;
        Floats x = random_floats(in, 1);
        for (float& value : x) value = std::round(value * 4) / 4 - 3;  // many ties, all below the padding's 0
        x[in / 2] = NAN;
        x[in - 1] = -INFINITY;
        x = representable<T>(x);
        const Floats dy = representable<T>(random_floats(out, 2)), dy2 = representable<T>(random_floats(out, 3));
        const bool two = s.stride == 2;  // gradients
        Floats y = unwritten(out), dx = unwritten(in);
        std::vector<uint8_t> argmax(out, 255);
        compute(this->cpu, MaxPoolForward<float>{s, x.data(), y.data(), argmax.data()});
        compute(this->cpu, MaxPoolBackward<float>{s, dy.data(), two ? dy2.data() : nullptr, argmax.data(), dx.data()});

        const DeviceArray<T> device_x(stored<T>(x)), device_dy(stored<T>(dy)), device_dy2(stored<T>(dy2));
        const DeviceArray<uint8_t> device_argmax(argmax);
        const auto [got_y, got_argmax, got_dx] = in_every_order([&] {
            const DeviceArray<T> y(out), dx(in);
            const DeviceArray<uint8_t> argmax(out);
            compute(this->gpu, MaxPoolForward<T>{s, device_x.get(), y.get(), argmax.get()});
            compute(this->gpu, MaxPoolBackward<T>{s, device_dy.get(), two ? device_dy2.get() : nullptr,
                                                  device_argmax.get(), dx.get()});
            return std::tuple(y.host(), argmax.host(), dx.host());
        });
        for (size_t i = 0; i < out; ++i)
            ASSERT_TRUE(y[i] == float(got_y[i]) || (std::isnan(y[i]) && std::isnan(float(got_y[i]))))
                << name << " [" << i << "]: expected " << y[i] << ", got " << float(got_y[i]);
        EXPECT_EQ(argmax, got_argmax) << name;
        expect_stored(dx, got_dx, 1e-6, "dx of " + name);

        const DeviceArray<T> without(out);  // inference asks for no argmax
        compute(this->gpu, MaxPoolForward<T>{s, device_x.get(), without.get(), nullptr});
        const auto got_without = without.host();
        EXPECT_EQ(std::memcmp(got_without.data(), got_y.data(), out * sizeof(T)), 0) << name;
    }
}

TYPED_TEST(SimtKernels, Sgd) {
    using T = typename TypeParam::Type;
    for (const size_t count : {1, 7, 33, 1500})
        for (const bool nesterov : {false, true})
            for (const float nonfinite : {0.0f, 3.0f}) {
                const Floats gradient = representable<T>(random_floats(count, 1, 0, 64));
                Floats parameter = random_floats(count, 2), momentum = random_floats(count, 3);
                StepState state = step_state();
                state.nonfinite = nonfinite;
                const DeviceArray<StepState> device_state(std::vector{state});
                const DeviceArray<T> device_gradient(stored<T>(gradient));
                const auto before = stored<T>(Floats(count, 5));
                const auto [got_parameter, got_momentum, got_copy] = in_every_order([&] {
                    const DeviceArray<float> device_parameter(parameter), device_momentum(momentum);
                    const DeviceArray<T> copy(before);
                    compute(this->gpu, SgdStep<T>{count, 0.01f, nesterov, device_state.get(), device_gradient.get(),
                                                  device_parameter.get(), device_momentum.get(), copy.get()});
                    return std::tuple(device_parameter.host(), device_momentum.host(), copy.host());
                });
                compute(this->cpu, SgdStep<float>{count, 0.01f, nesterov, &state, gradient.data(), parameter.data(),
                                                  momentum.data(), nullptr});
                const std::string name = fmt::format("{} parameters", count);
                const double tolerance = nonfinite ? 0 : 1e-6;  // a skipped step changes no bit
                expect_stored(parameter, got_parameter, tolerance, name);
                expect_stored(momentum, got_momentum, tolerance, "momentum of " + name);
                EXPECT_EQ(floats(got_copy), floats(nonfinite ? before : stored<T>(got_parameter))) << name;
            }
}

TYPED_TEST(SimtKernels, CheckFiniteCountsAndAdds) {
    using T = typename TypeParam::Type;
    for (const size_t count : {1, 7, 8, 2051, 40000}) {
        Floats gradient = random_floats(count, 1);
        EXPECT_EQ(counted<T>(this->gpu, gradient, 2), 2) << count;
        gradient[count - 1] = NAN;
        gradient[count / 2] = count > 1 ? -INFINITY : NAN;
        EXPECT_EQ(counted<T>(this->gpu, gradient, 2), count > 1 ? 4 : 3) << count;
    }
}

TYPED_TEST(SimtDevices, Average) {
    for (const size_t count : {1, 7, 8, 2051, 9000})
        for (const size_t first : {0, 1})  // the second slice begins where no 16 bytes do
            for (const float nonfinite : {0.0f, 3.0f}) {
                const Floats parameter = random_floats(count, 1);
                Floats average = random_floats(count, 2);
                const Floats before = average;
                StepState state = step_state();
                state.nonfinite = nonfinite;
                const float rate = 0.25f;
                Floats longer = average;
                longer.insert(longer.begin(), first, 7.0f);
                const DeviceArray<StepState> device_state(std::vector{state});
                const DeviceArray<float> device_rate(Floats{rate}), device_parameter(parameter);
                const auto [got] = in_every_order([&] {
                    const DeviceArray<float> device_average(longer);
                    compute(this->gpu, EmaUpdate{count, device_state.get(), device_rate.get(), device_parameter.get(),
                                                 device_average.get() + first});
                    return std::tuple(device_average.host());
                });
                compute(this->cpu, EmaUpdate{count, &state, &rate, parameter.data(), average.data()});
                for (size_t i = 0; i < count; ++i) {
                    const double want =
                        nonfinite ? double(before[i]) : 0.75 * double(before[i]) + 0.25 * double(parameter[i]);
                    ASSERT_NEAR(average[i], want, nonfinite ? 0 : 1e-6);
                    ASSERT_NEAR(got[first + i], want, nonfinite ? 0 : 1e-6);
                }
                EXPECT_EQ(got[0], first ? 7.0f : got[0]);
            }
}

TYPED_TEST(SimtDevices, FinishesAStep) {
    for (const float growth_interval : {0.0f, 3.0f})
        for (const float nonfinite : {0.0f, 7.0f})
            for (const float clean_steps : {0.0f, 2.0f})
                for (const float loss_scale : {128.0f, 65536.0f}) {
                    StepState state = step_state();
                    state.nonfinite = nonfinite;
                    state.clean_steps = clean_steps;
                    state.loss_scale = loss_scale;
                    const DeviceArray<StepState> device(std::vector{state});
                    compute(this->gpu, FinishStep{growth_interval, 65536, device.get()});
                    compute(this->cpu, FinishStep{growth_interval, 65536, &state});
                    EXPECT_TRUE(device.host()[0] == state) << growth_interval << " " << nonfinite << " " << clean_steps;
                }
}
