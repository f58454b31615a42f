// Quantized networks: the graph on bytes against float32, and when --precision takes them. About 2 s.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/hash.h"
#include "engine/op.h"
#include "predict/precision.h"
#include "tests/quantize_fixture.h"

namespace {

// ---- a graph whose numbers bytes hold exactly

constexpr Shape::value_type kSide = 9;

struct Small {
    Value x, y, pooled;
};

// Multiples of 4 everywhere: `first` stays float32, everything behind it can run on bytes.
Small trace_small(Graph& graph, Activation activation = Activation::none) {
    const auto conv_of = [&](Value x, const char* name, size_t channels, size_t kernel, ConvOptions options) {
        graph.layer = name;
        const std::string layer = name;
        const Value weight = graph.parameter(layer + ".weight", {channels, kernel, kernel, x.shape().back()},
                                             {.role = ParameterRole::weight});
        options.bias = graph.parameter(layer + ".bias", {channels}, {.role = ParameterRole::norm_or_bias});
        options.padding = kernel / 2;
        return conv(x, weight, options);
    };
    Small s;
    s.x = graph.input("x", {2, kSide, kSide, 3}, DType::f32);
    const Value first = conv_of(s.x, "first", 4, 1, {});
    const Value a = conv_of(first, "a", 8, 3, {.activation = activation});
    const Value b = conv_of(a, "b", 8, 3, {.activation = Activation::relu, .residual = a});
    const Value c = conv_of(b, "c", 8, 1, {.activation = activation, .residual = a, .residual_last = true});
    const Value pooled = max_pool(c, 3, 2, 1), up = upsample2(pooled);
    const Value half = slice(up, 4, 4);
    const Value all = concat(std::array{up, half, upsample2(max_pool(a, 3, 2, 1))});
    s.pooled = average_pool2(all);
    s.y = conv_of(all, "last", 5, 3, {.stride = 2});
    return s;
}

// Whole numbers of few bits, in kernels with few weights that are not 0.
StateDict whole_weights() {
    StateDict state;
    const auto layer = [&](const std::string& name, size_t out, size_t in, size_t kernel, float bias) {
        std::vector<float> weight(out * in * kernel * kernel);
        for (size_t o = 0; o < out; ++o)
            for (size_t k = 0; k < 3; ++k)
                weight[o * in * kernel * kernel + (7 * o + 5 * k) % (in * kernel * kernel)] = k == 1 ? -1 : 1;
        state[name + ".weight"] = {{out, in, kernel, kernel}, weight};
        state[name + ".bias"] = {{out}, std::vector<float>(out, bias)};
    };
    layer("first", 4, 3, 1, 0), layer("a", 8, 4, 3, 8), layer("b", 8, 8, 3, -4), layer("c", 8, 8, 1, 4);
    layer("last", 5, 20, 3, 12);
    return state;
}

// In steps of 2 and 4, with zeros in different places.
const Int8Layers kWholeLayers{
    .convolutions = {"a", "b", "c", "last"},
    .ranges = {{"first", {-60, 450}}, {"a", {-200, 310}}, {"b", {0, 510}}, {"c", {-400, 620}}}};

StateDict with_unit_scales(StateDict state, const Int8Layers& layers) {
    for (const std::string& name : layers.convolutions)
        state[name + std::string(kWeightScale)] = {{state.at(name + ".weight").shape[0]},
                                                   std::vector<float>(state.at(name + ".weight").shape[0], 1)};
    return state;
}

struct Ran {
    std::vector<float> y, pooled;
    std::vector<std::string> operations;
};

Ran run_small(const StateDict& state, const Int8Layers* int8, const std::vector<float>& pixels,
              Activation activation = Activation::none) {
    const auto device = open_device("cpu", {.threads = 2});
    auto graph = std::make_unique<Graph>();
    const Small s = trace_small(*graph, activation);
    if (int8) use_int8(*graph, *int8);
    Ran ran;
    for (const Node& node : graph->nodes) ran.operations.emplace_back(node.op->name());
    Arena arena(*device);
    Parameters parameters(*device, *graph);
    upload(state, parameters, "the small graph");
    Program program(arena, std::move(graph), parameters, std::array{s.y, s.pooled});
    program.prepare();
    for (int i = 0; i < 2; ++i) {  // weights are packed at their second use
        program.write<float>(s.x, pixels);
        program.run();
    }
    ran.y = program.read<float>(s.y), ran.pooled = program.read<float>(s.pooled);
    return ran;
}

std::vector<float> whole_pixels() {
    std::vector<float> pixels = random_floats(2 * kSide * kSide * 3, 3, -8, 20);
    for (float& p : pixels) p = 4 * std::nearbyint(p / 4);
    return pixels;
}

// Every operation between the borders: any wrong offset, scale, margin or channel shows as a number that differs.
TEST(QuantizedGraph, WholeNumbersComeOutExactly) {
    const StateDict state = whole_weights();
    const std::vector<float> pixels = whole_pixels();
    const Ran fp32 = run_small(state, nullptr, pixels);
    const Ran int8 = run_small(with_unit_scales(state, kWholeLayers), &kWholeLayers, pixels);
    EXPECT_EQ(int8.y, fp32.y);
    EXPECT_EQ(int8.pooled, fp32.pooled);
    const auto [low, high] = std::ranges::minmax(fp32.y);
    EXPECT_GT(high - low, 100) << "the numbers differ from each other";
    const auto count = [&](const char* name) { return std::ranges::count(int8.operations, name); };
    EXPECT_EQ(count("conv"), 1);
    EXPECT_EQ(count("conv_int8"), 4);
    EXPECT_EQ(count("quantize"), 1) << "behind the first convolution only";
    EXPECT_EQ(count("dequantize"), 1) << "for average_pool2 only: the last convolution gives floats";
    EXPECT_EQ(count("concat_int8") + count("slice_int8"), 2);
}

TEST(QuantizedGraph, MissingRangesAreErrors) {
    for (const auto& [name, range] : kWholeLayers.ranges) {
        Graph graph;
        trace_small(graph);
        Int8Layers layers = kWholeLayers;
        layers.ranges.erase(name);
        EXPECT_THROW(use_int8(graph, layers), Error) << name;
    }
    Graph untouched;
    trace_small(untouched);
    const size_t nodes = untouched.nodes.size();
    use_int8(untouched, {});
    EXPECT_EQ(untouched.nodes.size(), nodes);
}

// Equal bits on every processor: with SiLU, scales that are no powers of two, and residuals of other ranges.
TEST(QuantizedGraph, GoldenBits) {
    Int8Layers layers = kWholeLayers;
    layers.ranges = {{"first", {-47.3f, 120.9f}}, {"a", {-11.7f, 133.1f}}, {"b", {0, 171.3f}}, {"c", {-20.2f, 290.4f}}};
    StateDict state = with_unit_scales(whole_weights(), layers);
    for (const std::string& name : layers.convolutions)
        for (size_t c = 0; float& scale : state.at(name + std::string(kWeightScale)).values.mutable_data())
            scale = 0.25f + 0.0713f * float(++c);
    const Ran ran = run_small(state, &layers, whole_pixels(), Activation::silu);
    EXPECT_EQ(hash_hex({reinterpret_cast<const char*>(ran.y.data()), ran.y.size() * sizeof(float)}),
              "d4a8104a814642f2");
}

TEST(QuantizedGraph, Ranges) {
    EXPECT_EQ(quantization_of({0, 255}), (Quantization{1, 0}));
    EXPECT_EQ(quantization_of({-255, 0}), (Quantization{1, 255}));
    const Quantization silu = quantization_of({-0.278f, 5});
    EXPECT_EQ(silu.zero, 13);
    RangeRecorder recorder;
    std::vector<float> numbers = {1, -3, 2};
    Graph graph;
    trace_small(graph);
    Step step{graph.nodes[0].op, {}, {{numbers.data(), {3}, DType::f32}}, "first"};
    recorder.add(step), recorder.end_image(true);
    numbers = {5, 4, 3};
    recorder.add(step), recorder.end_image(true);
    numbers = {1e9f, -1e9f, 0};
    recorder.add(step), recorder.end_image(false);  // an image that could not be read
    EXPECT_EQ(recorder.images(), 2u);
    EXPECT_EQ(recorder.ranges().at("first"), (Range{-1.5f, 3.5f})) << "0 belongs to the second image's range";
}

TEST(Quantize, SplitKeepsEnoughForTheCheck) {
    for (const size_t holdout : {size_t(100), size_t(1000), size_t(37)}) {
        const size_t n = images_needed(holdout);
        std::vector<uint32_t> samples(n);
        for (uint32_t i = 0; i < n; ++i) samples[i] = i;
        const CalibrationSplit split = calibration_split(samples);
        EXPECT_GE(split.holdout.size(), holdout);
        EXPECT_EQ(split.holdout.size() + split.calibration.size(), n);
        samples.pop_back();
        EXPECT_LT(calibration_split(samples).holdout.size(), holdout);
    }
    EXPECT_EQ(images_needed(100), 125u);
    EXPECT_EQ(images_needed(1000), 1200u);
}

TEST(Quantize, CheckOfManyImagesIsLimitedAndSpreadEvenly) {
    std::vector<uint32_t> samples(200'000);
    for (uint32_t i = 0; i < samples.size(); ++i) samples[i] = i;
    const CalibrationSplit split = calibration_split(samples);
    EXPECT_EQ(split.calibration.size(), kMostCalibrationImages);
    ASSERT_EQ(split.holdout.size(), kMostCheckedImages);
    uint32_t before = 0;
    for (const uint32_t i : split.holdout) {
        EXPECT_LE(i - before, 42u);
        before = i;
    }
    EXPECT_GE(before, 199'950u);
    std::vector<uint32_t> both;
    std::ranges::set_intersection(split.calibration, split.holdout, std::back_inserter(both));
    EXPECT_TRUE(both.empty());
}

// ---- networks

// Root mean square of the difference, in that of what varies within a channel.
double error_of(const std::vector<float>& fp32, const std::vector<float>& int8, size_t channels) {
    double difference = 0, variation = 0;
    for (size_t c = 0; c < channels; ++c) {
        double mean = 0;
        const double n = double(fp32.size() / channels);
        for (size_t i = c; i < fp32.size(); i += channels) mean += fp32[i] / n;
        for (size_t i = c; i < fp32.size(); i += channels)
            difference += std::pow(double(int8[i]) - fp32[i], 2), variation += std::pow(fp32[i] - mean, 2);
    }
    return std::sqrt(difference / variation);
}

TEST(QuantizedNetwork, AgreesWithFloat32) {
    for (const Network& network : networks()) {
        const Network int8 = quantized_of(network);
        EXPECT_NO_THROW(check_int8(int8.model));
        std::vector<size_t> channels;
        const auto wanted = outputs_of(network, DType::f32, {}, &channels), found = outputs_of(int8, DType::i8);
        ASSERT_EQ(wanted.size(), found.size());
        const double limit = network.name == "resnet" ? 0.035 : network.name.starts_with("yolo/") ? 0.16 : 0.08;
        for (size_t i = 0; i < wanted.size(); ++i) {
            const double error = error_of(wanted[i], found[i], channels[i]);
            printf("%s, output %zu: %.4f\n", network.name.c_str(), i, error);
            EXPECT_LT(error, limit) << network.name << " " << i;
            EXPECT_GT(error, 0);
        }
        size_t in_float = 0;
        Graph graph;
        network.model.trace(graph.input("x", {1, 128, 128, 3}, DType::f32));
        for (const Node& node : graph.nodes) in_float += node.op->name() == "conv";
        in_float -= int8.model.int8.convolutions.size();
        EXPECT_EQ(in_float, network.name == "resnet" ? 1 : 1 + wanted.size()) << "the first and the heads";
    }
}

TEST(QuantizedPrecision, GoesWithTheFile) {
    const auto cpu = open_device("cpu"), simt = open_device("simt");
    const auto choose = [](const char* named, bool quantized, const Device& device) -> std::string {
        try {
            return to_text(choose_precision({.named = named,
                                             .checked = true,
                                             .file = "m.safetensors",
                                             .int8_report = quantized ? R"({"original": "old.pt"})" : ""},
                                            device, [](DType type) { return type == DType::bf16 ? 9.0 : 1.0; }));
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage);
            return error.what();
        }
    };
    EXPECT_EQ(choose("auto", true, *cpu), "int8 (auto: the file is quantized)");
    EXPECT_EQ(choose("int8", true, *cpu), "int8");
    for (const char* other : {"fp32", "bf16", "fp16"})
        EXPECT_NE(choose(other, true, *cpu).find("its original, old.pt"), std::string::npos) << other;
    EXPECT_NE(choose("auto", true, *simt).find("--device simt"), std::string::npos);
    EXPECT_NE(choose("int8", false, *cpu).find("m.safetensors is not quantized; `tundra quantize MODEL"),
              std::string::npos);
    EXPECT_NE(choose("int8", false, *simt).find("not quantized"), std::string::npos);
    EXPECT_NE(choose("auto", false, *cpu).find("fp32"), std::string::npos);
}

}  // namespace
