// Convolution as a product of gathered rows against the loops, for every instruction set that this machine has:
// strides, padding, blocks that end early; as many threads and whatever instruction set give the same bits.
#include "kernels/conv/product.h"

#include "kernels/conv/simd_loops.h"
#include "tests/cpu_fixture.h"

namespace {
// Of the largest result: sums of up to 5000 products of floats, in another order.
constexpr double tolerance = 5e-6;

const ConvShape pointwise[] = {
    {1, 1, 1, 16, 16, 1, 1},        {2, 7, 9, 48, 80, 1, 1},      {3, 33, 5, 256, 32, 1, 1, 2},
    {1, 14, 14, 528, 112, 1, 1, 2}, {2, 10, 9, 272, 48, 1, 1, 3},
};
const ConvShape windows[] = {
    {1, 1, 1, 16, 16, 1, 1},         {2, 7, 9, 48, 80, 1, 1},         {2, 33, 17, 32, 320, 1, 1, 2},
    {1, 13, 11, 16, 32, 3, 3, 2, 1}, {2, 14, 14, 80, 48, 3, 3, 2, 1}, {1, 9, 20, 32, 32, 5, 3, 3, 2},
    {1, 4, 4, 64, 16, 3, 3, 1, 1},
};

std::vector<const ProductLoops*> all_loops() {
    std::vector<const ProductLoops*> all;
#if defined(__x86_64__)
    if (simd_loops()) all.push_back(&avx2_loops.product);
    if (simd_loops() == &avx512_loops) all.push_back(&avx512_loops.product);
#endif
    return all;
}

// op(result) gives the struct whose result goes there.
template <class Op>
void check(size_t count, const Op& op) {
    Floats expected = unwritten(count), first;
    compute_direct(CpuDevice(2, 8), op(expected.data()));
    for (const ProductLoops* loops : all_loops())
        for (int threads : {1, 2, 3, 7}) {
            const CpuDevice cpu(threads, 8);
            Floats result = unwritten(count),
                   scratch = unwritten(product_scratch_count(cpu, op(result.data()), *loops));
            product_compute(cpu, op(result.data()), scratch.data(), *loops);
            expect_close(expected, result, tolerance);
            if (first.empty()) first = result;
            EXPECT_EQ(first, result) << threads << " threads, " << loops->lanes << " lanes";
        }
}

TEST(ConvProduct, pointwise_matches_the_loops) {
    for (const ConvShape& s : pointwise) {
        const Floats x = random_floats(s.x_count(), 1), dy = random_floats(s.y_count(), 3),
                     weight = random_floats(s.weight_count(), 2);
        check(s.y_count(), [&](float* y) {
            return ConvForward<float>{
                .shape = s, .x = x.data(), .weight = weight.data(), .bias = nullptr, .residual = nullptr, .y = y};
        });
        check(s.x_count(), [&](float* dx) { return ConvBackwardData<float>{s, dy.data(), weight.data(), dx}; });
    }
}

TEST(ConvProduct, has_all_rows_where_openmp_gives_fewer_threads) {
    for (size_t rows = 1; rows <= 3; ++rows) {
        const ConvShape s{1, 1, rows, 32, 32, 1, 1};
        const Floats x = random_floats(s.x_count(), 1), weight = random_floats(s.weight_count(), 2);
        Floats expected = unwritten(s.y_count()), y = expected;
        ConvForward<float> op{.shape = s,
                              .x = x.data(),
                              .weight = weight.data(),
                              .bias = nullptr,
                              .residual = nullptr,
                              .y = expected.data()};
        compute_direct(CpuDevice(1, 8), op);
        op.y = y.data();
        for (const ProductLoops* loops : all_loops()) {
            const CpuDevice cpu(16, 8);
            Floats scratch = unwritten(product_scratch_count(cpu, op, *loops));
            std::ranges::fill(y, -7.0f);
#pragma omp parallel num_threads(2)  // a team within a team has one thread
#pragma omp single
            product_compute(cpu, op, scratch.data(), *loops);
            expect_close(expected, y, tolerance);
        }
    }
}

TEST(ConvProduct, gradient_of_the_weights_matches_the_loops) {
    for (const ConvShape& s : windows) {
        const Floats x = random_floats(s.x_count(), 1), dy = random_floats(s.y_count(), 3);
        check(s.weight_count(), [&](float* dweight) {
            return ConvBackwardWeight<float>{s, x.data(), dy.data(), dweight};
        });
    }
}
}  // namespace
