// Files of Keras 2.15 and 3.15 (tests/data/make_keras.py): read with their architecture, answered as Keras answers, or
// refused by the name of what tundra does not compute. 1 s.
#include "models/files/keras_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/json.h"
#include "models/files/keras_config.h"
#include "models/files/zip_file.h"
#include "predict/classifier.h"
#include "predict/model_file.h"

namespace {

using nlohmann::json;

class KerasFile : public testing::Test {
protected:
    void SetUp() override {
#if !defined(TUNDRA_HDF5)
        GTEST_SKIP() << "built without HDF5";
#endif
        std::filesystem::create_directory(folder_);
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::filesystem::path file(const std::string& name) {
        const FileBytes archive = read_file(TUNDRA_TESTS "/data/keras.zip");
        const std::vector<std::byte> bytes = ZipFile(archive.span(), "keras.zip").read(name);
        write_file_durably(
            folder_ / name, [&](FileWriter& out) { out.write(bytes); }, false);
        return folder_ / name;
    }

    static std::string message_of(const std::function<void()>& call) {
        try {
            call();
        } catch (const Error& error) {
            EXPECT_EQ(error.fault, Fault::usage) << error.what();
            return error.what();
        }
        return "no error";
    }

    std::filesystem::path folder_ = std::filesystem::temp_directory_path() / fmt::format("tundra-keras-{}", getpid());
};

TEST_F(KerasFile, AnswersAreThoseOfKeras) {
    std::vector<uint8_t> image(64 * 64 * 3);
    for (size_t i = 0; i < 64; ++i)
        for (size_t j = 0; j < 64; ++j)
            for (size_t c = 0; c < 3; ++c) image[(i * 64 + j) * 3 + c] = uint8_t(7 * i + 13 * j + 31 * c + i * j);
    const json answers = json::parse(read_file(TUNDRA_TESTS "/data/keras.json").text());
    size_t compared = 0;
    for (const auto& [name, answer] : answers.items()) {
        std::vector<float> want = answer.get<std::vector<float>>();
        if (want.empty() || name.find("sigmoids") != name.npos || name.find("max") != name.npos) continue;
        SCOPED_TRACE(name);
        if (want.size() == 1) want.insert(want.begin(), 1 - want[0]);
        const ModelFile m = read_model(file(name));
        const bool knows_size = name.find(".weights.") == name.npos;
        EXPECT_EQ(m.input.fit.size, knows_size ? 64u : 224u);
        EXPECT_EQ(m.input.fit.mode, FitMode::stretch);
        EXPECT_EQ(m.input.normalize, name.find("nested") == name.npos ? "caffe" : "tf");
        const auto device = open_device("cpu", {.threads = 1});
        Arena arena(*device);
        Classifier classifier(
            *device, arena,
            {.model = m.model, .batch = 1, .size = 64, .normalize = normalize_named(m.input.normalize)});
        classifier.load(m.state, name);
        const std::vector<float> got = classifier.run(image);
        ASSERT_EQ(got.size(), want.size());
        for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5);
        ++compared;
    }
    EXPECT_EQ(compared, 5u);
}

TEST_F(KerasFile, WhatIsNotRunIsRefusedByItsName) {
    const std::string pool = message_of([&] { read_model(file("k3_max.keras")); });
    EXPECT_NE(pool.find("'max_pool' (GlobalMaxPooling2D)"), std::string::npos) << pool;
    EXPECT_NE(pool.find("> resnet50'"), std::string::npos) << pool;
    EXPECT_EQ(read_weights(folder_ / "k3_max.keras").tensors.size(), 320u) << "inspect shows it all the same";
    const std::string sigmoids = message_of([&] { read_model(file("k3_sigmoids.keras")); });
    EXPECT_NE(sigmoids.find("3 outputs are sigmoids"), std::string::npos) << sigmoids;
    EXPECT_EQ(read_model(folder_ / "k3_sigmoids.keras", {.initial = true}).model.classes, 3u);
    const WeightFile ordered = read_weights(file("k2_flat.weights.h5"));
    ASSERT_EQ(ordered.notes.size(), 1u);
    EXPECT_NE(ordered.notes[0].find("order of keras.applications"), std::string::npos);
    EXPECT_TRUE(read_weights(file("k3_flat.weights.h5")).notes.empty()) << "Keras 3.15 writes the names of layers";
    const WeightFile base = read_weights(file("k3_notop.h5"));
    EXPECT_EQ(base.state.size(), 318u);
    EXPECT_FALSE(base.state.contains("fc.weight"));
}

// A chain of layers around the words of a ResNet-50's architecture, of which `change` changes one.
std::string architecture(const std::function<void(json&)>& change = {}, const json& before = json::array(),
                         const json& after = json::array()) {
    json layers = json::array();
    layers.push_back(
        {{"class_name", "InputLayer"}, {"config", {{"name", "in"}, {"batch_shape", {nullptr, 96, 96, 3}}}}});
    for (const json& layer : before) layers.push_back(layer);
    const auto add = [&](const char* type, const std::string& name, json config = json::object()) {
        config["name"] = name;
        layers.push_back({{"class_name", type}, {"config", config}});
    };
    const auto norm = [&](const std::string& name) { add("BatchNormalization", name, {{"epsilon", 2e-5}}); };
    const auto relu = [&](const std::string& name) { add("Activation", name, {{"activation", "relu"}}); };
    add("ZeroPadding2D", "conv1_pad", {{"padding", {{3, 3}, {3, 3}}}});
    add("Conv2D", "conv1_conv", {{"strides", {2, 2}}});
    norm("conv1_bn"), relu("conv1_relu");
    add("ZeroPadding2D", "pool1_pad", {{"padding", {{1, 1}, {1, 1}}}});
    add("MaxPooling2D", "pool1_pool", {{"pool_size", {3, 3}}, {"strides", {2, 2}}});
    const size_t blocks[] = {3, 4, 6, 3};
    for (size_t stage = 2; stage <= 5; ++stage)
        for (size_t block = 1; block <= blocks[stage - 2]; ++block) {
            const std::string name = fmt::format("conv{}_block{}_", stage, block);
            const int stride = stage > 2 && block == 1 ? 2 : 1;
            for (const int part : {1, 2, 0, 3}) {
                if (part == 0 && block > 1) continue;
                add("Conv2D", fmt::format("{}{}_conv", name, part), {{"strides", part < 2 ? stride : 1}});
                norm(fmt::format("{}{}_bn", name, part));
                if (part == 1 || part == 2) relu(fmt::format("{}{}_relu", name, part));
            }
            add("Add", name + "add"), relu(name + "out");
        }
    add("GlobalAveragePooling2D", "avg_pool");
    add("Dense", "last", {{"activation", "softmax"}});
    for (const json& layer : after) layers.push_back(layer);
    if (change)
        for (json& layer : layers) change(layer);
    return json{{"class_name", "Functional"}, {"config", {{"name", "mine"}, {"layers", layers}}}}.dump();
}

json one_layer(const char* type, const char* name) {
    return json::array({json{{"class_name", type}, {"config", {{"name", name}}}}});
}

KerasConfig read(const std::string& text) {
    return read_keras_config(text, [](const KerasLayer&, const std::string& name) {
        return name == "mean" ? std::vector<float>{1, 2, 3} : std::vector<float>{4, 16, 64};
    });
}

TEST(KerasConfig, ChangesAreHonouredOrRefusedByName) {
    const KerasConfig plain = read(architecture());
    EXPECT_EQ(plain.refusal, "");
    EXPECT_EQ(plain.epsilon, 2e-5);
    EXPECT_EQ(plain.image_size, 96u);
    EXPECT_EQ(plain.activation, "softmax");
    EXPECT_EQ(plain.head, "last");
    EXPECT_EQ(plain.normalize, "");

    const auto with = [](const char* layer, const char* key, const json& value) {
        return read(architecture([&](json& l) {
                   if (l["config"]["name"] == layer) l["config"][key] = value;
               }))
            .refusal;
    };
    const auto expect_names = [](const std::string& refusal, const std::string& part) {
        EXPECT_NE(refusal.find(part), std::string::npos) << refusal << " does not name " << part;
    };
    expect_names(with("conv3_block1_1_conv", "strides", {1, 1}), "'conv3_block1_1_conv' (Conv2D)");
    expect_names(with("conv4_block2_2_conv", "dilation_rate", {2, 2}), "dilated");
    expect_names(with("conv4_block2_2_conv", "groups", 32), "groups");
    expect_names(with("conv4_block2_2_conv", "activation", "relu"), "activation");
    expect_names(with("conv4_block2_2_bn", "epsilon", 1e-3), "epsilon");
    expect_names(with("conv4_block2_2_bn", "center", false), "offset");
    expect_names(with("conv5_block1_out", "activation", "gelu"), "'conv5_block1_out'");
    expect_names(with("pool1_pool", "pool_size", {2, 2}), "'pool1_pool' (MaxPooling2D)");
    expect_names(with("pool1_pad", "padding", {{0, 0}, {0, 0}}), "pool1_pad");
    expect_names(with("in", "batch_shape", {nullptr, 96, 64, 3}), "squares");
    expect_names(with("last", "activation", "tanh"), "'tanh'");
    EXPECT_EQ(read(architecture({}, json::array(), one_layer("Dropout", "d"))).refusal, "");
    expect_names(read(architecture({}, json::array(), one_layer("Dense", "more"))).refusal,
                 "'more' (Dense) is a second Dense layer");
    expect_names(read(architecture({}, one_layer("Lambda", "code"))).refusal, "'code' (Lambda) holds Python code");
    expect_names(read(R"({"class_name": "Mine", "config": {}})").refusal, "Mine");
    expect_names(read("x").refusal, "JSON");
}

TEST(KerasConfig, ArithmeticOnPixelsIsANormalization) {
    const auto normalize = [](const json& layers) {
        const KerasConfig c = read(architecture({}, layers));
        return c.refusal.empty() ? c.normalize : c.refusal;
    };
    const auto layer = [](const char* type, json config, json inputs = json::array()) {
        config["name"] = std::string("a ") + type;
        return json{{"class_name", type}, {"config", config}, {"inbound_nodes", inputs}};
    };
    const json x = {{"class_name", "__keras_tensor__"}, {"config", {{"keras_history", {"in", 0, 0}}}}};
    const auto operation = [&](const char* type, const json& by) {
        return layer(type, json::object(), json::array({json{{"args", {x, by}}, {"kwargs", json::object()}}}));
    };
    EXPECT_EQ(normalize(json::array({layer("Rescaling", {{"scale", 0.5}, {"offset", -1}})})), "2,2,2/2,2,2");
    EXPECT_EQ(normalize(json::array({layer("Normalization", {{"mean", {1, 2, 4}}, {"variance", {4, 16, 64}}})})),
              "1,2,4/2,4,8");
    EXPECT_EQ(normalize(json::array({layer("Normalization", {{"mean", nullptr}})})), "1,2,3/2,4,8")
        << "learned from the data";
    EXPECT_EQ(normalize({operation("TrueDivide", 4), operation("Subtract", 0.5)}), "2,2,2/4,4,4");
    const json constant = {{"class_name", "__tensor__"}, {"config", {{"value", {{{{-1, -2, -3}}}}}}}};
    EXPECT_EQ(normalize({operation("Add", constant), operation("Multiply", 0.25)}), "1,2,3/4,4,4");
    const json reversed = {
        {{"class_name", "__ellipsis__"}},
        {{"class_name", "__slice__"}, {"config", {{"start", nullptr}, {"stop", nullptr}, {"step", -1}}}}};
    EXPECT_EQ(normalize({operation("Add", constant), operation("GetItem", reversed)}), "bgr:3,2,1/1,1,1");
    const json swapped = operation("Subtract", x), first = {{"args", {1.0, x}}};
    EXPECT_NE(normalize(json::array({layer("Subtract", json::object(), json::array({first}))})).find("a Subtract"),
              std::string::npos)
        << "1 - x";
    EXPECT_NE(normalize(json::array({swapped})).find("a Subtract"), std::string::npos) << "x - x";
    const auto cast = [&](const char* type) {
        return layer("Cast", {{"dtype", type}}, json::array({json{{"args", {x}}, {"kwargs", json::object()}}}));
    };
    EXPECT_EQ(normalize({cast("float32"), operation("TrueDivide", 4), cast("float16")}), "0,0,0/4,4,4");
    EXPECT_NE(normalize({operation("TrueDivide", 4), cast("uint8")}).find("a Cast"), std::string::npos) << "rounds";
    const json one = operation("GetItem", {{{"class_name", "__ellipsis__"}}, 1});
    EXPECT_NE(normalize({one, operation("TrueDivide", 2)}).find("single colours"), std::string::npos);
}

}  // namespace
