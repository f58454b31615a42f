// The Keras form of ResNet-50 (stride on the first 1x1, biased convolutions, its epsilons) against Keras' own numbers,
// from its .h5 files in both namings.
#include "engine/ops.h"
#include "engine/program.h"
#include "models/files/weights.h"
#include "models/resnet.h"
#include "tests/golden.h"
#include "tests/layers.h"

namespace {

using Floats = std::vector<float>;

void expect_near(const std::string& name, const Floats& got, const Floats& want, double tolerance) {
    ASSERT_EQ(got.size(), want.size()) << name;
    double top = 0;
    for (float x : want) top = std::max(top, std::fabs(double(x)));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance * top) << name << " element " << i;
}

// Without its last layer, `classes` 0, a file gives features: a last layer of zeros completes the network.
Model network_of(const nlohmann::json& expected, WeightFile& weights) {
    if (expected.at("classes") != 0) {
        if (!weights.model.model) throw std::runtime_error(weights.model.text);
        return *weights.model.model;
    }
    const size_t width = weights.state.at("conv1.weight").shape[0], features = 32 * width;
    weights.state["fc.weight"] = {{1, features}, std::vector<float>(features)};
    weights.state["fc.bias"] = {{1}, std::vector<float>(1)};
    return make_model(
        ResNetConfig{.keras = true, .classes = 1, .width = width, .stored_epsilon = expected.at("batch_norm_eps")});
}

void check_case(const std::filesystem::path& file, const nlohmann::json& expected) {
    // Keras' name of a value -> the layer that gives it
    const std::map<std::string, std::string> taps = {
        {"pool1", "maxpool"}, {"stage2", "layer1"}, {"stage3", "layer2"}, {"stage4", "layer3"}, {"stage5", "layer4"}};
    WeightFile weights = read_weights(file);
    const Model model = network_of(expected, weights);
    const GoldenTensors golden = golden_tensors(file.string() + ".expected.safetensors");
    const GoldenArray& x = golden.at("x_nhwc_bgr_mean_subtracted");

    const auto device = open_device("cpu");
    auto graph = std::make_unique<Graph>();
    const Value in = graph->input("x", Shape(x.shape), DType::f32);
    const Value labels = graph->input("labels", {x.shape[0]}, DType::i32);
    const Value logits = model.trace(in)[0];
    const Value probabilities = cross_entropy(logits, labels).probabilities;
    const Value features = value_of_layer(*graph, "avgpool");
    std::vector<Value> keep = {logits, probabilities, features};
    std::map<std::string, Value> values;
    for (const auto& [theirs, ours] : taps)
        if (golden.has("tap_" + theirs + "_nhwc")) keep.push_back(values[theirs] = value_of_layer(*graph, ours));
    Parameters parameters(*device, *graph);
    upload(weights.state, parameters, file.string(), model.folding);
    Arena arena(*device);
    Program program(arena, std::move(graph), parameters, keep);
    program.write<float>(in, x.as<float>());
    program.run();

    const auto expect = [&](const std::string& what, Value v) {
        if (golden.has(what)) expect_near(what, program.read<float>(v), golden.at(what).as<float>(), 1e-5);
    };
    if (expected.at("classes") == 0) {
        expect("features", features);
    } else {
        ASSERT_TRUE(golden.has("logits") || golden.has("probabilities"));
        expect("logits", logits), expect("probabilities", probabilities);
    }
    for (const auto& [theirs, v] : values)
        expect_near(theirs, program.read<float>(v), golden.at("tap_" + theirs + "_nhwc").as<float>(), 1e-5);
}

TEST(GoldenKeras, Forward) {
#if !defined(TUNDRA_HDF5)
    GTEST_SKIP() << "built without HDF5";
#endif
    GoldenCount cases;
    const nlohmann::json index = golden_json(golden_folder("keras") / "expected.json");
    for (const auto& [name, expected] : index.items()) {
        if (!name.ends_with(".h5")) continue;
        golden_case(name, expected, cases, [&, &name = name, &expected = expected] {
            check_case(golden_folder("keras") / name, expected);
            cases.check();
        });
    }
}

}  // namespace
