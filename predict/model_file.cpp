#include "predict/model_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/safetensors.h"
#include "models/files/weights.h"

namespace {

using nlohmann::json;

constexpr std::string_view kFilters[] = {"antialias", "linear", "nearest"};
constexpr std::string_view kTracked = "num_batches_tracked";

std::string get(const std::map<std::string, std::string>& metadata, const std::string& key,
                const std::string& otherwise) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? otherwise : found->second;
}

}  // namespace

Normalize normalize_named(std::string_view name) {
    if (name == "unit") return {{1 / 255.0f, 1 / 255.0f, 1 / 255.0f}, {0, 0, 0}};
    require(name == "imagenet", "normalize '{}' is not imagenet or unit", name);
    constexpr double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};
    Normalize n;
    for (size_t c = 0; c < 3; ++c) {
        n.scale[c] = float(1 / (255 * deviation[c]));
        n.shift[c] = float(-mean[c] / deviation[c]);
    }
    return n;
}

void write_model(const std::filesystem::path& path, const ModelFile& m) {
    std::vector<FileTensor> tensors;
    const std::span<const uint64_t> steps(&m.steps, 1);
    for (const auto& [name, tensor] : m.state) {
        tensors.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
        if (name.ends_with("running_var"))
            tensors.push_back(
                {name.substr(0, name.size() - 11) + std::string(kTracked), DType::i64, {}, std::as_bytes(steps)});
    }
    std::map<std::string, std::string> metadata = m.more;
    metadata["format"] = "pt";  // expected by PyTorch's readers
    metadata["tundra.model"] = m.model.name;
    metadata["tundra.epsilon"] = fmt::format("{}", float(m.model.folding.eps));
    metadata["tundra.classes"] = json(m.classes).dump(-1, ' ', false, json::error_handler_t::replace);
    metadata["tundra.image_size"] = std::to_string(m.fit.size);
    metadata["tundra.fit"] = m.fit.mode == FitMode::crop ? "crop" : "stretch";
    metadata["tundra.filter"] = kFilters[size_t(m.fit.filter)];
    metadata["tundra.normalize"] = m.normalize;
    write_safetensors(path, tensors, metadata);
}

std::string fingerprint(const StateDict& state) {
    Hash hash;
    for (const auto& [name, tensor] : state) hash.add(name), hash.add(std::as_bytes(std::span(tensor.values)));
    return hash.hex();
}

std::filesystem::path weight_file(const std::filesystem::path& path) {
    const std::filesystem::path file = std::filesystem::is_directory(path) ? path / "model.safetensors" : path;
    if (!std::filesystem::exists(file))
        fail(Fault::usage, "{}: holds no model; name a run folder whose training has finished, or a weight file",
             path.string());
    return file;
}

ModelFile read_model(const std::filesystem::path& path, bool mapped) {
    const std::filesystem::path file = weight_file(path);
    WeightFile weights = read_weights(file, mapped);
    if (!weights.model.model)
        fail(Fault::usage, "{}: holds {}; this command takes a classifier (ResNet-50, 101 or 152)", file.string(),
             weights.model.text);
    ModelFile m{.model = std::move(*weights.model.model),
                .classes = {},
                .fit = {.size = 224, .mode = FitMode::crop},
                .state = std::move(weights.state),
                .notes = std::move(weights.notes),
                .lacks = std::move(weights.model.lacks)};
    const auto& metadata = weights.metadata;
    try {
        const json classes = json::parse(get(metadata, "tundra.classes", "[]"));
        m.classes = classes.get<std::vector<std::string>>();
        m.fit.size = std::stoul(get(metadata, "tundra.image_size", "224"));
    } catch (const std::exception&) {
        fail(Fault::damaged, "{}: its tundra metadata cannot be read", file.string());
    }
    if (get(metadata, "tundra.fit", "crop") == "stretch") m.fit.mode = FitMode::stretch;
    for (size_t i = 0; i < std::size(kFilters); ++i)
        if (get(metadata, "tundra.filter", "antialias") == kFilters[i]) m.fit.filter = Filter(i);
    m.normalize = get(metadata, "tundra.normalize", "imagenet") == "unit" ? "unit" : "imagenet";
    if (m.fit.size < 32 || m.fit.size > 4096)
        fail(Fault::damaged, "{}: image_size {} is not in 32..4096", file.string(), m.fit.size);
    if (m.classes.empty() && weights.model.class_names.size() == m.model.classes) m.classes = weights.model.class_names;
    if (m.classes.empty())
        for (size_t i = 0; i < m.model.classes; ++i) m.classes.push_back(std::to_string(i));
    if (m.classes.size() != m.model.classes)
        fail(Fault::damaged, "{}: {} class names for {} outputs", file.string(), m.classes.size(), m.model.classes);
    return m;
}
