// Keras .h5 files in both namings: every tensor of the layer list arrives under torchvision's name with the right
// shape, and the epsilon follows the naming. That the values are in the right order is shown by the network's outputs,
// tested elsewhere.
#include "models/files/weights.h"
#include "tests/golden.h"
#include "tests/images.h"

namespace {

void check_case(const std::filesystem::path& path, const nlohmann::json& expected) {
    const WeightFile file = read_weights(path);
    if (expected.at("classes") == 0) {  // without its last layer: weights to start from
        EXPECT_FALSE(file.state.contains("fc.weight"));
    } else {
        ASSERT_TRUE(file.model.model) << file.model.text;
        EXPECT_EQ(file.model.model->name, "resnet50-keras");
        EXPECT_EQ(file.model.classes, expected.at("classes").get<size_t>());
        EXPECT_FLOAT_EQ(float(file.model.model->folding.eps), expected.at("batch_norm_eps").get<float>());
    }
    // Sizes alone cannot show a layer that took another's place; the stage and block in the layer's name can.
    size_t expected_tensors = 0, expected_elements = 0, elements = 0;
    for (const auto& [layer, variables] : expected.at("weights").items())
        for (const auto& [variable, shape] : variables.items()) {
            ++expected_tensors;
            expected_elements += numel(shape.get<Shape>());
        }
    for (const auto& [tensor, value] : file.state) elements += value.values.size();
    EXPECT_EQ(file.state.size(), expected_tensors);
    EXPECT_EQ(elements, expected_elements);
    EXPECT_EQ(file.tensors.size(), expected_tensors);
    size_t convolutions = 0;
    for (const auto& [name, kernel] : file.state) {
        if (kernel.shape.size() != 4) continue;
        SCOPED_TRACE(name);
        ++convolutions;
        // layer2.0.conv3.weight -> layer2.0.bn3, layer2.0.downsample.0.weight -> layer2.0.downsample.1
        const std::string conv = name.substr(0, name.size() - std::string(".weight").size());
        std::string bn = conv;
        if (const size_t at = bn.rfind("conv"); at != bn.npos)
            bn.replace(at, 4, "bn");
        else
            bn.back() = '1';
        EXPECT_EQ(file.state.at(conv + ".bias").shape, Shape{kernel.shape[0]});
        for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"})
            EXPECT_EQ(file.state.at(bn + part).shape, Shape{kernel.shape[0]});
        for (const float variance : file.state.at(bn + ".running_var").values) EXPECT_GT(variance, 0);
    }
    EXPECT_EQ(convolutions, 53u);
}

TEST(GoldenKerasFile, NamesShapesAndEpsilon) {
#if !defined(TUNDRA_HDF5)
    GTEST_SKIP() << "built without HDF5";
#endif
    const std::filesystem::path folder = golden_folder("keras");
    const nlohmann::json cases = golden_json(folder / "expected.json");
    GoldenCount counted;
    for (const auto& [name, expected] : cases.items()) {
        if (!name.ends_with(".h5")) continue;
        golden_case(name, expected, counted, [&, &name = name, &expected = expected] {
            const std::string names = expected.at("names");
            if (!names.starts_with("new") && !names.starts_with("old"))
                return counted.refuse("names '" + names + "' are unknown");
            check_case(folder / name, expected);
            counted.check();
        });
    }
}

TEST(GoldenKerasFile, DamagedFilesGiveOneError) {
#if !defined(TUNDRA_HDF5)
    GTEST_SKIP() << "built without HDF5";
#endif
    std::filesystem::path source;  // the first one that may not be refused
    const nlohmann::json cases = golden_json(golden_folder("keras") / "expected.json");
    for (const auto& [name, expected] : cases.items())
        if (source.empty() && name.ends_with(".h5") && !expected.contains("may_refuse"))
            source = golden_folder("keras") / name;
    ASSERT_FALSE(source.empty()) << "no case of a good file was found";
    const FileBytes whole = read_file(source);
    const TemporaryFolder folder;
    const std::filesystem::path copy = folder.path / "damaged.h5";
    const auto outcome = [&](std::span<const std::byte> bytes) {
        write_file_durably(
            copy, [&](FileWriter& file) { file.write(bytes); }, false);
        try {
            read_weights(copy);
            return std::string();
        } catch (const Error& error) {
            return std::string(error.what());
        }
    };
    for (const size_t size : {size_t(9), size_t(100), size_t(2048), whole.size / 2, whole.size - 1})
        EXPECT_NE(outcome(whole.span().first(size)), "") << size;
    // A flipped byte may hit a weight, which nothing protects; it must only never end the test.
    FileBytes damaged = FileBytes::copy(whole.span());
    for (size_t i = 0; i < 40; ++i) {
        std::byte& victim = damaged.memory[8 + i * 97];
        const std::byte before = victim;
        victim ^= std::byte(0xff);
        const std::string text = outcome(damaged.span());
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
        victim = before;
    }
}

}  // namespace
