// The Keras form of ResNet-50 (stride on the first 1x1, biased convolutions, its epsilons) against Keras' own numbers,
// from its .h5 files in both namings.
#include "engine/ops.h"
#include "engine/program.h"
#include "models/files/weights.h"
#include "models/resnet.h"
#include "models/state.h"
#include "tests/golden.h"

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
    // Keras' name of a tap -> ours
    const std::map<std::string, std::string> taps = {
        {"pool1", "maxpool"}, {"stage2", "layer1"}, {"stage3", "layer2"}, {"stage4", "layer3"}, {"stage5", "layer4"}};
    GoldenCount cases;
    for (const auto& file : golden_files("keras", ".h5")) {
        SCOPED_TRACE(file.filename().string());
        const WeightFile weights = read_weights(file);
        ASSERT_TRUE(weights.model.resnet) << weights.model.text;
        const ResNetConfig config = *weights.model.resnet;
        const GoldenTensors golden = golden_tensors(file.string() + ".expected.safetensors");
        const GoldenArray& x = golden.at("x_nhwc_bgr_mean_subtracted");

        const auto device = open_device("cpu");
        auto graph = std::make_unique<Graph>();
        const Value in = graph->input("x", Shape(x.shape), DType::f32);
        const Value labels = graph->input("labels", {x.shape[0]}, DType::i32);
        Taps values;
        const Value logits = resnet(in, config, &values);
        const Value probabilities = cross_entropy(logits, labels).probabilities;
        std::vector<Value> keep = {logits, probabilities};
        for (const auto& [name, v] : values) keep.push_back(v);
        Parameters parameters(*device, *graph);
        upload(weights.state, parameters, file.string(), {resnet_conv_bn_pairs(config), config.epsilon()});
        Arena arena(*device);
        Program program(arena, std::move(graph), parameters, keep);
        program.write<float>(in, x.as<float>());
        program.run();

        expect_near("logits", program.read<float>(logits), golden.at("logits").as<float>(), 1e-5);
        expect_near("probabilities", program.read<float>(probabilities), golden.at("probabilities").as<float>(), 1e-5);
        for (const auto& [theirs, ours] : taps)
            for (const auto& [name, v] : values)
                if (name == ours && golden.has("tap_" + theirs + "_nhwc"))
                    expect_near(theirs, program.read<float>(v), golden.at("tap_" + theirs + "_nhwc").as<float>(), 1e-5);
        cases.check();
    }
}

}  // namespace
