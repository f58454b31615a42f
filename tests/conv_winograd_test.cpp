// Winograd's convolution against the loops, for every instruction set that this machine has: sides that end within a
// tile, channels that end within a vector, everything that may follow, and what a result must not depend on.
#include "kernels/conv/winograd.h"

#include "kernels/conv/simd_loops.h"
#include "tests/cpu_fixture.h"

namespace {
// Of the largest result. Direct sums of floats stay within 5e-6 (conv_cpu_test.cpp).
constexpr double tolerance = 1e-5;

ConvShape shape_of(size_t n, size_t h, size_t w, size_t c_in, size_t c_out) {
    return {n, h, w, c_in, c_out, 3, 3, 1, 1};
}

const ConvShape shapes[] = {
    shape_of(1, 1, 1, 1, 1),    shape_of(2, 3, 3, 7, 33),    shape_of(1, 7, 7, 33, 7),    shape_of(3, 33, 3, 16, 16),
    shape_of(1, 4, 4, 512, 48), shape_of(2, 14, 14, 64, 80), shape_of(1, 33, 65, 24, 40), shape_of(5, 9, 10, 17, 1),
};

std::vector<const WinogradLoops*> all_loops(size_t stride = 1) {
    std::vector<const WinogradLoops*> all;
    const auto add = [&](const SimdLoops& loops) {
        all.push_back(stride == 1 ? &loops.winograd : &loops.winograd_stride_2);
    };
#if defined(__x86_64__)
    if (simd_loops()) add(avx2_loops);
    if (simd_loops() == &avx512_loops) add(avx512_loops);
#endif
    return all;
}

Floats random_weight(const ConvShape& s) {
    return random_floats(s.weight_count(), 2, 0, 1 / std::sqrt(float(9 * s.c_in)));
}

Floats packed_weight(const Cpu& cpu, const ConvShape& s, const Floats& weight, bool flipped,
                     const WinogradLoops& loops) {
    Floats packed(winograd_packed_count(s, loops), 0);
    winograd_pack(cpu, s, weight.data(), flipped, packed.data(), loops);
    return packed;
}

void run(const Cpu& cpu, const ConvForward<float>& op, const Floats& packed, const WinogradLoops& loops) {
    Floats scratch = unwritten(winograd_scratch_count(cpu, op.shape, loops));
    winograd_forward<float>(cpu, op, packed.data(), scratch.data(), loops);
}

class Winograd : public testing::TestWithParam<ConvShape> {
protected:
    void SetUp() override {
        if (all_loops().empty()) GTEST_SKIP() << "this processor has no AVX2";
    }
    static void matches_the_loops(const ConvShape& s);
    static void results_depend_on_the_tile(const ConvShape& s);
};

ConvShape with_stride_2(ConvShape s) {
    s.stride = 2;
    return s;
}

TEST_P(Winograd, matches_the_loops_with_all_that_follows) { matches_the_loops(GetParam()); }
TEST_P(Winograd, of_stride_2_matches_the_loops_with_all_that_follows) { matches_the_loops(with_stride_2(GetParam())); }

void Winograd::matches_the_loops(const ConvShape& s) {
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    const Floats bias = random_floats(s.c_out, 3), residual = random_floats(s.y_count(), 4);
    const CpuDevice cpu(2, 8);
    for (const WinogradLoops* loops : all_loops(s.stride)) {
        const Floats packed = packed_weight(cpu, s, weight, false, *loops);
        for (size_t i = 0; i < 12; ++i) {
            const Activation activation = std::array{Activation::none, Activation::relu, Activation::silu}[i / 3 % 3];
            Floats y = unwritten(s.y_count()), expected = y;
            ConvForward<float> op{.shape = s,
                                  .activation = activation,
                                  .residual_last = i % 3 == 2,
                                  .x = x.data(),
                                  .weight = weight.data(),
                                  .bias = i % 5 ? bias.data() : nullptr,
                                  .residual = i % 3 ? residual.data() : nullptr,
                                  .y = expected.data()};
            compute_direct(cpu, op);
            op.y = y.data();
            run(cpu, op, packed, *loops);
            expect_close(expected, y, tolerance);
            if (!op.residual) continue;
            Floats in_place = residual;
            op.residual = op.y = in_place.data();
            run(cpu, op, packed, *loops);
            EXPECT_EQ(in_place, y) << "residual in place";
        }
    }
}

TEST_P(Winograd, flipped_weights_give_the_gradient_of_the_data) {
    const ConvShape s = GetParam(), back = shape_of(s.n, s.h, s.w, s.c_out, s.c_in);
    const Floats dy = random_floats(s.y_count(), 3), weight = random_weight(s);
    const CpuDevice cpu(2, 8);
    Floats expected = unwritten(s.x_count());
    compute_direct(cpu, ConvBackwardData<float>{s, dy.data(), weight.data(), expected.data()});
    for (const WinogradLoops* loops : all_loops()) {
        Floats dx = unwritten(s.x_count());
        run(cpu,
            {.shape = back, .x = dy.data(), .weight = nullptr, .bias = nullptr, .residual = nullptr, .y = dx.data()},
            packed_weight(cpu, back, weight, true, *loops), *loops);
        expect_close(expected, dx, tolerance);
    }
}

// Weights that are transformed a part at a time, and forgotten.
TEST_P(Winograd, streamed_weights_match_the_loops) {
    const ConvShape s = GetParam(), back = shape_of(s.n, s.h, s.w, s.c_out, s.c_in);
    const Floats x = random_floats(s.x_count(), 1), dy = random_floats(s.y_count(), 3), weight = random_weight(s);
    const Floats bias = random_floats(s.c_out, 4);
    const CpuDevice direct(2, 8);
    Floats expected_y = unwritten(s.y_count()), expected_dx = unwritten(s.x_count()), first_y, first_dx;
    ConvForward<float> op{.shape = s,
                          .activation = Activation::silu,
                          .x = x.data(),
                          .weight = weight.data(),
                          .bias = bias.data(),
                          .residual = nullptr,
                          .y = expected_y.data()};
    compute_direct(direct, op);
    compute_direct(direct, ConvBackwardData<float>{s, dy.data(), weight.data(), expected_dx.data()});
    for (const WinogradLoops* loops : all_loops())
        for (int threads : {1, 2, 7}) {
            const CpuDevice cpu(threads, 8);
            Floats y = unwritten(s.y_count()), dx = unwritten(s.x_count());
            Floats scratch = unwritten(winograd_streamed_scratch_count(cpu, s, *loops));
            op.y = y.data();
            winograd_streamed_forward<float>(cpu, op, false, scratch.data(), *loops);
            scratch = unwritten(winograd_streamed_scratch_count(cpu, back, *loops));
            winograd_streamed_forward<float>(cpu,
                                             {.shape = back,
                                              .x = dy.data(),
                                              .weight = weight.data(),
                                              .bias = nullptr,
                                              .residual = nullptr,
                                              .y = dx.data()},
                                             true, scratch.data(), *loops);
            expect_close(expected_y, y, tolerance, "y");
            expect_close(expected_dx, dx, tolerance, "dx");
            if (first_y.empty()) first_y = y, first_dx = dx;
            EXPECT_EQ(first_y, y) << threads << " threads, " << loops->lanes << " lanes";
            EXPECT_EQ(first_dx, dx) << threads << " threads, " << loops->lanes << " lanes";
        }
}

// Blocks of 128 tiles and their rest; as many threads and whatever instruction set give the same bits.
TEST_P(Winograd, gradient_of_the_weights_matches_the_loops) {
    const ConvShape s = GetParam();
    const Floats x = random_floats(s.x_count(), 1), dy = random_floats(s.y_count(), 3);
    Floats expected = unwritten(s.weight_count()), first;
    compute_direct(CpuDevice(2, 8), ConvBackwardWeight<float>{s, x.data(), dy.data(), expected.data()});
    for (const WinogradLoops* loops : all_loops())
        for (int threads : {1, 2, 3}) {
            const CpuDevice cpu(threads, 8);
            Floats dweight = unwritten(s.weight_count()),
                   scratch = unwritten(winograd_weight_scratch_count(cpu, s, *loops));
            winograd_backward_weight<float>(cpu, {s, x.data(), dy.data(), dweight.data()}, scratch.data(), *loops);
            expect_close(expected, dweight, tolerance);
            if (first.empty()) first = dweight;
            EXPECT_EQ(first, dweight) << threads << " threads, " << loops->lanes << " lanes";
        }
}

// The same bits for one image alone, for one, two and three threads, and for every instruction set.
TEST_P(Winograd, results_depend_on_the_tile_alone) { results_depend_on_the_tile(GetParam()); }
TEST_P(Winograd, of_stride_2_results_depend_on_the_tile_alone) {
    results_depend_on_the_tile(with_stride_2(GetParam()));
}

void Winograd::results_depend_on_the_tile(const ConvShape& s) {
    const Floats x = random_floats(s.x_count(), 1), weight = random_weight(s);
    Floats first;
    for (const WinogradLoops* loops : all_loops(s.stride))
        for (int threads : {1, 2, 3}) {
            const CpuDevice cpu(threads, 8);
            const Floats packed = packed_weight(cpu, s, weight, false, *loops);
            Floats y = unwritten(s.y_count()), last = unwritten(s.y_count() / s.n);
            ConvForward<float> op{.shape = s,
                                  .activation = Activation::silu,
                                  .x = x.data(),
                                  .weight = nullptr,
                                  .bias = nullptr,
                                  .residual = nullptr,
                                  .y = y.data()};
            run(cpu, op, packed, *loops);
            if (first.empty()) first = y;
            EXPECT_EQ(first, y) << threads << " threads, " << loops->lanes << " lanes";
            op.shape.n = 1;
            op.x = x.data() + s.x_count() / s.n * (s.n - 1);
            op.y = last.data();
            run(cpu, op, packed, *loops);
            EXPECT_TRUE(std::equal(last.begin(), last.end(), y.end() - long(last.size()))) << "one image alone";
        }
}

INSTANTIATE_TEST_SUITE_P(shapes, Winograd, testing::ValuesIn(shapes));
}  // namespace
