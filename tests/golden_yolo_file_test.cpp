// YOLOv5 checkpoints as whole pickled modules: names, order, shapes, types and sums of what PyTorch calls the
// state_dict, and the attributes that the detector is configured from.
#include <cmath>

#include "models/files/weights.h"
#include "tests/golden.h"

namespace {

void check_case(const std::filesystem::path& path, const nlohmann::ordered_json& expected) {
    const WeightFile file = read_weights(path);
    EXPECT_EQ(file.source, expected.at("key_used").get<std::string>());
    const auto& wanted = expected.at("state_dict");
    ASSERT_EQ(file.tensors.size(), wanted.size());
    size_t index = 0;
    for (const auto& [name, tensor] : wanted.items()) {
        SCOPED_TRACE(name);
        const StoredTensor& stored = file.tensors[index++];
        EXPECT_EQ(stored.name, name);
        EXPECT_EQ(stored.shape, tensor.at("shape").template get<Shape>());
        EXPECT_EQ(stored.dtype == DType::f16, tensor.at("dtype") == "float16");
        if (tensor.contains("value")) {  // a counter of batches
            EXPECT_EQ(file.integers.at(name), std::vector{tensor.at("value").template get<int64_t>()});
            continue;
        }
        double sum = 0, abs_sum = 0;
        if (file.state.contains(name))
            for (const float v : file.state.at(name).values) sum += v, abs_sum += std::abs(double(v));
        else
            for (const int64_t v : file.integers.at(name)) sum += double(v), abs_sum += std::abs(double(v));
        // The reference prints twelve digits and may have summed in another order.
        EXPECT_NEAR(sum, tensor.at("sum").template get<double>(), 1e-9 * (1 + abs_sum));
        EXPECT_NEAR(abs_sum, tensor.at("abs_sum").template get<double>(), 1e-9 * (1 + abs_sum));
    }
    EXPECT_EQ(file.model.task, "detect") << file.model.text;
    EXPECT_EQ(file.model.classes, expected.at("nc").get<size_t>());
    EXPECT_EQ(file.model.class_names, golden_names(expected.at("classes")));
    // The first layer is a convolution, or, before release 6.0 of YOLOv5, a Focus that holds one.
    const bool focus = expected.at("layers")[0].at("type").get<std::string>().ends_with(".Focus");
    const std::string first = focus ? "model.0.conv" : "model.0";
    EXPECT_DOUBLE_EQ(child_module(file.module, first + ".bn").find("eps").real(), expected.at("bn_eps").get<double>());
    EXPECT_EQ(size_t(file.module.find("yaml").find("nc").integer()), file.model.classes);
    EXPECT_TRUE(child_module(file.module, "model.99").is(PickleKind::absent));
    EXPECT_EQ(child_module(file.module, first + ".conv").find("kernel_size")[0].integer(),
              file.tensors[0].shape.back());
    for (const auto& layer : expected.at("layers")) {
        const PickleValue module = child_module(file.module, "model." + std::to_string(layer.at("i").get<int>()));
        EXPECT_EQ(module.type_name(), layer.at("type").get<std::string>());
        if (layer.at("from").is_number()) {
            EXPECT_EQ(module.find("f").integer(), layer.at("from").get<int64_t>());
        }
    }
}

TEST(GoldenYoloFile, StateDictAndAttributes) {
    GoldenCount counted;
    const std::filesystem::path folder = golden_folder("yolo");
    if (is_directory(folder))
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            if (!exists(entry.path() / "model.pt") || !exists(entry.path() / "expected.json")) {
                counted.refuse("a folder without model.pt and expected.json");
                continue;
            }
            // The order of the file, which a sorted JSON object would lose.
            std::ifstream text(entry.path() / "expected.json");
            const auto expected = nlohmann::ordered_json::parse(text);
            golden_case(entry.path().filename(), expected, counted, [&] {
                check_case(entry.path() / "model.pt", expected);
                counted.check();
            });
        }
}

}  // namespace
