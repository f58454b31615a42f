// Evaluation metrics against numbers counted by hand.
#include "predict/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/jpeg_writer.h"
#include "models/resnet.h"
#include "predict/predict.h"

namespace {

// Label, prediction:  0 0, 0 0, 0 1, 1 1, 1 0, 2 1   of four classes; nothing is or is called 3.
const std::vector<LabelledPrediction> kImages = {
    {0, 0, 0.95f, "north"}, {0, 0, 0.7f, "north"},  {0, 1, 0.55f, "south"},
    {1, 1, 1.0f, "south"},  {1, 0, 0.69f, "north"}, {2, 1, 0.5f, ""},
};

TEST(Metrics, CountedByHand) {
    Metrics m = measure(kImages, 4);
    EXPECT_EQ(m.all.images, 6u);
    EXPECT_DOUBLE_EQ(m.all.accuracy(), 0.5);
    EXPECT_EQ(m.confusion, (std::vector<size_t>{2, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}));
    EXPECT_DOUBLE_EQ(m.classes[0].precision(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(m.classes[0].recall(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(m.classes[0].f1(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(m.classes[1].precision(), 1.0 / 3);
    EXPECT_DOUBLE_EQ(m.classes[1].recall(), 0.5);
    EXPECT_DOUBLE_EQ(m.classes[1].f1(), 0.4);
    EXPECT_TRUE(std::isnan(m.classes[2].precision()));
    EXPECT_DOUBLE_EQ(m.classes[2].recall(), 0);
    EXPECT_DOUBLE_EQ(m.classes[2].f1(), 0);
    EXPECT_TRUE(std::isnan(m.classes[3].f1()));
    EXPECT_DOUBLE_EQ(m.macro_f1(), (2.0 / 3 + 0.4 + 0) / 3);
}

TEST(Metrics, ConfidenceBinsHoldTheirLowerEdge) {
    Metrics m = measure(kImages, 4);
    const size_t images[10] = {0, 0, 0, 0, 0, 2, 1, 1, 0, 2}, correct[10] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 2};
    for (size_t b = 0; b < 10; b++) {
        EXPECT_EQ(m.confidence[b].images, images[b]) << b;
        EXPECT_EQ(m.confidence[b].correct, correct[b]) << b;
    }
    for (size_t b = 0; b < 10; b++) {
        LabelledPrediction edge = {0, 0, float(b) / 10, ""},
                           below = {0, 0, std::nextafter(float(b + 1) / 10, 0.f) - 1e-6f, ""};
        EXPECT_EQ(measure({&edge, 1}, 1).confidence[b].images, 1u) << b;
        EXPECT_EQ(measure({&below, 1}, 1).confidence[b].images, 1u) << b;
    }
}

TEST(Metrics, PerCamera) {
    Metrics m = measure(kImages, 4);
    ASSERT_EQ(m.cameras.size(), 3u);
    EXPECT_DOUBLE_EQ(m.cameras.at("north").accuracy(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(m.cameras.at("south").accuracy(), 0.5);
    EXPECT_DOUBLE_EQ(m.cameras.at("").accuracy(), 0);
}

TEST(Metrics, JsonSaysNullWhereThereIsNothing) {
    std::vector<std::string> names = {"a", "b", "c", "d"};
    nlohmann::json j = nlohmann::json::parse(to_json(measure(kImages, 4), names).dump());
    EXPECT_EQ(j["accuracy"], 0.5);
    EXPECT_TRUE(j["classes"][2]["precision"].is_null());
    EXPECT_EQ(j["confusion"][1].get<std::vector<size_t>>(), (std::vector<size_t>{1, 1, 0, 0}));
    EXPECT_EQ(j["confidence"][9]["correct"], 2);
    EXPECT_TRUE(nlohmann::json::parse(to_json(measure({}, 4), names).dump())["accuracy"].is_null());
}

TEST(Metrics, RefusesWhatCannotBe) {
    std::vector<LabelledPrediction> label = {{4, 0, 0.5f, ""}}, predicted = {{0, 4, 0.5f, ""}},
                                    sure = {{0, 0, 1.5f, ""}}, nothing = {{0, 0, NAN, ""}};
    for (const auto& wrong : {label, predicted, sure, nothing}) EXPECT_THROW(measure(wrong, 4), Error);
    std::vector<std::string> names = {"a"};
    EXPECT_THROW(to_json(measure(kImages, 4), names), Error);
}

// The wrong class is 200 nats ahead: its label's probability is 0 in float32, and the loss is 200 all the same, as the
// training loss would be.
TEST(Predict, LossIsNotClipped) {
    const std::string file = testing::TempDir() + "/loss_is_not_clipped.jpg";
    const std::vector<uint8_t> grey(32 * 32 * 3, 128);
    write_jpeg(file, grey.data(), 32, 32);
    Dataset data{
        .root = "", .classes = {"a", "b"}, .samples = {{.name = file, .label = 1}}, .notes = {}, .fingerprint = {}};
    const Model model = make_model(ResNetConfig{.classes = 2, .width = 8});
    StateDict state = initialize_state(model, 1);
    std::ranges::fill(state.at("fc.weight").values.mutable_data(), 0.0f);
    std::ranges::copy(std::array{200.0f, 0.0f}, state.at("fc.bias").values.mutable_data().begin());
    const auto device = open_device("cpu", {.threads = 1});
    Arena arena(*device);
    Classifier classifier(*device, arena, {.model = model, .batch = 2, .size = 32, .normalize = {}});
    classifier.load(state, "test");
    const Predictions predictions = predict(classifier, data, {0}, {.fit = {.size = 32}});
    ASSERT_EQ(predictions.rows.size(), 1u);
    EXPECT_EQ(predictions.rows[0].probabilities[1], 0);
    EXPECT_NEAR(predictions.rows[0].loss, 200, 1e-3);
    EXPECT_NEAR(predictions.mean_loss(), 200, 1e-3);
}

}  // namespace
