// Convolution of bytes on the CPU: the definition against float32, and every instruction set that this machine has
// against the definition, byte for byte. 2 s of CPU time, more where waiting threads spin.
#include "kernels/conv/int8.h"

#include <array>

#include "kernels/conv/cpu.h"
#include "kernels/conv/int8_loops.h"
#include "tests/conv_cases.h"

namespace {
using Bytes = std::vector<uint8_t>;
using Weights = std::vector<int8_t>;

template <class T>
std::vector<T> random_bytes(size_t count, unsigned seed, int low, int high) {
    std::mt19937 generator(seed);
    std::uniform_int_distribution<int> distribution(low, high);
    std::vector<T> values(count);
    for (T& value : values) value = T(distribution(generator));
    return values;
}
Floats values(const Bytes& bytes, const Quantization& range) {
    Floats result;
    for (const uint8_t byte : bytes) result.push_back(range.value(byte));
    return result;
}

std::vector<const Int8Loops*> all_loops() {
    std::vector<const Int8Loops*> all;
#if defined(__x86_64__)
    for (const Int8Loops* const loops : {&int8_loops_avx2, &int8_loops_avx2_vnni, &int8_loops_avx512_vnni})
        if (is_usable(*loops)) all.push_back(loops);
#endif
    return all;
}

// Everything that a case points to.
struct Case {
    ConvShape s;
    size_t depth = s.kernel_h * s.kernel_w * s.c_in;
    Bytes x = random_bytes<uint8_t>(s.x_count(), 1, 0, 255), residual = random_bytes<uint8_t>(s.y_count(), 4, 0, 255);
    Weights weight = random_bytes<int8_t>(s.weight_count(), 2, -127, 127);
    Floats weight_scale = random_floats(s.c_out, 3, 1.0f, 0.1f), bias = random_floats(s.c_out, 5);
    ConvInt8 op{.shape = s,
                .x = x.data(),
                .x_range = {0.02f, 13},
                .weight = weight.data(),
                .weight_scale = weight_scale.data(),
                .bias = bias.data(),
                .residual_range = {0.013f, 31},
                .y_range = {0.03f, 20}};

    explicit Case(const ConvShape& shape) : s(shape) {  // values near 1
        for (float& scale : weight_scale) scale *= 1 / (73 * std::sqrt(float(depth)));
    }
    Case(const Case&) = delete;
    ~Case() { drop_packed_weights(weight.data(), weight.size()); }
};

struct Result {
    Bytes y;
    Floats y_float;
    bool operator==(const Result&) const = default;
};
template <class Run>
Result result_of(const Cpu& cpu, ConvInt8 op, const Run& run) {
    Result result{Bytes(op.shape.y_count(), 77), unwritten(op.shape.y_count())};
    op.y = result.y.data(), run(cpu, op);
    op.y = nullptr, op.y_float = result.y_float.data(), run(cpu, op);
    return result;
}

struct ConvInt8Test : testing::TestWithParam<ConvShape> {
    Case c{GetParam()};
    const CpuDevice cpu{2}, one{1}, three{3};

    // With and without bias, residual and activation.
    template <class Visit>
    void for_forms(const Visit& visit) {
        for (size_t i = 0; i < 12; ++i) {
            ConvInt8 op = c.op;
            op.activation = std::array{Activation::none, Activation::relu, Activation::silu}[i % 3];
            if (i / 3 > 0) op.residual = c.residual.data();
            op.residual_last = i / 3 == 2;
            if (i / 3 == 3) op.bias = nullptr, op.x_range.zero = 255, op.y_range.zero = 0;
            SCOPED_TRACE(i);
            visit(op);
        }
    }
};

// Beside the convolution of the floats that the bytes stand for.
TEST_P(ConvInt8Test, definition) {
    for_forms([&](const ConvInt8& op) {
        const Floats x = values(c.x, op.x_range), residual = values(c.residual, op.residual_range);
        Floats weight(c.weight.begin(), c.weight.end()), expected = unwritten(c.s.y_count());
        for (size_t i = 0; i < weight.size(); ++i) weight[i] *= c.weight_scale[i / c.depth];
        compute_direct(cpu, ConvForward<float>{.shape = c.s,
                                               .activation = op.activation,
                                               .residual_last = op.residual_last,
                                               .x = x.data(),
                                               .weight = weight.data(),
                                               .bias = op.bias,
                                               .residual = op.residual ? residual.data() : nullptr,
                                               .y = expected.data()});
        const Result result =
            result_of(cpu, op, [](const Cpu& device, const ConvInt8& now) { compute_direct(device, now); });
        expect_close(expected, result.y_float, op.activation == Activation::silu ? 1.2e-4 : 1e-5, "y_float");
        const float low = op.y_range.value(0), high = op.y_range.value(255);
        for (size_t i = 0; i < expected.size(); ++i)
            ASSERT_NEAR(std::clamp(expected[i], low, high), op.y_range.value(result.y[i]), 0.51f * op.y_range.scale)
                << i;
    });
}

// With any number of threads, weights packed or not yet, the residual in place.
void expect_definition(const ConvInt8& op) {
    static const CpuDevice cpu{2}, one{1}, three{3};
    const Result expected =
        result_of(cpu, op, [](const Cpu& device, const ConvInt8& now) { compute_direct(device, now); });
    const auto check = [&](const auto& run) {
        for (const CpuDevice* const device : {&cpu, &one, &three})
            EXPECT_TRUE(expected == result_of(*device, op, run)) << device->threads << " threads";
        if (!op.residual || op.residual_last) return;
        ConvInt8 in_place = op;
        Bytes y(op.residual, op.residual + op.shape.y_count());
        in_place.residual = in_place.y = y.data();
        run(cpu, in_place);
        EXPECT_TRUE(expected.y == y) << "residual in place";
    };
    for (const Int8Loops* const loops : all_loops()) {
        SCOPED_TRACE(testing::Message() << loops->lanes << " lanes of " << loops->numbers);
        drop_packed_weights(op.weight, op.shape.weight_count());
        check([&](const Cpu& device, const ConvInt8& now) { int8_compute(device, now, *loops); });
    }
    drop_packed_weights(op.weight, op.shape.weight_count());
    check([](const Cpu& device, const ConvInt8& now) { compute(device, now); });
}

TEST_P(ConvInt8Test, equals_definition) {
    for_forms([](const ConvInt8& op) { expect_definition(op); });
}

INSTANTIATE_TEST_SUITE_P(shapes, ConvInt8Test, testing::ValuesIn(conv_shapes));
}  // namespace
