#include "models/files/keras_file.h"

#include <cstdio>
#include <cstring>

#include "models/files/hdf5_file.h"
#include "models/files/keras_config.h"
#include "models/files/zip_file.h"

namespace {

using Metadata = std::map<std::string, std::string>;

struct Variable {
    std::string layer, kind;  // "conv1_conv", "kernel"
    const FileTensor* tensor;
};

// "conv1/conv1_gamma_1:0" -> "gamma": the role of a dataset in its layer.
std::string variable_name(std::string path, const std::string& layer) {
    path = path.substr(path.rfind('/') + 1);
    path = path.substr(0, path.find(':'));
    if (path.starts_with(layer + "_")) path = path.substr(layer.size() + 1);
    const size_t underscore = path.rfind('_');
    if (underscore != path.npos && path.find_first_not_of("0123456789", underscore + 1) == path.npos)
        path.resize(underscore);
    return path;
}

std::string torch_variable(const std::string& variable) {
    if (variable == "kernel" || variable == "W" || variable == "gamma") return "weight";
    if (variable == "bias" || variable == "b" || variable == "beta") return "bias";
    if (variable == "moving_mean" || variable == "running_mean") return "running_mean";
    if (variable == "moving_variance" || variable == "running_std") return "running_var";
    return "";
}

// (rows, columns) -> (columns, rows); a kernel is (h * w, c_in, c_out) -> (c_out, c_in, h * w), two such steps in one.
HostTensor reversed(const FileTensor& tensor) {
    const std::vector<float> from = elements<float>(tensor);
    const Shape& s = tensor.shape;
    const size_t c_out = s.back(), c_in = s[s.size() - 2], kernel = s.size() == 4 ? s[0] * s[1] : 1;
    std::vector<float> to(from.size());
    for (size_t k = 0; k < kernel; ++k)
        for (size_t i = 0; i < c_in; ++i)
            for (size_t o = 0; o < c_out; ++o) to[(o * c_in + i) * kernel + k] = from[(k * c_in + i) * c_out + o];
    return {s.size() == 4 ? Shape{c_out, c_in, s[0], s[1]} : Shape{c_out, c_in}, std::move(to)};
}

std::string text_at(const Metadata& metadata, const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? "" : found->second;
}

// The kinds of the numbered variables of Keras 3 by the class in their layer's key; "" for others.
std::string kind_of(const std::string& key, const std::string& number) {
    const size_t i = size_t(std::atoi(number.c_str()));
    const std::string type = key.substr(key.rfind('/') + 1);
    const auto pick = [&](std::initializer_list<const char*> names) {
        return i < names.size() ? names.begin()[i] : "";
    };
    if (type.starts_with("conv2d") || type.starts_with("dense")) return pick({"kernel", "bias"});
    if (type.starts_with("batch_norm")) return pick({"gamma", "beta", "moving_mean", "moving_variance"});
    return type.starts_with("normalization") ? pick({"mean", "variance"}) : "";
}

// The names of convolutions in the order in which keras.applications' functions connect them; those of the
// normalizations follow.
std::vector<std::string> names_in_order(size_t convolutions) {
    const size_t third = convolutions == 53 ? 6 : convolutions == 104 ? 23 : 36, second = convolutions == 155 ? 8 : 4;
    std::vector<std::string> names;
    if (convolutions != 53 && convolutions != 104 && convolutions != 155) return names;
    names.push_back("conv1");
    const size_t blocks[] = {3, second, third, 3};
    for (size_t stage = 0; stage < 4; ++stage)
        for (size_t block = 1; block <= blocks[stage]; ++block)
            for (const char part : std::string_view(block == 1 ? "1203" : "123"))
                names.push_back(fmt::format("conv{}_block{}_{}", stage + 2, block, part));
    return names;
}

// The number at the end of "layers/conv2d_12", 0 without one.
size_t number_of_key(const std::string& key) {
    const size_t underscore = key.rfind('_');
    if (underscore == key.npos || key.find_first_not_of("0123456789", underscore + 1) != key.npos) return 0;
    return size_t(std::atoi(key.c_str() + underscore + 1));
}

struct Other {  // thrown: what the file holds that tundra does not run
    std::string text;
};

class Reader {
public:
    Reader(const SafetensorsFile& file, const std::string& config, KerasWeights& out)
        : file_(file), out_(out), alone_(config.empty()) {
        for (const FileTensor& tensor : file.tensors()) {
            whole_ |= tensor.name.starts_with("model_weights/");
            keras3_ |= tensor.name.find("/vars/") != tensor.name.npos;
            out.old_names |= tensor.name.find("bn_conv1/") != std::string::npos;
        }
        try {
            if (!config.empty())
                config_ = read_keras_config(
                    config, [&](const KerasLayer& layer, const std::string& kind) { return stored(layer, kind); });
            if (!config_.refusal.empty())
                throw Other{
                    fmt::format("the Keras model '{}', which tundra does not run: {}", config_.name, config_.refusal)};
            take_names();
            take_variables();
            take_weights();
            take_facts(!config.empty());
        } catch (const Other& other) {  // the tensors under their own names, for people to look at
            out.other = other.text;
            out.state.clear();
            for (const FileTensor& tensor : file.tensors())
                out.state[tensor.name] = {tensor.shape, elements<float>(tensor)};
        }
    }

private:
    // Of a layer that learns from the data without training: by its key in Keras 3, by its name before.
    std::vector<float> stored(const KerasLayer& layer, const std::string& kind) const {
        for (const FileTensor& tensor : file_.tensors())
            if (tensor.name == fmt::format("{}/vars/{}", layer.key, kind == "mean" ? 0 : 1) ||
                (tensor.name.find(layer.name + "/") != tensor.name.npos &&
                 variable_name(tensor.name, layer.name) == kind))
                return elements<float>(tensor);
        return {};
    }

