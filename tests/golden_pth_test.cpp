// PyTorch files in every layout: names, order, types, shapes, strides and every bit of every tensor.
#include "base/safetensors.h"
#include "models/files/torch_file.h"
#include "tests/golden.h"

namespace {

std::string torch_name(DType type) {
    switch (type) {
        case DType::f64: return "float64";
        case DType::f32: return "float32";
        case DType::f16: return "float16";
        case DType::bf16: return "bfloat16";
        case DType::i64: return "int64";
        case DType::i32: return "int32";
        case DType::i16: return "int16";
        case DType::i8: return "int8";
        case DType::u8: return "uint8";
        case DType::boolean: return "bool";
        default: break;
    }
    return "?";
}

void check_case(const std::filesystem::path& path, const nlohmann::json& expected) {
    const TorchFile file = TorchFile::open(path);
    const SafetensorsFile values = SafetensorsFile::open(path.string() + ".expected.safetensors");
    const std::vector<NamedTorchTensor> tensors = file.tensors(file.root());
    std::vector<std::string> names;
    for (const NamedTorchTensor& found : tensors) names.push_back(found.name);
    ASSERT_EQ(names, expected.at("tensors_in_order").get<std::vector<std::string>>());
    for (const NamedTorchTensor& found : tensors) {
        SCOPED_TRACE(found.name);
        const nlohmann::json& wanted = expected.at("tensors").at(found.name);
        EXPECT_EQ(torch_name(found.tensor.dtype), wanted["dtype"].get<std::string>());
        EXPECT_EQ(found.tensor.shape, wanted["shape"].get<std::vector<size_t>>());
        EXPECT_EQ(found.tensor.strides, wanted["stride"].get<std::vector<size_t>>());
        EXPECT_EQ(found.tensor.offset, wanted["storage_offset"].get<size_t>());
        const FileTensor& value = values.at(found.name);
        EXPECT_EQ(found.tensor.dtype, value.dtype);
        const std::vector<std::byte> bytes = file.read(found.tensor);
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), value.data.begin(), value.data.end()));
    }
    const nlohmann::json scalars = expected.value("scalars", nlohmann::json::object());
    for (const auto& [key, value] : scalars.items()) {
        const PickleValue found = file.root().find(key);
        if (value.is_string()) {
            EXPECT_EQ(found.text(), value.get<std::string>()) << key;
        }
        if (value.is_number_integer()) {
            EXPECT_EQ(found.integer(), value.get<int64_t>()) << key;
        }
        if (value.is_number_float()) {
            EXPECT_EQ(found.real(), value.get<double>()) << key;
        }
        if (value.is_null()) {
            EXPECT_TRUE(found.is(PickleKind::none)) << key;
        }
    }
    size_t visited = 0;
    file.read_all(tensors, [&](const NamedTorchTensor& tensor, std::vector<std::byte> bytes) {
        EXPECT_EQ(bytes, file.read(tensor.tensor)) << tensor.name;
        ++visited;
    });
    EXPECT_EQ(visited, tensors.size());
}

TEST(GoldenPth, EveryFileBitForBit) {
    const std::filesystem::path folder = golden_folder("pth");
    GoldenCount count;
    const nlohmann::json cases = golden_json(folder / "expected.json");
    for (const auto& [name, expected] : cases.items())
        golden_case(name, expected, count, [&, &name = name, &expected = expected] {
            const std::string layout = expected.is_object() ? expected.value("layout", "") : "";
            if (layout != "zip" && layout != "legacy") return count.refuse("layout '" + layout + "' is unknown");
            check_case(folder / name, expected);
            count.check();
        });
}

}  // namespace
