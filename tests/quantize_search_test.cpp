// Which layers `tundra quantize` keeps in float32 when the check fails. About 2 s of a quiet machine.
#include "predict/quantize_search.h"

#include <gtest/gtest.h>

#include "engine/op.h"
#include "tests/quantize_fixture.h"

namespace {

// A ResNet whose layers disturb its outputs by numbers that the test chooses, and which passes where the test says so.
class Disturbed : public QuantizedSubject {
public:
    std::map<std::string, float> errors{};
    std::function<double(const Int8Layers&, const std::vector<uint32_t>&)> loss{};  // of accuracy; the limit is 0.005
    std::vector<std::pair<size_t, std::vector<uint32_t>>> looks{};                  // layers in int8, images
    size_t objects = 1, unreadable = 0;                                             // the first images

    Disturbed() {
        const Value y = model_.trace(graph_.input("x", {1, 64, 64, 3}, DType::f32))[0];
        for (const Node& node : graph_.nodes) {
            if (node.op->name() == "conv") errors[node.layer] = 0.01f;
            if (node.out[0] == y.id) last_ = node;
        }
        all = layers_to_quantize(model_, {});
    }
    Model model() const override { return model_; }
    std::function<void(std::span<const uint8_t>)> open(const Int8Layers& layers,
                                                       const std::function<void(const Step&)>& after_step) override {
        EXPECT_LE(layers.convolutions.size(), 1u) << "each alone";
        const float error = layers.empty() ? 0 : errors.at(*layers.convolutions.begin());
        return [this, error, after_step](std::span<const uint8_t> pixels) {
            std::vector<float> y = {float(pixels[0]) / 1000 + error, 1, 2, 3};
            Step step{last_.op, {}, {{y.data(), {1, 4}, DType::f32}}, last_.layer};
            after_step(step);
            step.layer = "layer1.0.conv1", y[0] = 1e9f * error;  // gives no output
            after_step(step);
        };
    }
    PrecisionCheck check(const Int8Layers& layers, const std::vector<uint32_t>& samples) override {
        looks.emplace_back(layers.convolutions.size(), samples);
        PrecisionCheck check{.precision = DType::i8, .images = samples.size(), .fewest = kFewestLabelled};
        for (const uint32_t sample : samples)
            if (sample >= 10 * unreadable) check.samples.push_back(sample);
        check.images = check.samples.size();
        if (objects) check.rows = {{"accuracy", samples.size(), 1, 1 - loss(layers, samples), 0.005}};
        if (std::ranges::find_first_of(samples, large) != samples.end()) check.rows.push_back(check.rows[0]);
        return check;
    }
    ChosenLayers choose(size_t images) {
        std::vector<uint32_t> holdout(images);
        for (uint32_t i = 0; i < images; ++i) holdout[i] = 10 * i;
        lines.clear(), looks.clear();
        return choose_layers(*this, all, {{200}, {100}}, holdout,
                             [&](const std::string& line) { lines += line + "\n"; });
    }