    // Which layer a key of Keras 3 stands for: by the architecture, else by the names that newer versions write there,
    // else by the order.
    void take_names() {
        for (const KerasLayer& layer : config_.layers) names_[layer.key] = layer.name;
        if (!keras3_ || !names_.empty()) return;
        std::map<std::string, std::map<size_t, std::string>> by_class;
        for (const FileTensor& tensor : file_.tensors()) {
            const size_t end = tensor.name.find("/vars/");
            if (end == tensor.name.npos || !tensor.name.starts_with("layers/")) continue;
            const std::string key = tensor.name.substr(0, end), name = text_at(file_.metadata(), "name " + key);
            if (!name.empty()) names_[key] = name;
            const std::string type = key.substr(key.rfind('/') + 1);
            by_class[type.substr(0, type.find_first_of("2_"))][number_of_key(key)] = key;
        }
        if (!names_.empty()) return;
        const std::map<size_t, std::string>&kernels = by_class["conv"], &norms = by_class["batch"];
        const std::vector<std::string> order = names_in_order(kernels.size());
        if (order.empty() || norms.size() != order.size())
            throw Other{
                fmt::format("Keras weights of {} convolutions and {} normalizations, which are not those of "
                            "ResNet-50, 101 or 152",
                            kernels.size(), norms.size())};
        for (size_t i = 0; const auto& [number, key] : kernels) names_[key] = order[i++] + "_conv";
        for (size_t i = 0; const auto& [number, key] : norms) names_[key] = order[i++] + "_bn";
        out_.notes.push_back(
            "says neither the architecture nor the names of its layers: they are taken in the order of "
            "keras.applications");
    }

    void take_variables() {
        for (const FileTensor& tensor : file_.tensors()) {
            std::string name = tensor.name;
            const bool is_optimizer = name.starts_with("optimizer") || name.starts_with("_optimizer");
            if (is_optimizer || (whole_ && !name.starts_with("model_weights/"))) continue;
            if (keras3_) {
                const size_t end = name.find("/vars/");
                if (end == name.npos || !name.starts_with("layers/")) continue;
                const std::string key = name.substr(0, end), kind = kind_of(key, name.substr(end + 6));
                const auto found = names_.find(key);
                variables_.push_back({found == names_.end() ? key : found->second, kind, &tensor});
                continue;
            }
            const size_t last = name.rfind('/'), before = last == name.npos ? last : name.rfind('/', last - 1);
            if (last == name.npos) continue;
            const std::string layer = name.substr(before == name.npos ? 0 : before + 1, last - (before + 1));
            variables_.push_back({layer, variable_name(name, layer), &tensor});
        }
    }

