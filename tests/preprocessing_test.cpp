// What a classifier's input is: from the weight file, from options, or from what its makers mean, and what is said of
// it. Class names, one output, unreadable types and numbers that no network can use. 2 s.
#include "predict/preprocessing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/safetensors.h"
#include "models/resnet.h"
#include "predict/classifier.h"
#include "predict/model_file.h"

namespace {

using Metadata = std::map<std::string, std::string>;

std::string message_of(const std::function<void()>& call, Fault fault) {
    try {
        call();
    } catch (const Error& error) {
        EXPECT_EQ(error.fault, fault) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
}

void expect_has(const std::string& text, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
}

TEST(Preprocessing, NormalizationsAreThoseOfTheirMakers) {
    const auto channel = [](const std::string& text, size_t c, float x) {
        const Normalize n = *parse_normalize(text);
        return x * n.scale[c] + n.shift[c];
    };
    EXPECT_NEAR(channel("imagenet", 0, 255), (1 - 0.485) / 0.229, 1e-6);
    EXPECT_NEAR(channel("imagenet", 2, 0), -0.406 / 0.225, 1e-6);
    EXPECT_FLOAT_EQ(channel("unit", 1, 51), 0.2f);
    EXPECT_FLOAT_EQ(channel("tf", 1, 255), 1);
    EXPECT_FLOAT_EQ(channel("raw", 1, 77), 77);
    EXPECT_FLOAT_EQ(channel("caffe", 0, 100), 100 - 103.939f);  // blue comes first
    EXPECT_TRUE(parse_normalize("caffe")->bgr);
    EXPECT_FALSE(parse_normalize("tf")->bgr);
    EXPECT_FLOAT_EQ(channel("bgr:1,2,3/4,5,6", 2, 9), 1);
    EXPECT_FLOAT_EQ(channel("10/2", 1, 20), 5);
    for (const char* text : {"", "x", "1", "1/0", "1,2/3", "1,2,3,4/5", "1/", "/1", "nan/1", "bgr:"})
        EXPECT_FALSE(parse_normalize(text)) << text;
    EXPECT_EQ(normalize_text({127.5, 127.5, 127.5}, {127.5, 127.5, 127.5}, false), "tf");
    EXPECT_EQ(normalize_text({103.939, 116.779, 123.68}, {1, 1, 1}, true), "caffe");
    EXPECT_EQ(normalize_text({1, 2, 3}, {4, 5, 6}, false), "1,2,3/4,5,6");
}

TEST(Preprocessing, ComesFromTheFileThenFromOptions) {
    const auto stated = [](const Metadata& m, bool keras = false, const InputOptions& o = {}) {
        return preprocessing_of(m, keras, o, "f");
    };
    Metadata ours;
    store({.fit = {.size = 64, .mode = FitMode::crop, .filter = Filter::nearest, .shorter = 80}, .normalize = "unit"},
          ours);
    const StatedPreprocessing own = stated(ours);
    EXPECT_EQ(own.note, "");
    EXPECT_EQ(own.used.fit, (Fit{.size = 64, .mode = FitMode::crop, .filter = Filter::nearest, .shorter = 80}));
    EXPECT_EQ(own.used.normalize, "unit");

    // Nothing is said: torchvision's, or for Keras' network Keras' own, and both in words.
    const StatedPreprocessing torch = stated({}), keras = stated({}, true);
    EXPECT_EQ(torch.used.fit, (Fit{.size = 224, .mode = FitMode::crop}));
    EXPECT_EQ(torch.used.normalize, "imagenet");
    expect_has(torch.note, {"224 x 224", "assumed", "became 256", "imagenet", "--normalize"});
    EXPECT_EQ(keras.used.fit, (Fit{.size = 224, .mode = FitMode::stretch, .filter = Filter::linear}));
    EXPECT_EQ(keras.used.normalize, "caffe");
    expect_has(keras.note, {"stretched", "BGR", "assumed"});

    // timm's words; 232 is what torchvision's second weights use.
    const Metadata timm = {{"preprocess.source", "pretrained_cfg"}, {"preprocess.input_size", "[3, 288, 288]"},
                           {"preprocess.mean", "[0.5, 0.5, 0.5]"},  {"preprocess.std", "[0.5, 0.5, 0.5]"},
                           {"preprocess.crop_pct", "0.95"},         {"preprocess.interpolation", "bicubic"}};
    EXPECT_EQ(stated(timm).used.fit, (Fit{.size = 288, .mode = FitMode::crop, .shorter = 303}));
    EXPECT_EQ(stated(timm).used.normalize, "tf");
    expect_has(stated(timm).note, {"from its pretrained_cfg", "bicubic"});
    EXPECT_EQ(stated({{"preprocess.crop_mode", "squash"}}).used.fit.mode, FitMode::stretch);
    // The two sizes of torchvision's training script.
    const Metadata torchvision = {{"preprocess.input_size", "192"}, {"preprocess.resize", "232"}};
    EXPECT_EQ(stated(torchvision).used.fit, (Fit{.size = 192, .mode = FitMode::crop, .shorter = 232}));
    expect_has(stated({{"preprocess.resize", "100"}}).note, {"its resize 100 is left out"});
    EXPECT_EQ(stated({{"preprocess.normalize", "0,0,0/255,255,255"}}, true).used.normalize, "unit");

    // Options win, and say so where the file said something else.
    const StatedPreprocessing asked =
        stated(ours, false, {.image_size = 96, .resize = 100, .fit = "crop", .normalize = "caffe"});
    EXPECT_EQ(asked.used.fit, (Fit{.size = 96, .mode = FitMode::crop, .filter = Filter::nearest, .shorter = 100}));
    expect_has(asked.note, {"as --image-size says, not 64", "as --normalize says, not unit"});
    EXPECT_EQ(stated(ours, false, {.image_size = 64, .fit = "crop", .normalize = "unit"}).note, "");
    EXPECT_EQ(stated({}, false, {.image_size = 64}).used.fit.shorter, 0u);

    message_of([&] { stated({}, false, {.normalize = "imagnet"}); }, Fault::usage);
    message_of([&] { stated({}, true, {.resize = 256}); }, Fault::usage);
    message_of([&] { stated({}, false, {.resize = 200}); }, Fault::usage);
    message_of([&] { stated({{"preprocess.input_size", "[180, 320]"}}); }, Fault::usage);
    EXPECT_EQ(stated({{"preprocess.input_size", "[180, 320]"}}, false, {.image_size = 320}).used.fit.size, 320u);
    expect_has(stated({{"preprocess.input_size", "8"},
                       {"preprocess.crop_pct", "95"},
                       {"preprocess.mean", "null"},
                       {"preprocess.std", "0"}})
                   .note,
               {"its input_size 8 is left out", "its crop_pct 95", "its mean and std null, 0"});
    EXPECT_EQ(stated({{"preprocess.crop_pct", "0.95"}}, false, {.fit = "stretch"}).used.fit, (Fit{.size = 224}));
    // Of pixels from 0 to 255, and what is of neither scale.
    const auto scaled = [&](const char* mean, const char* deviation) {
        return stated({{"preprocess.mean", mean}, {"preprocess.std", deviation}});
    };
    EXPECT_EQ(scaled("[123.675, 116.28, 103.53]", "[58.395, 57.12, 57.375]").used.normalize, "imagenet");
    EXPECT_EQ(scaled("[0.0, 0.0, 0.0]", "[255.0, 255.0, 255.0]").used.normalize, "unit");
    EXPECT_EQ(scaled("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]").used.normalize, "unit");
    for (const auto& [mean, deviation] :
         std::initializer_list<std::pair<const char*, const char*>>{{"[-0.5, 0.5, 0.5]", "[0.5, 0.5, 0.5]"},
                                                                    {"[0.5, 0.5, 0.5]", "[0.5, -0.5, 0.5]"},
                                                                    {"[0.5, 0.5, 0.5]", "[0.5, 58.0, 0.5]"},
                                                                    {"[123.0, 116.0, 103.0]", "[1.0, 1.0, 1.0]"}}) {
        EXPECT_EQ(scaled(mean, deviation).used.normalize, "imagenet");
        expect_has(scaled(mean, deviation).note, {"its mean and std", "left out"});
    }
    EXPECT_TRUE(scaled("[-1]", "[1]").normalize_assumed);
    EXPECT_FALSE(stated(ours).normalize_assumed);
    for (const char* side : {"63", "400000000"}) {
        Metadata odd = ours;
        odd["tundra.resize"] = side;
        expect_has(message_of([&] { stated(odd); }, Fault::damaged), {"tundra.resize"});
    }
    ours["tundra.normalize"] = "imagnet";
    message_of([&] { stated(ours); }, Fault::damaged);
}

class ModelFiles : public testing::Test {
protected:
    std::filesystem::path path_ =
        std::filesystem::temp_directory_path() / fmt::format("tundra-preprocessing-{}.safetensors", getpid());
    void TearDown() override { std::filesystem::remove(path_); }

    // A narrow ResNet-50 as another program would save it.
    StateDict state_of(size_t classes) {
        return initialize_state(make_model(ResNetConfig{.classes = classes, .width = 4}), 1);
    }
    void write(const StateDict& state, const Metadata& metadata = {}, std::vector<FileTensor> tensors = {}) {
        for (const auto& [name, tensor] : state)
            tensors.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
        write_safetensors(path_, tensors, metadata);
    }
};

TEST_F(ModelFiles, NumbersThatNoNetworkCanUseAreNamed) {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& [tensor, index, value, text] :
         std::initializer_list<std::tuple<const char*, size_t, float, const char*>>{
             {"conv1.weight", 7 * 7 * 3 + 8, nan, "conv1.weight[1, 0, 1, 1] is nan"},
             {"layer2.1.bn3.bias", 2, -infinity, "layer2.1.bn3.bias[2] is -inf"},
             {"layer1.0.downsample.1.running_var", 1, -0.5f,
              "running_var[1] is -0.5, and a variance cannot be negative"},
             {"fc.weight", 0, nan, "fc.weight[0, 0] is nan"}}) {
        StateDict state = state_of(3);
        state.at(tensor).values.mutable_data()[index] = value;
        state["unused"] = {{1}, std::vector<float>{nan}};
        write(state);
        const ModelFile m = read_model(path_);
        expect_has(message_of([&] { check_numbers(m.model, m.state, "FILE"); }, Fault::damaged), {"FILE", text});
        EXPECT_EQ(bad_numbers(m.state).size(), 1u);  // what the network does not use is not read
    }
    StateDict good = state_of(3);
    good["unused"] = {{1}, std::vector<float>{nan}};
    check_numbers(make_model(ResNetConfig{.classes = 3, .width = 4}), good, "FILE");
}

// Finite weights whose sums overflow: a ReLU may turn NaN into 0, and the answer would look like any other. A black
// image is all zeros up to the last layer, so nothing overflows before the second image.
TEST_F(ModelFiles, NetworksThatOverflowHaveNoAnswer) {
    for (const char* name : {"conv1", "layer1.0.conv2", "layer2.1.conv2"})
        for (const bool begins_black : {false, true}) {
            StateDict state = state_of(3);
            for (auto& [tensor, values] : state)
                if (begins_black && (tensor.ends_with(".bias") || tensor.ends_with(".running_mean")) &&
                    tensor != "fc.bias")
                    std::ranges::fill(values.values.mutable_data(), 0.0f);
            const std::span<float> values = state.at(std::string(name) + ".weight").values.mutable_data();
            for (size_t i = 0; i < values.size(); ++i) values[i] = i < values.size() / 2 ? 3e38f : -3e38f;
            const auto device = open_device("cpu", {.threads = 1});
            Arena arena(*device);
            Classifier classifier(*device, arena,
                                  {.model = make_model(ResNetConfig{.classes = 3, .width = 4}),
                                   .batch = 1,
                                   .size = 32,
                                   .normalize = *parse_normalize(begins_black ? "unit" : "imagenet")});
            classifier.load(state, "file");
            std::vector<uint8_t> image(32 * 32 * 3);
            if (begins_black) {
                EXPECT_LT(classifier.run(image)[0], 1);
            }
            for (size_t i = 0; i < image.size(); ++i) image[i] = uint8_t(i * 37);
            expect_has(message_of([&] { classifier.run(image); }, Fault::not_finite), {"numbers overflow", name});
        }
}

TEST_F(ModelFiles, OneOutputIsASigmoid) {
    StateDict state = state_of(1);
    const float weight = state.at("fc.weight").values[3];
    state.at("fc.bias").values.mutable_data()[0] = 0.75f;
    write(state);
    const ModelFile m = read_model(path_);
    EXPECT_EQ(m.model.classes, 2u);
    EXPECT_EQ(m.classes, (std::vector<std::string>{"0", "1"}));
    EXPECT_EQ(m.state.at("fc.weight").shape[0], 2u);
    EXPECT_EQ(m.state.at("fc.weight").values[3], 0);
    EXPECT_EQ(m.state.at("fc.weight").values[m.state.at("fc.weight").shape[1] + 3], weight);
    expect_has(m.notes.back(), {"one output", "sigmoid"});

    StateDict calm = state;  // features times 0: the answer is sigmoid(bias)
    for (float& x : calm.at("fc.weight").values.mutable_data()) x = 0;
    write(calm);
    const ModelFile known = read_model(path_, {.input = {.classes = "empty,animal"}});
    EXPECT_EQ(known.classes, (std::vector<std::string>{"empty", "animal"}));
    const auto device = open_device("cpu", {.threads = 1});
    Arena arena(*device);
    Classifier classifier(*device, arena,
                          {.model = known.model, .batch = 1, .size = 32, .normalize = *parse_normalize("unit")});
    classifier.load(known.state, "file");
    const std::vector<float> p = classifier.run(std::vector<uint8_t>(32 * 32 * 3, 90));
    EXPECT_NEAR(p[1], 1 / (1 + std::exp(-0.75)), 1e-6);
    EXPECT_NEAR(p[0] + p[1], 1, 1e-6);

    write(state, {{"activation", "softmax"}});
    expect_has(message_of([&] { read_model(path_); }, Fault::usage), {"softmax", "1 for every image"});
    write(state_of(3), {{"activation", "sigmoid"}});
    expect_has(message_of([&] { read_model(path_); }, Fault::usage), {"3 outputs", "sigmoid"});
    EXPECT_EQ(read_model(path_, {.initial = true}).model.classes, 3u);  // its last layer may be trained anew
}

TEST_F(ModelFiles, NamesOfClasses) {
    const auto names = [&](const std::string& option) { return read_model(path_, {.input = {.classes = option}}); };
    write(state_of(3));
    EXPECT_EQ(names("").classes[2], "2");
    EXPECT_EQ(names("fox, hare ,empty").classes, (std::vector<std::string>{"fox", "hare", "empty"}));
    expect_has(message_of([&] { names("fox,hare"); }, Fault::usage), {"names 2 classes", "has 3"});
    message_of([&] { names("fox,,empty"); }, Fault::usage);
    message_of([&] { names("fox,fox,empty"); }, Fault::usage);
    const std::filesystem::path lines = path_.string() + ".names";
    std::ofstream(lines) << "\xef\xbb\xbf"
                            "fox, red\r\nhare\r\n\r\nempty";
    EXPECT_EQ(names(lines.string()).classes, (std::vector<std::string>{"fox, red", "hare", "empty"}));
    std::filesystem::remove(lines);
    write(state_of(3), {{"class_names", R"(["a", "b", "c"])"}});
    EXPECT_EQ(names("").classes[1], "b");
    write(state_of(3), {{"tundra.classes", R"(["a", "b", "a"])"}});
    expect_has(message_of([&] { names(""); }, Fault::damaged), {"a class twice"});
    write(state_of(3), {{"tundra.classes", R"(["d", "e", "f"])"}, {"class_names", R"(["a", "b", "c"])"}});
    EXPECT_EQ(names("").classes[1], "e");
    write(state_of(3), {{"class_names", std::string(100'000, '[')}});
    EXPECT_EQ(names("").classes[1], "1");
    write(state_of(3), {{"class_names", R"(["a", "b", "c"])"}});
    const ModelFile renamed = names("fox,hare,empty");
    EXPECT_EQ(renamed.classes[1], "hare");
    const bool said =
        std::ranges::any_of(renamed.notes, [](const std::string& n) { return n.find("not a, b, c") != n.npos; });
    EXPECT_TRUE(said);
}

TEST_F(ModelFiles, OnlyATypeThatIsNeededIsRefused) {
    const std::vector<std::byte> bytes(64);
    write(state_of(3), {}, {{"spare", DType::f8_e4m3, {16}, std::span(bytes).first(16)}});
    EXPECT_EQ(read_model(path_).model.classes, 3u);
    StateDict state = state_of(3);
    state.erase("bn1.bias");
    write(state, {}, {{"bn1.bias", DType::f8_e4m3, {4}, std::span(bytes).first(4)}});
    expect_has(message_of([&] { read_model(path_); }, Fault::usage), {"bn1.bias", "F8_E4M3", "float32"});
}

}  // namespace
