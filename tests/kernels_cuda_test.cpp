// Every operation on a GPU against simt, value by value, in three types; recorded and eager training alike. Needs a
// GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>

#include "engine/ops.h"
#include "engine/program.h"
#include "models/resnet.h"
#include "train/trainer.h"

namespace {

using Floats = std::vector<float>;
using Build = std::function<Value(std::vector<Value>&)>;

std::unique_ptr<Device> gpu_or_null(std::string& reason) {
    try {
        return open_device("cuda");
    } catch (const Error& e) {
        reason = e.what();
        return nullptr;
    }
}

Floats as_floats(Program& program, Value v) {
    if (v.dtype() == DType::f32) return program.read<float>(v);
    Floats result;
    if (v.dtype() == DType::bf16)
        for (bf16 x : program.read<bf16>(v)) result.push_back(float(x));
    if (v.dtype() == DType::f16)
        for (fp16 x : program.read<fp16>(v)) result.push_back(float(x));
    return result;
}

template <class T>
void write_as(Program& program, Value v, const Floats& values) {
    std::vector<T> typed;
    for (float x : values) typed.push_back(T(x));
    program.write<T>(v, typed);
}

struct Case {
    const char* name;
    std::vector<Shape> typed, floats;  // inputs in the type under test, then those that are float always
    Build build;
    std::optional<DType> only = {};  // the type that the operation is for
};

// y and every gradient, in a graph of type `type`.
std::vector<Floats> evaluate(Device& device, const Case& test, DType type) {
    auto owned = std::make_unique<Graph>(type, true);
    Graph& graph = *owned;
    std::vector<Value> in;
    for (const Shape& s : test.typed) in.push_back(graph.input("typed", s, type));
    for (const Shape& s : test.floats) in.push_back(graph.input("float", s, DType::f32));
    const Value y = test.build(in), dy = graph.input("dy", y.shape(), y.dtype());
    std::vector<Value> kept = gradients(y, dy, in);
    kept.push_back(y);
    Parameters parameters(device, graph);
    Arena arena(device);
    Program program(arena, std::move(owned), parameters, kept);
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;
    in.push_back(dy);
    for (Value v : in) {
        Floats values(count(v.shape()));
        for (float& x : values) x = normal(rng);
        if (v.dtype() == DType::f32) program.write<float>(v, values);
        if (v.dtype() == DType::bf16) write_as<bf16>(program, v, values);
        if (v.dtype() == DType::f16) write_as<fp16>(program, v, values);
    }
    program.run();
    std::vector<Floats> eager, recorded;
    for (Value v : kept) eager.push_back(as_floats(program, v));
    program.run();
    for (Value v : kept) recorded.push_back(as_floats(program, v));
    EXPECT_EQ(eager, recorded) << "a recorded run gives other bits";
    return eager;
}

TEST(KernelsCuda, EveryOperationEqualsSimt) {
    std::string reason;
    const auto cuda = gpu_or_null(reason);
    if (!cuda) GTEST_SKIP() << reason;
    const auto simt = open_simt();
    const std::vector<Case> cases = {
        {"conv 3x3",
         {{2, 14, 14, 64}, {32, 3, 3, 64}},
         {},
         [](auto& v) { return conv(v[0], v[1], {.stride = 1, .padding = 1}); }},
        {"conv 3x3/2",
         {{2, 14, 14, 64}, {64, 3, 3, 64}},
         {},
         [](auto& v) { return conv(v[0], v[1], {.stride = 2, .padding = 1}); }},
        {"conv 1x1", {{2, 7, 7, 64}, {128, 1, 1, 64}}, {}, [](auto& v) { return conv(v[0], v[1]); }},
        {"conv 7x7/2",
         {{2, 32, 32, 8}, {64, 7, 7, 8}},
         {},
         [](auto& v) { return conv(v[0], v[1], {.stride = 2, .padding = 3}); }},
        {"batch norm",
         {{4, 9, 9, 32}},
         {{32}, {32}},
         [](auto& v) { return batch_norm(v[0], v[1], v[2], {.activation = Activation::relu}); }},
        {"batch norm + residual",
         {{513, 24}, {513, 24}},
         {{24}, {24}},
         [](auto& v) { return batch_norm(v[0], v[2], v[3], {.activation = Activation::relu, .residual = v[1]}); }},
        {"batch norm of sums",
         {{2, 14, 14, 64}, {64, 1, 1, 64}},
         {{64}, {64}},
         [](auto& v) { return batch_norm(norm_conv(v[0], v[1]), v[2], v[3], {.activation = Activation::relu}); },
         DType::f16},
        {"norm_conv 3x3",
         {{2, 14, 14, 64}, {64, 1, 1, 64}, {128, 3, 3, 64}},
         {{64}, {64}},
         [](auto& v) {
             return norm_conv(norm_conv(v[0], v[1]), v[3], v[4], {.activation = Activation::relu}, v[2], {.padding = 1})
                 .y;
         },
         DType::f16},
        {"norm_conv 3x3/2",
         {{2, 14, 14, 64}, {64, 1, 1, 64}, {64, 3, 3, 64}},
         {{64}, {64}},
         [](auto& v) {
             return norm_conv(norm_conv(v[0], v[1]), v[3], v[4], {.activation = Activation::relu}, v[2],
                              {.stride = 2, .padding = 1})
                 .y;
         },
         DType::f16},
        {"norm_conv 1x1",
         {{2, 7, 7, 64}, {64, 1, 1, 64}, {256, 1, 1, 64}},
         {{64}, {64}},
         [](auto& v) { return norm_conv(norm_conv(v[0], v[1]), v[3], v[4], {.activation = Activation::relu}, v[2]).y; },
         DType::f16},
        {"max pool", {{2, 15, 15, 33}}, {}, [](auto& v) { return max_pool(v[0], 3, 2, 1); }},
        {"average pool", {{3, 7, 7, 40}}, {}, [](auto& v) { return global_average_pool(v[0]); }},
        {"linear", {{33, 64}, {7, 64}}, {{7}}, [](auto& v) { return linear(v[0], v[1], v[2]); }},
        {"add", {{70, 3}, {70, 3}}, {}, [](auto& v) { return add(v[0], v[1]); }},
        {"silu", {{1500}}, {}, [](auto& v) { return activation(v[0], Activation::silu); }},
        {"sigmoid", {{1500}}, {}, [](auto& v) { return activation(v[0], Activation::sigmoid); }},
        {"concat", {{2, 5, 5, 3}, {2, 5, 5, 8}}, {}, [](auto& v) { return concat(v); }},
        {"upsample2", {{2, 5, 5, 7}}, {}, [](auto& v) { return upsample2(v[0]); }},
    };
    for (const Case& test : cases)
        for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
            if (test.only && (*test.only != type || cuda->architecture() < 90)) continue;
            SCOPED_TRACE(std::string(test.name) + " " + std::string(name(type)));
            const auto want = evaluate(*simt, test, type), got = evaluate(*cuda, test, type);
            ASSERT_EQ(want.size(), got.size());
            // Stored values may round the other way after sums in another order: two units of the type's last place.
            const double unit = type == DType::f32 ? 3e-5 : type == DType::bf16 ? 0x1p-7 : 0x1p-10;
            for (size_t v = 0; v < want.size(); ++v) {
                double top = 0.1, worst = 0;
                for (float x : want[v]) top = std::max(top, std::fabs(double(x)));
                ASSERT_EQ(want[v].size(), got[v].size());
                for (size_t i = 0; i < want[v].size(); ++i) {
                    ASSERT_TRUE(std::isfinite(got[v][i])) << "value " << v << ", element " << i;
                    worst = std::max(worst, std::fabs(double(got[v][i]) - want[v][i]));
                }
                EXPECT_LE(worst, 2 * unit * top) << "value " << v;
            }
        }
}