    void take_weights() {
        std::string head = config_.head;
        for (const auto& [layer, kind, tensor] : variables_) {
            if (kind == "mean" || kind == "variance") {  // of what prepares the pixels
                if (kind == "mean" && alone_)
                    out_.notes.push_back(fmt::format(
                        "has the statistics of a Normalization layer ('{}'), but not the architecture that says where "
                        "it stands: they are not used; save the whole model, or say --normalize",
                        tensor->name));
                continue;
            }
            const std::string part = torch_variable(kind);
            std::string target = torchvision_name(layer, out_.old_names);
            // The last layer has a name chosen by its author.
            const bool dense = tensor->shape.size() == 2 && part == "weight";
            if (target.empty() && (dense || tensor->shape.size() == 1) && (head.empty() || head == layer)) {
                head = layer;
                target = "fc";
            }
            if (target.empty() || part.empty() || tensor->dtype != DType::f32)
                throw Other{
                    fmt::format("Keras weights that are not those of ResNet-50, 101 or 152 with one Dense "
                                "layer: '{}' has no place there",
                                tensor->name)};
            HostTensor value = tensor->shape.size() == 4 || dense ? reversed(*tensor)
                                                                  : HostTensor{tensor->shape, elements<float>(*tensor)};
            if (!out_.state.emplace(target + "." + part, std::move(value)).second)
                throw Other{fmt::format("a Keras model in which layer '{}' occurs twice", layer)};
        }
        if (!out_.state.contains("conv1.weight"))
            throw Other{"Keras weights without a layer 'conv1_conv', which are not those of ResNet-50, 101 or 152"};
        if (const auto fc = out_.state.find("fc.weight"); fc != out_.state.end() && fc->second.shape.size() == 2)
            out_.state.emplace(
                "fc.bias",
                HostTensor{{fc->second.shape[0]}, std::vector<float>(fc->second.shape[0])});  // Dense(use_bias=False)
    }

    void take_facts(bool has_config) {
        Metadata& m = out_.metadata;
        m["keras names"] = out_.old_names ? "old" : "new";
        m["batch_norm_epsilon"] = fmt::format("{}", float(has_config       ? config_.epsilon
                                                          : out_.old_names ? 1e-3
                                                                           : 1.001e-5));
        if (!has_config) return;
        m["keras model"] = config_.name;
        if (!config_.activation.empty()) m["activation"] = config_.activation;
        if (config_.image_size) m["preprocess.input_size"] = std::to_string(config_.image_size);
        if (!config_.normalize.empty()) m["preprocess.normalize"] = config_.normalize;
        m["preprocess.source"] = "Keras architecture";
    }

    const SafetensorsFile& file_;
    KerasWeights& out_;
    const bool alone_;  // without an architecture
    bool whole_ = false, keras3_ = false;
    KerasConfig config_;
    std::map<std::string, std::string> names_;  // of the layers by their keys in Keras 3
    std::vector<Variable> variables_;
};

constexpr std::string_view kWeightsInArchive = "model.weights.h5", kConfigInArchive = "config.json";

}  // namespace

bool is_keras_archive(std::span<const std::byte> bytes) {
    constexpr std::string_view start = "PK\x03\x04";
    constexpr size_t name_at = 30;
    if (bytes.size() < name_at + 20 || std::memcmp(bytes.data(), start.data(), start.size()) != 0) return false;
    const std::string_view name(reinterpret_cast<const char*>(bytes.data()) + name_at, 20);
    return name.starts_with("metadata.json") || name.starts_with(kConfigInArchive) ||
           name.starts_with(kWeightsInArchive);
}

KerasWeights read_keras(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    KerasWeights weights;
    if (!is_keras_archive(bytes)) {
        const SafetensorsFile file = read_hdf5(path);
        Reader(file, text_at(file.metadata(), "model_config"), weights);
        return weights;
    }
    weights.layout = "Keras archive";
    const ZipFile archive(bytes, path.string());
    const auto record = [&](std::string_view name) {
        if (!archive.contains(std::string(name)))
            fail(Fault::damaged, "{}: is a Keras archive without {}; copy or download it again", path.string(), name);
        return archive.read(std::string(name));
    };
    const std::vector<std::byte> config = record(kConfigInArchive), content = record(kWeightsInArchive);
    const SafetensorsFile file = read_hdf5(path, content);
    Reader(file, {reinterpret_cast<const char*>(config.data()), config.size()}, weights);
    return weights;
}
