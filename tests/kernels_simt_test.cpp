// Kernels without sums over rows, on simt: against the CPU loops, for every type, in every order of threads.
#include <fmt/format.h>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/layout.h"
#include "tests/simt_fixture.h"

namespace {

const std::vector<size_t> counts = {1, 7, 8, 33, 1500, 2051};
constexpr double exact_before_rounding = 1e-6;

// Runs `op` into a new array of `count` elements, in every order.
template <class T, class Op>
std::vector<T> run(const auto& gpu, size_t count, const Op& op_with) {
    const auto [y] = in_every_order([&] {
        const DeviceArray<T> y(count);
        compute(gpu, op_with(y.get()));
        return std::tuple(y.host());
    });
    return y;
}

}  // namespace

// Addresses that no 16-byte access may use: a slice of a larger array.
TYPED_TEST(SimtKernels, AddOfUnalignedSlices) {
    using T = typename TypeParam::Type;
    const Floats a = representable<T>(random_floats(101, 1));
    const DeviceArray<T> device_a(stored<T>(a)), y(101);
    compute(this->gpu, Add<T>{100, device_a.get() + 1, device_a.get(), y.get()});
    Floats want(100);
    for (size_t i = 0; i < 100; ++i) want[i] = a[i + 1] + a[i];
    auto got = y.host();
    got.pop_back();
    expect_stored(want, got, exact_before_rounding, "slices");
}

TYPED_TEST(SimtKernels, CastKeepsEveryBit) {
    using T = typename TypeParam::Type;
    for (const size_t count : counts) {
        Floats x = random_floats(count, 1, 0, 100);
        x[0] = INFINITY;
        if (count > 2) x[1] = NAN, x[2] = 1e-6f;  // a subnormal of fp16
        const DeviceArray<float> device_x(x);
        const auto got = run<T>(this->gpu, count, [&](T* y) { return Cast<T>{count, device_x.get(), y}; });
        const auto want = stored<T>(x);
        EXPECT_EQ(std::memcmp(want.data(), got.data(), count * sizeof(T)), 0) << count;
    }
}

TYPED_TEST(SimtKernels, CopyChannels) {
    using T = typename TypeParam::Type;
    struct Case {
        size_t rows, channels, x_pitch, x_offset, y_pitch, y_offset;
    };
    for (const Case c : {Case{33, 8, 16, 8, 24, 16}, Case{1, 1, 1, 0, 3, 2}, Case{513, 3, 5, 1, 7, 0},
                         Case{7, 264, 264, 0, 272, 8}, Case{33, 8, 9, 0, 8, 0}, Case{7, 70, 70, 0, 140, 70}}) {
        const Floats x = representable<T>(random_floats(c.rows * c.x_pitch, 1));
        const DeviceArray<T> device_x(stored<T>(x));
        const Floats before = representable<T>(random_floats(c.rows * c.y_pitch, 2));
        Floats want = before;
        compute(this->cpu, CopyChannels<float>{c.rows, c.channels, c.x_pitch, c.x_offset, c.y_pitch, c.y_offset,
                                               x.data(), want.data()});
        const auto [got] = in_every_order([&] {
            const DeviceArray<T> y(stored<T>(before));  // what lies beside the slice stays
            compute(this->gpu, CopyChannels<T>{c.rows, c.channels, c.x_pitch, c.x_offset, c.y_pitch, c.y_offset,
                                               device_x.get(), y.get()});
            return std::tuple(y.host());
        });
        EXPECT_EQ(floats(got), want) << c.rows << " x " << c.channels;
    }
}

TYPED_TEST(SimtDevices, CrossEntropy) {
    const CpuDevice& cpu = this->cpu;
    struct Case {
        size_t rows, classes;
        float smoothing;
        bool weights;
    };
    for (const Case c : {Case{1, 2, 0, false}, Case{7, 3, 0.1f, false}, Case{33, 10, 0.2f, true}, Case{300, 6, 0, true},
                         Case{5, 1000, 0.1f, true}, Case{2, 129, 0, false}}) {
        const std::string name = fmt::format("{} rows, {} classes, smoothing {}", c.rows, c.classes, c.smoothing);
        Floats logits = random_floats(c.rows * c.classes, 1, 0, 3);
        logits[0] = 200;  // exp() of it has no float
        logits[1] = logits[0];
        Floats weight = random_floats(c.classes, 2, 1, 0.1f);
        std::vector<int32_t> labels(c.rows);
        for (size_t row = 0; row < c.rows; ++row) labels[row] = row % 5 == 4 ? -1 : int32_t(row * 7 % c.classes);
        const float dloss = 8;

        Floats probabilities = unwritten(logits.size()), sample_loss = unwritten(c.rows), loss = unwritten(1),
               correct = unwritten(2), dlogits = unwritten(logits.size());
        const CrossEntropyShape shape{c.rows, c.classes, c.smoothing};
        compute(cpu, CrossEntropyForward{shape, logits.data(), labels.data(), c.weights ? weight.data() : nullptr,
                                         loss.data(), sample_loss.data(), probabilities.data(), correct.data()});
        compute(cpu, CrossEntropyBackward{shape, probabilities.data(), labels.data(),
                                          c.weights ? weight.data() : nullptr, &dloss, dlogits.data()});

        const DeviceArray<float> device_logits(logits), device_weight(weight), device_dloss(Floats{dloss}),
            device_probabilities(probabilities);
        const DeviceArray<int32_t> device_labels(labels);
        const float* const weights = c.weights ? device_weight.get() : nullptr;
        const auto [got_loss, got_samples, got_probabilities, got_correct, got_dlogits] = in_every_order([&] {
            const DeviceArray<float> loss(1), samples(c.rows), p(logits.size()), correct(2), dlogits(logits.size());
            compute(this->gpu, CrossEntropyForward{shape, device_logits.get(), device_labels.get(), weights, loss.get(),
                                                   samples.get(), p.get(), correct.get()});
            compute(this->gpu, CrossEntropyBackward{shape, device_probabilities.get(), device_labels.get(), weights,
                                                    device_dloss.get(), dlogits.get()});
            return std::tuple(loss.host(), samples.host(), p.host(), correct.host(), dlogits.host());
        });
        expect_stored(loss, got_loss, 1e-5, "loss of " + name);
        expect_stored(sample_loss, got_samples, 1e-5, "samples of " + name);
        expect_stored(probabilities, got_probabilities, 1e-6, "probabilities of " + name);
        EXPECT_EQ(correct, got_correct) << name;
        expect_stored(dlogits, got_dlogits, 1e-5, "dlogits of " + name);
    }
}
