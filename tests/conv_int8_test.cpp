// Convolution of bytes on the CPU: the definition against float32, and every instruction set that this machine has
// against the definition, byte for byte. 2 s of CPU time, more where waiting threads spin.
#include "kernels/conv/int8.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <span>

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
        if (!op.residual) return;
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

// Sides, channels and kernels of all kinds, the forms in turn.
TEST(ConvInt8, random_shapes) {
    std::mt19937 generator(7);
    const auto random = [&](size_t low, size_t high) { return low + generator() % (high - low + 1); };
    for (size_t i = 0; i < 60; ++i) {
        const size_t kernel = random(1, 7), other = i % 4 ? kernel : random(1, 7), many = i % 3 ? 40 : 300;
        const ConvShape s{i % 10 ? random(1, 3) : 16,
                          random(std::max(kernel, other), 17),
                          random(std::max(kernel, other), 17),
                          random(1, kernel > 2 ? 40 : many),
                          random(1, 100),
                          kernel,
                          other,
                          random(1, 3),
                          random(0, std::min(kernel, other) / 2)};
        SCOPED_TRACE(testing::Message() << s.n << "x" << s.h << "x" << s.w << ", " << s.c_in << " to " << s.c_out
                                        << ", " << kernel << "x" << other << "/" << s.stride << ", padding "
                                        << s.padding);
        Case c(s);
        c.op.activation = std::array{Activation::none, Activation::relu, Activation::silu}[i % 3];
        if (i % 2) c.op.residual = c.residual.data();
        c.op.residual_last = i % 4 == 1;
        c.op.x_range.zero = std::array{0, 255, 128, 1}[i % 4];
        expect_definition(c.op);
        if (testing::Test::HasFailure()) return;
    }
}

// Two bytes times two weights do not fit into 16 bits with a sign, and the longest sum fits just into 32.
TEST(ConvInt8, sums_do_not_saturate) {
    for (const ConvShape& s : {ConvShape{1, 5, 6, 64, 48, 3, 3, 1, 1}, {1, 1, 3, 66000, 17, 1, 1}})
        for (const int zero : {0, 255})
            for (const int weight : {-127, 127}) {
                Case c(s);
                std::ranges::fill(c.x, uint8_t(255 - zero));
                std::ranges::fill(c.weight, int8_t(weight));
                std::ranges::fill(c.weight_scale, 1.0f);
                c.op.x_range = {1, zero}, c.op.bias = nullptr;
                const auto run = [](const Cpu& device, const ConvInt8& op) { compute(device, op); };
                const Floats y = result_of(CpuDevice{}, c.op, run).y_float;
                const size_t middle = (s.out_w() + 1) * s.c_out;  // a window inside x
                EXPECT_EQ(y[s.kernel_h == 1 ? 0 : middle], float((zero ? -255 : 255) * weight * int(c.depth)));
                expect_definition(c.op);
            }
}

// Many weights on few pixels (made run by run), few on many.
TEST(ConvInt8, large_and_small) {
    for (const ConvShape& s : {ConvShape{2, 4, 5, 1280, 40, 3, 3, 1, 1},
                               {1, 1, 1, 4096, 33, 1, 1},
                               {1, 50, 60, 16, 16, 1, 1},
                               {1, 17, 23, 80, 80, 3, 3, 1, 1},
                               {1, 6, 6, 36, 5, 6, 6, 1, 0}}) {
        Case c(s);
        c.op.activation = Activation::silu, c.op.residual = c.residual.data(), c.op.residual_last = true;
        expect_definition(c.op);
    }
}

// The pages beside x, the residual and y belong to nobody, and nothing is aligned.
TEST(ConvInt8, touches_nothing_else) {
    struct Guarded {
        size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes;
        char* all;
        explicit Guarded(size_t used) : bytes((used + page - 1) / page * page) {
            all = static_cast<char*>(mmap(nullptr, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
            mprotect(all + page, bytes, PROT_READ | PROT_WRITE);
        }
        ~Guarded() { munmap(all, bytes + 2 * page); }
        uint8_t* place(size_t used, bool at_end) const {
            return reinterpret_cast<uint8_t*>(all + page + (at_end ? bytes - used : 0));
        }
    };
    const CpuDevice cpu;
    for (const ConvShape& s : {ConvShape{1, 7, 5, 3, 33, 7, 7, 2, 3},
                               {1, 9, 3, 33, 5, 3, 3, 1, 1},
                               {2, 3, 7, 20, 70, 1, 1},
                               {1, 5, 5, 67, 16, 1, 1, 2}}) {
        Case c(s);
        const Guarded x(c.x.size()), residual(c.residual.size()), y(c.residual.size());
        Bytes expected(c.residual.size());
        c.op.residual = c.residual.data(), c.op.y = expected.data();
        compute_direct(cpu, c.op);
        for (const Int8Loops* const loops : all_loops())
            for (const bool at_end : {false, true}) {
                c.op.x = x.place(c.x.size(), at_end), c.op.residual = residual.place(expected.size(), at_end);
                c.op.y = y.place(expected.size(), at_end);
                std::ranges::copy(c.x, x.place(c.x.size(), at_end));
                std::ranges::copy(c.residual, residual.place(expected.size(), at_end));
                int8_compute(cpu, c.op, *loops);
                EXPECT_TRUE(std::ranges::equal(expected, std::span(c.op.y, expected.size())));
                drop_packed_weights(c.weight.data(), c.weight.size());
            }
    }
}

TEST(ConvInt8, an_image_does_not_depend_on_those_beside_it) {
    const CpuDevice cpu;
    for (ConvShape s : conv_shapes) {
        s.n = 3;
        Case c(s);
        Bytes y(s.y_count()), alone(s.y_count() / 3);
        c.op.y = y.data();
        compute(cpu, c.op);
        c.op.shape.n = 1, c.op.y = alone.data();
        for (size_t n = 0; n < 3; ++n) {
            c.op.x = c.x.data() + n * s.x_count() / 3;
            compute(cpu, c.op);
            EXPECT_TRUE(std::equal(alone.begin(), alone.end(), y.begin() + ptrdiff_t(n * alone.size())));
        }
    }
}

TEST(ConvInt8, weights_are_packed_until_forgotten) {
    if (all_loops().empty()) GTEST_SKIP() << "by the loops";
    const CpuDevice cpu;
    Case c({1, 9, 9, 32, 48, 3, 3, 1, 1});
    const auto run = [](const Cpu& device, const ConvInt8& op) { compute(device, op); };
    const auto direct = [](const Cpu& device, const ConvInt8& op) { compute_direct(device, op); };
    const size_t before = packed_weight_count();
    result_of(cpu, c.op, run);
    EXPECT_EQ(packed_weight_count(), before + 1) << "from the second use on";
    std::ranges::fill(c.weight, int8_t(-5));
    drop_packed_weights(c.weight.data(), c.weight.size());
    EXPECT_EQ(packed_weight_count(), before);
    EXPECT_TRUE(result_of(cpu, c.op, run) == result_of(cpu, c.op, direct));
}

TEST(ConvInt8, scratch_memory_of_resnet50_fits_into_what_a_device_has) {
    if (!int8_loops()) GTEST_SKIP() << "the plain loops need none";
    for (const ConvShape& s : resnet50(64, 224))
        for (const int threads : {1, 16, 256}) {
            Cpu cpu;
            cpu.threads = threads;
            EXPECT_LE(int8_scratch_bytes(cpu, s, *int8_loops()), Cpu::scratch_reserved(threads));
        }
}
}  // namespace