TEST(KernelsCuda, FusedConvolutionsOfInferenceEqualSimt) {
    std::string reason;
    const auto cuda = gpu_or_null(reason);
    if (!cuda) GTEST_SKIP() << reason;
    const auto simt = open_simt();
    for (const DType type : {DType::bf16, DType::f16})
        for (const Activation a : {Activation::none, Activation::relu, Activation::silu, Activation::sigmoid})
            for (const bool residual_last : {false, true}) {
                Floats results[2];
                for (Device* device : {simt.get(), cuda.get()}) {
                    auto owned = std::make_unique<Graph>(type);
                    Graph& graph = *owned;
                    const Value x = graph.input("x", {2, 10, 10, 32}, type), w = graph.input("w", {32, 3, 3, 32}, type);
                    const Value bias = graph.input("bias", {32}, DType::f32);
                    const Value y = conv(
                        x, w,
                        {.padding = 1, .bias = bias, .activation = a, .residual = x, .residual_last = residual_last});
                    Parameters parameters(*device, graph);
                    Arena arena(*device);
                    Program program(arena, std::move(owned), parameters, std::span(&y, 1));
                    std::mt19937 rng(2);
                    std::normal_distribution<float> normal(0, 0.3f);
                    for (Value v : {x, w, bias}) {
                        Floats values(count(v.shape()));
                        for (float& f : values) f = normal(rng);
                        if (v.dtype() == DType::f32) program.write<float>(v, values);
                        if (v.dtype() == DType::bf16) write_as<bf16>(program, v, values);
                        if (v.dtype() == DType::f16) write_as<fp16>(program, v, values);
                    }
                    program.run();
                    results[device == cuda.get()] = as_floats(program, y);
                }
                double top = 0.1;
                for (float f : results[0]) top = std::max(top, std::fabs(double(f)));
                for (size_t i = 0; i < results[0].size(); ++i)
                    ASSERT_NEAR(results[1][i], results[0][i], (type == DType::bf16 ? 0x1p-6 : 0x1p-9) * top)
                        << name(type) << ", activation " << int(a) << ", element " << i;
            }
}

