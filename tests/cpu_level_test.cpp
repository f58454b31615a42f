// Every instruction level that this machine has gives the same numbers: of all operations on the CPU and of the loops
// over pixels. Below 1 s.
#include "base/cpu_level.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "data/resize.h"
#include "kernels/matrix_product.h"
#include "tests/check_op.h"

extern "C" int tundra_cpu_level;

namespace {

// Runs something once per level, lowest first.
template <class Run>
void at_every_level(const Run& run) {
    const int highest = tundra_cpu_level;
    for (tundra_cpu_level = 0; tundra_cpu_level < highest; ++tundra_cpu_level) run();
    run();
}

// Multiplications and additions are not fused, and sums keep their order, but in these.
bool has_products(const OpCase& test) {
    return test.name.starts_with("conv ") || test.name.starts_with("linear") || test.name.starts_with("attention");
}

TEST(CpuLevel, operations_have_the_same_bits) {
    size_t compared = 0;
    for (const OpCase& test : op_cases()) {
        SCOPED_TRACE(test.name);
        std::vector<Floats> plain;
        at_every_level([&] {
            const auto cpu = open_cpu({});
            CaseGraph graph(*cpu, test, DType::f32);
            std::vector<Floats> result = graph.run();
            if (plain.empty())
                plain = std::move(result);
            else if (has_products(test))
                compare(test, graph, plain, result, DType::f32);
            else {
                EXPECT_EQ(plain, result);
                ++compared;
            }
        });
    }
    EXPECT_TRUE(compared > 50 || cpu_level() == CpuLevel::plain);
}

TEST(CpuLevel, pixels_have_the_same_bits) {
    constexpr size_t h = 61, w = 83, out_h = 40, out_w = 57;
    std::vector<uint8_t> image(h * w * 3);
    for (size_t i = 0; i < image.size(); ++i) image[i] = uint8_t(i * 2654435761u >> 13);
    for (const Filter filter : {Filter::linear, Filter::antialias, Filter::nearest}) {
        std::vector<uint8_t> plain;
        at_every_level([&] {
            std::vector<uint8_t> result(out_h * out_w * 3);
            resize({h, w, out_h, out_w, filter, image.data(), result.data()});
            if (plain.empty()) plain = result;
            EXPECT_EQ(plain, result);
        });
    }
}

// The product that stands in for oneDNN's.
TEST(CpuLevel, matrix_products_are_right_and_have_the_same_bits) {
    struct Sizes {
        size_t m, n, k;
    };
    for (const Sizes& sizes : {Sizes{1, 1, 1}, {3, 70, 5}, {130, 9, 300}, {65, 129, 128}, {4, 64, 257}})
        for (const int transposed : {0, 1, 2, 3})
            for (const float beta : {0.0f, 0.5f}) {
                const size_t m = sizes.m, n = sizes.n, k = sizes.k;
                const bool ta = transposed & 1, tb = transposed & 2;
                std::mt19937 random(unsigned(m + n + k));
                std::normal_distribution<float> normal;
                const size_t a_pitch = (ta ? m : k) + 3, b_pitch = (tb ? k : n) + 1, y_pitch = n + 2;
                Floats a((ta ? k : m) * a_pitch), b((tb ? n : k) * b_pitch), y(m * y_pitch), first;
                for (Floats* all : {&a, &b, &y})
                    for (float& x : *all) x = normal(random);
                at_every_level([&] {
                    for (const int threads : {1, 3}) {
                        Floats result = y;
                        if (beta == 0)  // is not read
                            for (size_t i = 0; i < m; ++i)
                                std::fill_n(&result[i * y_pitch], n, std::numeric_limits<float>::quiet_NaN());
                        compute(Cpu{.threads = threads, .scratch = {}},
                                MatrixProduct{m, n, k, a.data(), a_pitch, ta, b.data(), b_pitch, tb, 2, beta,
                                              result.data(), y_pitch});
                        if (first.empty()) first = result;
                        EXPECT_EQ(first, result) << threads << " threads";
                    }
                });
                for (size_t i = 0; i < m; ++i)
                    for (size_t j = 0; j < y_pitch; ++j) {
                        double want = y[i * y_pitch + j];
                        if (j < n) {
                            want *= double(beta);
                            for (size_t d = 0; d < k; ++d)
                                want += 2.0 * double(ta ? a[d * a_pitch + i] : a[i * a_pitch + d]) *
                                        double(tb ? b[j * b_pitch + d] : b[d * b_pitch + j]);
                        }
                        ASSERT_NEAR(first[i * y_pitch + j], want, 1e-5 * std::sqrt(double(k)) * 5) << i << " " << j;
                    }
            }
}

TEST(CpuLevel, a_wrong_wish_is_named) {
    const auto message = [](const char* value) -> std::string {
        setenv("TUNDRA_CPU_LEVEL", value, 1);
        try {
            check_cpu_level_wanted();
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message("AVX2"), "TUNDRA_CPU_LEVEL=AVX2: must be plain, avx2 or avx512");
    const int highest = tundra_cpu_level;
    tundra_cpu_level = 0;
    EXPECT_EQ(message("avx512"), "TUNDRA_CPU_LEVEL=avx512: this processor has plain at most");
    EXPECT_EQ(message("plain"), "");
    EXPECT_EQ(message(""), "") << "as if not set";
    tundra_cpu_level = highest;
    unsetenv("TUNDRA_CPU_LEVEL");
}

}  // namespace
