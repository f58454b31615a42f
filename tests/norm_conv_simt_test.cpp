// The fused chain of training: its kernels on simt against the CPU loops in three types and five orders, and a ResNet
// that it trains as the separate operations do.
#include <fmt/format.h>

#include "kernels/batch_norm.h"
#include "kernels/conv/norm_conv.h"
#include "models/resnet.h"
#include "tests/simt_fixture.h"
#include "train/setup.h"
#include "train/trainer.h"

namespace {

struct Chain {
    ConvShape shape;
    size_t rows_in() const { return shape.n * shape.h * shape.w; }
};
const std::vector<Chain> chains = {{{1, 2, 2, 1, 1, 1, 1}},
                                   {{2, 5, 7, 3, 7, 3, 3, 2, 1}},
                                   {{2, 7, 7, 8, 16, 1, 1, 1, 0}},
                                   {{3, 9, 9, 33, 8, 3, 3, 1, 1}},
                                   {{2, 8, 8, 16, 24, 1, 1, 2, 0}}};

TYPED_TEST(SimtKernels, NormConstants) {
    using T = typename TypeParam::Type;
    for (const size_t channels : {1, 7, 130})
        for (const bool running : {false, true}) {
            const size_t rows = 50;
            const Floats scale = random_floats(channels, 1, 1, 0.3f), shift = random_floats(channels, 2),
                         start_mean = random_floats(channels, 3), start_var = random_floats(channels, 4, 2, 0.2f);
            Floats sum = random_floats(channels, 5, 10), squares = random_floats(channels, 6, 200, 10);
            squares[0] = sum[0] * sum[0] / float(rows) - 1;  // a variance below 0 counts as 0
            Floats running_mean = start_mean, running_var = start_var, mean(channels), rstd(channels), a(channels),
                   b(channels);
            compute(this->cpu, NormConstants<float>{rows, channels, 1e-5f, 0.1f, sum.data(), squares.data(),
                                                    scale.data(), shift.data(), running ? running_mean.data() : nullptr,
                                                    running ? running_var.data() : nullptr, mean.data(), rstd.data(),
                                                    a.data(), b.data()});
            const DeviceArray<float> sum_(sum), squares_(squares), scale_(scale), shift_(shift);
            const auto [got_mean, got_rstd, got_a, got_b, got_running_mean, got_running_var] = in_every_order([&] {
                const DeviceArray<float> m(channels), r(channels), rm(start_mean), rv(start_var);
                const DeviceArray<T> a2(channels), b2(channels);
                compute(this->gpu,
                        NormConstants<T>{rows, channels, 1e-5f, 0.1f, sum_.get(), squares_.get(), scale_.get(),
                                         shift_.get(), running ? rm.get() : nullptr, running ? rv.get() : nullptr,
                                         m.get(), r.get(), a2.get(), b2.get()});
                return std::tuple(m.host(), r.host(), a2.host(), b2.host(), rm.host(), rv.host());
            });
            expect_stored(mean, got_mean, 1e-5, "mean");
            expect_stored(rstd, got_rstd, 1e-5, "rstd");
            expect_stored(a, got_a, 1e-5, "a");
            expect_stored(b, got_b, 1e-5, "b");
            expect_stored(running_mean, got_running_mean, 1e-5, "running mean");
            expect_stored(running_var, got_running_var, 1e-5, "running variance");
        }
}

// With nvcc only NormConstants is a kernel; cuDNN has the rest.
template <class T>
class NormConvSimt : public testing::Test {
protected:
    SimtDevice simt;
    CpuDevice cpu{1};
};
using AllTypes = testing::Types<float, bf16, fp16>;
TYPED_TEST_SUITE(NormConvSimt, AllTypes);

TYPED_TEST(NormConvSimt, EqualsTheLoops) {
    using T = TypeParam;
    for (const Chain& chain : chains) {
        const ConvShape& s = chain.shape;
        SCOPED_TRACE(fmt::format("{}x{}x{}x{} to {}", s.n, s.h, s.w, s.c_in, s.c_out));
        const Floats x = representable<T>(random_floats(s.x_count(), 1, 0.5f)),
                     dy = representable<T>(random_floats(s.y_count(), 2));
        const Floats weight = representable<T>(random_floats(s.weight_count(), 3)),
                     scale = random_floats(s.c_in, 4, 1, 0.3f);
        const Floats shift = random_floats(s.c_in, 5), start_mean = random_floats(s.c_in, 6),
                     start_var = random_floats(s.c_in, 7, 2, 0.2f);
        Floats sum(s.c_in), squares(s.c_in);
        for (size_t i = 0; i < x.size(); ++i) sum[i % s.c_in] += x[i], squares[i % s.c_in] += x[i] * x[i];

        struct Result {
            Floats a, b, mean, rstd, running_mean, running_var, y, y_sum, y_squares, g, dscale, dshift, dweight, dx;
        } want;
        want.a = want.b = want.mean = want.rstd = want.dscale = want.dshift = unwritten(s.c_in);
        want.running_mean = start_mean, want.running_var = start_var;
        want.y = unwritten(s.y_count()), want.y_sum = want.y_squares = unwritten(s.c_out);
        want.g = want.dx = unwritten(s.x_count()), want.dweight = unwritten(s.weight_count());
        const Cpu& cpu = this->cpu;
        compute(cpu, NormConstants<float>{chain.rows_in(), s.c_in, 1e-5f, 0.1f, sum.data(), squares.data(),
                                          scale.data(), shift.data(), want.running_mean.data(), want.running_var.data(),
                                          want.mean.data(), want.rstd.data(), want.a.data(), want.b.data()});
        const Floats a = representable<T>(want.a), b = representable<T>(want.b);
        compute(cpu, NormConvForward<float>{s, x.data(), a.data(), b.data(), weight.data(), want.y.data(),
                                            want.y_sum.data(), want.y_squares.data()});
        compute(cpu, NormConvBackwardData<float>{s, x.data(), dy.data(), weight.data(), scale.data(), shift.data(),
                                                 want.mean.data(), want.rstd.data(), want.g.data(), want.dscale.data(),
                                                 want.dshift.data()});
        compute(cpu, NormConvBackwardWeight<float>{s, x.data(), a.data(), b.data(), dy.data(), want.dweight.data()});

        const DeviceArray<T> x_(stored<T>(x)), dy_(stored<T>(dy)), weight_(stored<T>(weight));
        const DeviceArray<float> scale_(scale), shift_(shift), sum_(sum), squares_(squares);
        const auto [got_a, got_b, got_y, got_g, got_dweight, got_dx, mean, rstd, running_mean, running_var, y_sum,
                    y_squares, dscale, dshift] = in_every_order([&] {
            const DeviceArray<T> a2(s.c_in), b2(s.c_in), y(s.y_count()), g(s.x_count()), dw(s.weight_count()),
                dx(s.x_count());
            const DeviceArray<float> mean(s.c_in), rstd(s.c_in), rm(start_mean), rv(start_var), ys(s.c_out),
                yq(s.c_out), ds(s.c_in), dt(s.c_in);
            const Simt& simt = this->simt;
            compute(simt,
                    NormConstants<T>{chain.rows_in(), s.c_in, 1e-5f, 0.1f, sum_.get(), squares_.get(), scale_.get(),
                                     shift_.get(), rm.get(), rv.get(), mean.get(), rstd.get(), a2.get(), b2.get()});
            compute(simt,
                    NormConvForward<T>{s, x_.get(), a2.get(), b2.get(), weight_.get(), y.get(), ys.get(), yq.get()});
            compute(simt, NormConvBackwardData<T>{s, x_.get(), dy_.get(), weight_.get(), scale_.get(), shift_.get(),
                                                  mean.get(), rstd.get(), g.get(), ds.get(), dt.get()});
            compute(simt, NormConvBackwardWeight<T>{s, x_.get(), a2.get(), b2.get(), dy_.get(), dw.get()});
            compute(simt, BatchNormBackward<T>{.shape = {.rows = chain.rows_in(), .channels = s.c_in},
                                               .x = x_.get(),
                                               .y = nullptr,
                                               .dy = g.get(),
                                               .dy2 = nullptr,
                                               .scale = scale_.get(),
                                               .shift = shift_.get(),
                                               .mean = mean.get(),
                                               .rstd = rstd.get(),
                                               .dx = dx.get(),
                                               .dscale = ds.get(),
                                               .dshift = dt.get(),
                                               .dresidual = nullptr,
                                               .sums_given = true});
            return std::tuple(a2.host(), b2.host(), y.host(), g.host(), dw.host(), dx.host(), mean.host(), rstd.host(),
                              rm.host(), rv.host(), ys.host(), yq.host(), ds.host(), dt.host());
        });
        // z is rounded to T before the convolution, and g before the sums over it.
        const double inner = 4 * rounding<T>();
        expect_stored(want.a, got_a, 1e-5, "a");
        expect_stored(want.b, got_b, 1e-5, "b");
        expect_stored(want.y, got_y, 1e-5 + inner, "y");
        expect_stored(want.g, got_g, 1e-5, "g");
        expect_stored(want.dweight, got_dweight, 1e-5 + inner, "dweight");
        expect_stored(want.mean, mean, 1e-5, "mean");
        expect_stored(want.rstd, rstd, 1e-5, "rstd");
        expect_stored(want.running_mean, running_mean, 1e-5, "running mean");
        expect_stored(want.running_var, running_var, 1e-5, "running var");
        expect_stored(want.y_sum, y_sum, 1e-4 + 16 * inner, "sum");
        expect_stored(want.y_squares, y_squares, 1e-4 + 16 * inner, "squares");
        expect_stored(want.dscale, dscale, 1e-4 + 16 * inner, "dscale");
        expect_stored(want.dshift, dshift, 1e-4 + 16 * inner, "dshift");
        // dx from the rounded g, as BatchNormBackward makes it of the same numbers on the CPU
        Floats ds = floats(dscale), dt = floats(dshift);
        const Floats g = floats(got_g);
        compute(cpu, BatchNormBackward<float>{.shape = {.rows = chain.rows_in(), .channels = s.c_in},
                                              .x = x.data(),
                                              .y = nullptr,
                                              .dy = g.data(),
                                              .dy2 = nullptr,
                                              .scale = scale.data(),
                                              .shift = shift.data(),
                                              .mean = want.mean.data(),
                                              .rstd = want.rstd.data(),
                                              .dx = want.dx.data(),
                                              .dscale = ds.data(),
                                              .dshift = dt.data(),
                                              .dresidual = nullptr,
                                              .sums_given = true});
        expect_stored(want.dx, got_dx, 1e-4, "dx");
    }
}

TEST(NormConv, RefusesWhatItDoesNotDo) {
    const auto error_of = [](auto f) {
        try {
            f();
        } catch (const Error& e) {
            return std::string(e.what());
        }
        return std::string("no error");
    };
    Graph g(DType::f16, true);
    const Value x = g.input("x", {2, 4, 4, 3}, DType::f16), w = g.input("w", {3, 1, 1, 3}, DType::f16),
                v = g.input("v", {3}, DType::f32);
    const WithStats y = norm_conv(x, w);
    EXPECT_NE(error_of([&] { norm_conv(x, w, {.bias = v}); }).find("no bias"), std::string::npos);
    EXPECT_NE(error_of([&] { norm_conv(y, v, v, {}, w); }).find("must have relu"), std::string::npos);
    EXPECT_NE(error_of([&] {
                  norm_conv(y, v, g.input("s", {4}, DType::f32), {.activation = Activation::relu}, w);
              }).find("x has 3 channels"),
              std::string::npos);
    EXPECT_NE(error_of([&] {
                  resnet(g.input("p", {2, 32, 32, 3}, DType::f16), {.keras = true, .fused = true});
              }).find("biases"),
              std::string::npos);
    TrainConfig config;
    config.fused = true;
    config.precision = "fp16";
    EXPECT_NE(error_of([&] { precision_on(config, *open_device("simt")); }).find("compute capability 9.0"),
              std::string::npos);
    EXPECT_NE(error_of([&] {
                  assign(config, {{"model", "resnet50-keras", "test"}});
              }).find("not for resnet50-keras"),
              std::string::npos);
}

struct Trained {
    std::vector<float> losses;
    StateDict state;
};

Trained train(const char* kind, DType precision, bool fused) {
    const auto device = open_device(kind, {.threads = 2});
    Arena arena(*device);
    constexpr size_t batch = 4, size = 32;
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 8, .fused = fused});
    OptimizerConfig optimizer;
    if (precision == DType::f16) optimizer.loss_scale = 256;
    Trainer trainer(*device, arena,
                    {.model = model,
                     .batch = batch,
                     .height = size,
                     .width = size,
                     .normalize = {{1 / 64.0f, 1 / 64.0f, 1 / 64.0f}, {-2, -2, -2}},
                     .loss = classification_loss(),
                     .optimizer = optimizer,
                     .precision = precision},
                    initialize_state(model, 3));
    std::mt19937 rng(5);
    Batch data = blank_batch({.batch = batch, .fit = {.size = size}});
    Trained result;
    for (size_t step = 1; step <= 4; ++step) {
        data.images.clear(), data.labels.clear();
        for (size_t i = 0; i < batch; ++i) {
            data.labels.push_back(int32_t((step + i) % 2));
            for (size_t p = 0; p < size * size * 3; ++p)
                data.images.push_back(uint8_t(rng() % 128 + (data.labels.back() ? 128 : 0)));
        }
        trainer.step(data, 0.005, 0.9, step);
        result.losses.push_back(float(trainer.stats().loss));
        if (step == 1) result.state = trainer.state();
    }
    EXPECT_EQ(trainer.stats().skipped_steps, 0);
    return result;
}

