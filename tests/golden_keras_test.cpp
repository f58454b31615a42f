// The Keras form of ResNet-50 (stride on the first 1x1, biased convolutions, its epsilons) against Keras' own numbers,
// from its .h5 files in both namings.
#include "engine/ops.h"
#include "engine/program.h"
#include "models/files/weights.h"
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

TEST(GoldenKeras, Forward) {
#if !defined(TUNDRA_HDF5)
    GTEST_SKIP() << "built without HDF5";
#endif
    // Keras' name of a value -> the layer that gives it
    const std::map<std::string, std::string> taps = {
        {"pool1", "maxpool"}, {"stage2", "layer1"}, {"stage3", "layer2"}, {"stage4", "layer3"}, {"stage5", "layer4"}};
    GoldenCount cases;
    for (const auto& file : golden_files("keras", ".h5")) {
        SCOPED_TRACE(file.filename().string());
        const WeightFile weights = read_weights(file);
        ASSERT_TRUE(weights.model.model) << weights.model.text;
        const Model& model = *weights.model.model;
        const GoldenTensors golden = golden_tensors(file.string() + ".expected.safetensors");
        const GoldenArray& x = golden.at("x_nhwc_bgr_mean_subtracted");

        const auto device = open_device("cpu");
        auto graph = std::make_unique<Graph>();
        const Value in = graph->input("x", Shape(x.shape), DType::f32);
        const Value labels = graph->input("labels", {x.shape[0]}, DType::i32);
        const Value logits = model.trace(in)[0];
        const Value probabilities = cross_entropy(logits, labels).probabilities;
        std::vector<Value> keep = {logits, probabilities};
        std::map<std::string, Value> values;
        for (const auto& [theirs, ours] : taps)
            if (golden.has("tap_" + theirs + "_nhwc")) keep.push_back(values[theirs] = value_of_layer(*graph, ours));
        Parameters parameters(*device, *graph);
        upload(weights.state, parameters, file.string(), model.folding);
        Arena arena(*device);
        Program program(arena, std::move(graph), parameters, keep);
        program.write<float>(in, x.as<float>());
        program.run();

        expect_near("logits", program.read<float>(logits), golden.at("logits").as<float>(), 1e-5);
        expect_near("probabilities", program.read<float>(probabilities), golden.at("probabilities").as<float>(), 1e-5);
        for (const auto& [theirs, v] : values)
            expect_near(theirs, program.read<float>(v), golden.at("tap_" + theirs + "_nhwc").as<float>(), 1e-5);
        cases.check();
    }
}

}  // namespace
