// Files of quantized networks: what comes back, and what is refused. About 4 s.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/safetensors.h"
#include "predict/classifier.h"
#include "predict/detector.h"
#include "predict/model_file.h"
#include "predict/precision.h"
#include "predict/precision_check.h"
#include "tests/quantize_fixture.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class QuantizedFile : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "quantized_XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder = name;
    }
    void TearDown() override { fs::remove_all(folder); }

    fs::path write_classifier() {
        const Model model = small_resnet();
        const StateDict trained = lively(initialize_state(model, 1));
        const Network network = quantized_of({"resnet",
                                              [&] {
                                                  Model folded = model;
                                                  folded.folding.conv_bn.clear();
                                                  return folded;
                                              }(),
                                              fold_batch_norm(trained, model.folding)});
        ModelFile file{.model = network.model,
                       .classes = {"a", "b", "c", "d"},
                       .input = {.fit = {.size = 64}},
                       .state = network.state,
                       .more = {{"tundra.version", "1"}}};
        file.int8_report = report(file.state);
        write_model(folder / "model.safetensors", file);
        return folder / "model.safetensors";
    }
    static std::string report(const StateDict& state) {
        PrecisionCheck check{.precision = DType::i8, .images = 1, .fewest = 1, .rows = {{"accuracy", 1, 1, 1, 0.005}}};
        check.weights = fingerprint(state);
        return json{{"format", 1}, {"original", "old.pt"}, {"check", json::parse(to_text(check))}}.dump();
    }

    // What read_model() says of the file after `change`.
    std::string refusal(
        const fs::path& path,
        const std::function<void(std::vector<FileTensor>&, std::map<std::string, std::string>&)>& change) {
        const SafetensorsFile file = SafetensorsFile::open(path);
        std::vector<FileTensor> tensors(file.tensors().begin(), file.tensors().end());
        std::map<std::string, std::string> metadata = file.metadata();
        change(tensors, metadata);
        const fs::path changed = folder / "changed.safetensors";
        write_safetensors(changed, tensors, metadata);
        try {
            const ModelFile read = read_model(changed);
            check_numbers(read.model, read.state, "changed");
            const auto cpu = open_device("cpu");
            choose_precision({.named = "auto",
                              .checked = check_passed(read.int8_report, read.state),
                              .file = "changed",
                              .int8_report = read.int8_report},
                             *cpu, {});
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    fs::path folder;
};

FileTensor& tensor_of(std::vector<FileTensor>& tensors, const std::string& name) {
    return *std::ranges::find(tensors, name, &FileTensor::name);
}

TEST_F(QuantizedFile, ClassifierComesBack) {
    const fs::path path = write_classifier();
    const ModelFile read = read_model(path);
    EXPECT_TRUE(check_passed(read.int8_report, read.state));
    EXPECT_EQ(read.classes, (std::vector<std::string>{"a", "b", "c", "d"}));
    EXPECT_EQ(read.model.int8.convolutions.size(), 52u);
    EXPECT_FALSE(read.model.int8.convolutions.contains("conv1"));
    EXPECT_EQ(SafetensorsFile::open(path).at("layer1.0.conv2.weight").dtype, DType::i8);
    EXPECT_EQ(SafetensorsFile::open(path).at("conv1.weight").dtype, DType::f32);
    EXPECT_EQ(read_weights(path).metadata.at("tundra.version"), "1");

    const auto device = open_device("cpu", {.threads = 2});
    Arena arena(*device);
    std::vector<uint8_t> images(3 * 64 * 64 * 3);
    for (size_t i = 0; i < images.size(); ++i) images[i] = uint8_t(i * 37 % 251 + i % 5);
    const auto answers = [&](size_t batch, size_t first, size_t count) {
        Classifier classifier(*device, arena,
                              {.model = read.model,
                               .batch = batch,
                               .size = 64,
                               .normalize = normalize_named("imagenet"),
                               .precision = DType::i8});
        classifier.load(read.state, "the file");
        return classifier.run(std::span(images).subspan(first * 64 * 64 * 3, count * 64 * 64 * 3));
    };
    const std::vector<float> together = answers(3, 0, 3);
    for (size_t i = 0; i < 3; ++i) {
        const std::vector<float> alone = answers(1, i, 1);
        for (size_t c = 0; c < 4; ++c) EXPECT_NEAR(alone[c], together[4 * i + c], 1e-6) << "the batch does not matter";
    }
    EXPECT_THROW(read_model(path, {.initial = true}), Error) << "training needs the original";
}

TEST_F(QuantizedFile, DetectorsComeBack) {
    const auto device = open_device("cpu", {.threads = 2});
    for (const char* file : {"yolo/yolov5_p6_tiny", "yolo11/yolo11_tiny_best", "yolo11/yolov9c_cedar_tiny"}) {
        DetectorModel model = read_detector(fs::path(TUNDRA_TESTS "/golden") / file / "model.pt");
        const Network network = quantized_of({file, model.network(), model.state});
        model.int8 = network.model.int8, model.state = network.state;
        model.int8_report = report(model.state);
        model.more = {{"licence", "mine"}};
        const fs::path path = folder / "detector.safetensors";
        write_detector(path, model);
        const DetectorModel read = read_detector(path);
        EXPECT_TRUE(check_passed(read.int8_report, read.state)) << file;
        EXPECT_EQ(read.int8.convolutions, model.int8.convolutions);
        EXPECT_EQ(read.int8.ranges, model.int8.ranges);
        EXPECT_EQ(read.classes, model.classes);
        EXPECT_EQ(read_weights(path).metadata.at("licence"), "mine");
        std::vector<uint8_t> pixels(128 * 192 * 3);
        for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = uint8_t(i * 31 % 253);
        const auto boxes = [&](const DetectorModel& m, bool augmented) {
            Detector detector(*device, m, {.threshold = 0.001f, .precision = DType::i8, .augmented = augmented});
            json found = json::array();
            const std::vector<std::vector<Box>> boxes = detector.run(pixels, 128, 192);
            for (const Box& b : boxes[0]) found.push_back({b.x1, b.y1, b.x2, b.y2, b.score, b.category});
            return found;
        };
        EXPECT_EQ(boxes(read, false), boxes(model, false)) << file;
        EXPECT_FALSE(boxes(read, false).empty()) << file;
        EXPECT_EQ(boxes(read, true), boxes(model, true)) << file;
        EXPECT_THROW(read_detector_unfolded(path), Error);
    }
}

TEST_F(QuantizedFile, DamagedOnesAreRefused) {
    const fs::path path = write_classifier();
    using Metadata = std::map<std::string, std::string>;
    using Tensors = std::vector<FileTensor>;
    EXPECT_EQ(refusal(path, [](Tensors&, Metadata&) {}), "");
    const auto says = [&](const char* wanted, const std::function<void(Tensors&, Metadata&)>& change) {
        const std::string text = refusal(path, change);
        EXPECT_NE(text.find(wanted), std::string::npos) << "'" << text << "' does not say '" << wanted << "'";
    };
    const std::string layer = "layer1.0.conv2";
    const auto without = [&](const std::string& name) {
        return [name](Tensors& t, Metadata&) {
            std::erase_if(t, [&](const FileTensor& one) { return one.name == name; });
        };
    };
    says("no tensor layer1.0.conv2.weight_scale", without(layer + ".weight_scale"));
    says("the range of", without(layer + ".range"));
    says("the range of", without("conv1.range"));
    says("has no layer1.0.conv2.bias", without(layer + ".bias"));
    std::vector<float> numbers(64, 0.01f);
    const auto set = [&](const std::string& name, float value) {
        return [&, name, value](Tensors& t, Metadata&) {
            FileTensor& tensor = tensor_of(t, name);
            numbers.assign(tensor.data.size() / sizeof(float), 0.01f);
            numbers[0] = value;
            tensor.data = std::as_bytes(std::span(numbers));
        };
    };
    says("a scale is above 0", set(layer + ".weight_scale", std::nanf("")));
    says("a scale is above 0", set(layer + ".weight_scale", 0));
    says("a scale is above 0", set(layer + ".weight_scale", -1));
    says("not those that passed", set(layer + ".weight_scale", 0.5f));
    says("no range of numbers around 0", set(layer + ".range", INFINITY));
    says("no range of numbers around 0", set(layer + ".range", 0.005f));
    says("not those that passed", set(layer + ".range", -1));
    says("has shape (16)", [&](Tensors& t, Metadata&) {
        tensor_of(t, "layer1.0.conv3.weight_scale").shape = {16},
                     tensor_of(t, "layer1.0.conv3.weight_scale").data =
                         tensor_of(t, "layer1.0.conv3.weight_scale").data.first(64);
    });
    std::vector<float> plain;
    says("is of type F32", [&](Tensors& t, Metadata&) {
        FileTensor& weight = tensor_of(t, layer + ".weight");
        plain.assign(weight.data.size(), 1);
        weight.dtype = DType::f32, weight.data = std::as_bytes(std::span(plain));
    });
    std::vector<int8_t> bytes;
    says("-127 to 127", [&](Tensors& t, Metadata&) {
        FileTensor& weight = tensor_of(t, layer + ".weight");
        bytes.assign(weight.data.size(), -128);
        weight.data = std::as_bytes(std::span(bytes));
    });
    says("not those that passed", [&](Tensors& t, Metadata&) {
        FileTensor& weight = tensor_of(t, layer + ".weight");
        bytes.assign(weight.data.size(), 3);
        weight.data = std::as_bytes(std::span(bytes));
    });
    says("newer tundra", [](Tensors&, Metadata& m) { m[kInt8] = R"({"format":2})"; });
    says("cannot be read", [](Tensors&, Metadata& m) { m[kInt8] = "{"; });
    says("not those that passed", [](Tensors&, Metadata& m) { m[kInt8] = R"({"format":1,"original":"old.pt"})"; });
    says("", [](Tensors&, Metadata& m) { m.erase(kInt8); });
    EXPECT_NE(refusal(path, [](Tensors&, Metadata& m) { m.erase(kInt8); }), "") << "bytes without their report";
}

}  // namespace