// One step changes every parameter as the separate operations do; four steps stay together. float32 on the CPU loops,
// float16 on simt: the type that cuDNN has the chain for.
TEST(NormConv, TrainsAResNetAsTheSeparateOperationsDo) {
    const Trained plain = train("cpu", DType::f32, false), fused = train("cpu", DType::f32, true);
    ASSERT_EQ(plain.state.size(), fused.state.size());
    for (const auto& [name, tensor] : plain.state) {
        const auto& other = fused.state.at(name).values;
        ASSERT_EQ(tensor.values.size(), other.size()) << name;
        double top = 1e-2;
        for (float x : tensor.values) top = std::max(top, std::fabs(double(x)));
        for (size_t i = 0; i < other.size(); ++i)
            ASSERT_NEAR(tensor.values[i], other[i], 2e-4 * top) << name << "[" << i << "]";
    }
    for (size_t i = 0; i < plain.losses.size(); ++i)
        EXPECT_NEAR(plain.losses[i], fused.losses[i], 2e-3 * (1 + plain.losses[i])) << "step " << i + 1;
    const Trained half = train("simt", DType::f16, true);
    for (size_t i = 0; i < plain.losses.size(); ++i)
        EXPECT_NEAR(plain.losses[i], half.losses[i], 0.1 * (1 + plain.losses[i])) << "fp16, step " << i + 1;
}

}  // namespace