    Int8Layers all{};
    std::vector<uint32_t> large{};  // images that have a row of their own
    std::string lines{};

private:
    Model model_ = small_resnet();
    Graph graph_{};
    Node last_{};
};

bool without(const Int8Layers& layers, const char* layer) { return !layers.convolutions.contains(layer); }

TEST(QuantizeSearch, AllLayersIfTheyPass) {
    Disturbed subject;
    subject.loss = [](auto&, auto&) { return 0.005; };
    const ChosenLayers chosen = subject.choose(400);
    EXPECT_TRUE(chosen.passed);
    EXPECT_EQ(chosen.checks, 1u);
    EXPECT_EQ(chosen.layers.convolutions, subject.all.convolutions);
    EXPECT_EQ(subject.looks[0].second.size(), 400u);
}

// The worst stay in float32; one half of the images chooses, the other is looked at once.
TEST(QuantizeSearch, KeepsTheWorstInFloat32) {
    Disturbed subject;
    subject.errors["layer1.0.conv2"] = 6, subject.errors["layer2.0.conv1"] = 2, subject.errors["layer3.0.conv3"] = 1;
    // The first alone loses what the limit allows: on one half that is not enough.
    subject.loss = [](const Int8Layers& layers, auto& samples) {
        return without(layers, "layer2.0.conv1") || samples.size() == 200 ? 0
               : without(layers, "layer1.0.conv2")                        ? 0.004
                                                                          : 0.1;
    };
    const ChosenLayers chosen = subject.choose(401);
    EXPECT_TRUE(chosen.passed);
    EXPECT_TRUE(without(chosen.layers, "layer1.0.conv2") && without(chosen.layers, "layer2.0.conv1"));
    EXPECT_FALSE(without(chosen.layers, "layer3.0.conv3"));
    EXPECT_EQ(chosen.layers.convolutions.size(), subject.all.convolutions.size() - 2);
    EXPECT_EQ(chosen.checks, 4u);  // all; the first alone (more than half of the squares); both; both on the other half
    ASSERT_EQ(subject.looks.size(), 4u);
    EXPECT_EQ(subject.looks[1].second, subject.looks[2].second);
    EXPECT_EQ(subject.looks[1].second.size(), 201u);
    EXPECT_EQ(subject.looks[3].second.size(), 200u);
    for (const uint32_t sample : subject.looks[3].second)
        EXPECT_EQ(sample / 10 * 8 / 401 % 2, 1u) << "no image of the first half";
    EXPECT_NE(subject.lines.find("layer1.0.conv2, layer2.0.conv1"), std::string::npos) << subject.lines;
}

TEST(QuantizeSearch, TheOtherHalfIsLookedAtOnce) {
    Disturbed subject;
    subject.errors["layer1.0.conv2"] = 3, subject.errors["layer2.0.conv1"] = 2;
    subject.loss = [](const Int8Layers& layers, const auto& samples) {
        return without(layers, "layer1.0.conv2") && samples[0] == 0 && samples.size() == 200 ? 0 : 0.1;
    };
    const ChosenLayers chosen = subject.choose(400);
    EXPECT_FALSE(chosen.passed);
    EXPECT_EQ(chosen.checks, 3u);
}

TEST(QuantizeSearch, ImagesThatCannotBeReadAreInNoHalf) {
    Disturbed subject;
    subject.errors["layer1.0.conv2"] = 3, subject.unreadable = 2;
    subject.loss = [](const Int8Layers& layers, auto&) { return without(layers, "layer1.0.conv2") ? 0 : 0.1; };
    EXPECT_TRUE(subject.choose(202).passed);
    EXPECT_EQ(subject.looks.back().second.size(), 100u);
}

TEST(QuantizeSearch, AHalfThatLacksARowCannotDecide) {
    Disturbed subject;
    subject.errors["layer1.0.conv2"] = 3;
    subject.loss = [](const Int8Layers& layers, auto&) { return without(layers, "layer1.0.conv2") ? 0 : 0.1; };
    subject.large = {0};
    EXPECT_FALSE(subject.choose(400).passed);
    EXPECT_NE(subject.lines.find("cannot decide"), std::string::npos) << subject.lines;
    subject.large = {0, 500};
    EXPECT_TRUE(subject.choose(400).passed);
}

TEST(QuantizeSearch, GivesUp) {
    Disturbed subject;
    subject.errors["layer1.0.conv2"] = 3, subject.errors["layer2.0.conv1"] = 2;
    subject.loss = [](auto&, auto&) { return 0.5; };
    EXPECT_EQ(subject.choose(400).checks, 3u) << "a third try would be the second again";
    EXPECT_FALSE(subject.choose(400).passed);
    subject.loss = [](auto&, const auto& samples) { return samples.size() == 400 ? 0.5 : samples[0] ? 0.1 : 0.004; };
    const ChosenLayers chosen = subject.choose(400);
    EXPECT_EQ(chosen.checks, 4u) << "the last, though it just passes on the first half";
    EXPECT_FALSE(chosen.passed) << "the other half decides";
    EXPECT_EQ(subject.choose(199).checks, 1u) << "halves that are too small show nothing";
    for (auto& [layer, error] : subject.errors) error = 1;  // half of the layers: half of the arithmetic, or more
    subject.choose(400);
    EXPECT_NE(subject.lines.find("too slow"), std::string::npos) << subject.lines;
    subject.objects = 0;
    EXPECT_EQ(subject.choose(400).checks, 1u) << "no object, so nothing to try for";
}

// Of real networks: one whose layer has a channel a thousand times as large as the others.
TEST(QuantizeSearch, FindsTheLayerThatBytesCannotHold) {
    struct Real : QuantizedSubject {
        Network network = networks()[0];
        Model model() const override { return network.model; }
        std::function<void(std::span<const uint8_t>)> open(
            const Int8Layers& layers, const std::function<void(const Step&)>& after_step) override {
            Network one = network;
            one.model.int8 = layers;
            if (!layers.empty()) one.state = quantized(std::move(one.state), layers);
            return [one, after_step, layers](auto) {
                outputs_of(one, layers.empty() ? DType::f32 : DType::i8, after_step);
            };
        }
        PrecisionCheck check(const Int8Layers&, const std::vector<uint32_t>&) override { return {}; }
    } subject;
    const char *before = "layer2.1.conv1", *after = "layer2.1.conv2";
    HostTensor &weight = subject.network.state.at(std::string(before) + ".weight"),
               &bias = subject.network.state.at(std::string(before) + ".bias"),
               &next = subject.network.state.at(std::string(after) + ".weight");
    const size_t row = weight.values.size() / weight.shape[0], kernel = next.shape[2] * next.shape[3];
    for (float& w : weight.values.mutable_data().first(row)) w *= 4096;
    bias.values.mutable_data()[0] *= 4096;
    for (size_t c = 0; c < next.shape[0]; ++c)
        for (size_t k = 0; k < kernel; ++k) next.values.mutable_data()[c * next.shape[1] * kernel + k] /= 4096;
    RangeRecorder recorder;
    outputs_of(subject.network, DType::f32, [&](const Step& step) { recorder.add(step); });
    recorder.end_image(true);
    const std::vector<LayerError> errors =
        errors_of_layers(subject, layers_to_quantize(subject.network.model, recorder.ranges()), {{1}});
    EXPECT_EQ(errors.size(), 52u);
    EXPECT_EQ(errors[0].layer, after) << "it reads the channel as bytes";
    EXPECT_GT(errors[0].error, 10 * errors[1].error);
    EXPECT_GT(errors.back().error, 0);
}

}  // namespace