// A tiny ResNet: recorded equals eager bit for bit where engines are deterministic, and follows cpu.
TEST(KernelsCuda, TrainingFollowsCpuAndReplaysItself) {
    std::string reason;
    if (!gpu_or_null(reason)) GTEST_SKIP() << reason;
    const Model model = make_model(ResNetConfig{.depth = 50, .classes = 2, .width = 16});
    const auto losses = [&](const char* kind, bool eager) {
        const auto device = open_device(kind, {.deterministic = true});
        Arena arena(*device);
        Trainer trainer(*device, arena,
                        {.model = model,
                         .batch = 8,
                         .height = 64,
                         .width = 64,
                         .normalize = {{0.02f, 0.02f, 0.02f}, {-2, -2, -2}},
                         .loss = classification_loss(),
                         .eager = eager},
                        initialize_state(model, 1));
        std::mt19937 rng(4);
        Floats result;
        Batch batch = blank_batch({.batch = 8, .fit = {.size = 64}});
        for (size_t step = 1; step <= 20; ++step) {
            for (uint8_t& p : batch.images) p = uint8_t(rng());
            for (int32_t& label : batch.labels) label = int32_t(rng() % 2);
            trainer.step(batch, step < 10 ? 0.01 : 0.002, 0.9, step);
            result.push_back(float(trainer.stats().loss));
        }
        return result;
    };
    const Floats recorded = losses("cuda", false), eager = losses("cuda", true), cpu = losses("cpu", false);
    EXPECT_EQ(recorded, eager);
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(recorded[i], cpu[i], 2e-3 * (1 + cpu[i])) << "step " << i + 1;
}

}  // namespace
