#include "predict/model_file.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/hash.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/text.h"
#include "models/files/int8_file.h"
#include "models/int8.h"

namespace {

using nlohmann::json;

constexpr std::string_view kTracked = "num_batches_tracked";

// The tensors of the network have names that begin with one of these and a dot.
std::set<std::string_view> layers_of(const Model& model) {
    std::set<std::string_view> layers{std::string_view(model.head).substr(0, model.head.size() - 1)};
    for (const auto& [conv, bn] : model.folding.conv_bn) layers.insert(conv), layers.insert(bn);
    return layers;
}
bool is_of(const std::set<std::string_view>& layers, std::string_view tensor) {
    return layers.contains(tensor.substr(0, tensor.rfind('.')));
}

// "F8_E4M3" if the file has tensors that tundra does not read and the network needs (without a network: any); else "".
std::string needed_but_unreadable(const WeightFile& file) {
    const std::set<std::string_view> layers = file.model.model ? layers_of(*file.model.model) : decltype(layers){};
    for (const StoredTensor& t : file.tensors)
        if (!is_readable(t.dtype) && (layers.empty() || is_of(layers, t.name)))
            return fmt::format("its tensor {} has elements of type {}", t.name, to_string(t.dtype));
    return "";
}

// A last layer of one output, the logit of a yes, becomes one of two whose first is always 0.
void make_two_outputs(Model& model, StateDict& state) {
    for (const char* part : {"weight", "bias"}) {
        HostTensor& tensor = state.at(model.head + part);
        std::vector<float> values(tensor.values.size(), 0);
        values.insert(values.end(), tensor.values.begin(), tensor.values.end());
        tensor.shape[0] = 2;
        tensor.values = std::move(values);
    }
    model.classes = 2;
}

void take_classes(ModelFile& m, const WeightFile& file, const std::string& option) {
    std::vector<std::string> stored = file.model.class_names;
    if (const auto found = file.metadata.find("tundra.classes"); found != file.metadata.end()) try {
            stored = json::parse(found->second).get<std::vector<std::string>>();
        } catch (const std::exception&) {
            fail(Fault::damaged, "{}: its tundra metadata cannot be read", file.path);
        }
    if (std::set(stored.begin(), stored.end()).size() != stored.size())
        fail(Fault::damaged, "{}: its tundra.classes name a class twice", file.path);
    const size_t n = m.model.classes;
    if (file.model.classes == 1 && stored.size() == 1) stored.insert(stored.begin(), "not " + stored[0]);
    if (!stored.empty() && stored.size() != n)
        fail(Fault::damaged, "{}: {} class names for {} outputs", file.path, stored.size(), n);
    m.classes = stored;
    if (!option.empty()) {
        m.classes = class_names(option, n, file.path);
        if (!stored.empty() && stored != m.classes)
            m.notes.push_back(
                fmt::format("{}: the classes are named as --classes says, not {}", file.path, fmt::join(stored, ", ")));
    }
    for (size_t i = m.classes.size(); i < n; ++i) m.classes.push_back(std::to_string(i));
}

}  // namespace

std::vector<std::string> class_names(const std::string& option, size_t outputs, const std::string& where) {
    std::vector<std::string> names;
    const bool is_file = std::filesystem::is_regular_file(option);
    std::string text = option;
    if (is_file) {
        const FileBytes bytes = read_file(option, 1 << 20);
        text = without_bom(bytes.text());
    }
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(is_file ? '\n' : ',', at), text.size());
        std::string name = text.substr(at, end - at);
        at = end + 1;
        name.erase(0, std::min(name.find_first_not_of(" \t\r"), name.size()));
        name.erase(name.find_last_not_of(" \t\r") + 1);
        if (name.empty() && is_file) continue;
        if (name.empty()) fail(Fault::usage, "--classes {}: a name is empty", option);
        if (std::ranges::find(names, name) != names.end())
            fail(Fault::usage, "--classes {}: names '{}' twice", option, name);
        names.push_back(std::move(name));
    }
    if (names.size() != outputs)
        fail(Fault::usage, "--classes {}: names {} classes, and {} has {}", option, names.size(), where, outputs);
    return names;
}

void store(const ModelFile& m, std::map<std::string, std::string>& metadata) {
    metadata["tundra.classes"] = one_line(json(m.classes));
    store(m.input, metadata);
}

void write_model(const std::filesystem::path& path, const ModelFile& m) {
    std::vector<std::vector<int8_t>> bytes;
    std::vector<FileTensor> tensors;
    const std::span<const uint64_t> steps(&m.steps, 1);
    for (FileTensor& tensor : file_tensors(m.state, bytes)) {
        const std::string name = tensor.name;
        tensors.push_back(std::move(tensor));
        if (name.ends_with("running_var"))
            tensors.push_back(
                {name.substr(0, name.size() - 11) + std::string(kTracked), DType::i64, {}, std::as_bytes(steps)});
    }
    std::map<std::string, std::string> metadata = m.more;
    metadata["format"] = "pt";  // expected by PyTorch's readers
    metadata["tundra.model"] = m.model.name;
    metadata["tundra.epsilon"] = fmt::format("{}", float(m.model.folding.eps));
    if (!m.bf16_check.empty()) metadata[kBf16Check] = m.bf16_check;
    if (!m.int8_report.empty()) metadata[kInt8] = m.int8_report;
    store(m, metadata);
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
        fail(Fault::usage, "{}: {}; name a run folder whose training has finished, or a weight file", path.string(),
             std::filesystem::exists(path) ? "holds no model" : "no such file or folder");
    return file;
}

ModelFile read_model(const std::filesystem::path& path, const ReadModel& how) {
    WeightFile file = read_weights(weight_file(path), how.mapped);
    if (const std::string why = needed_but_unreadable(file); !why.empty())
        fail(Fault::usage, "{}: {}, which tundra does not read; save the weights as float32", file.path, why);
    if (!file.model.model)
        fail(Fault::usage, "{}: holds {}; this command takes a classifier (ResNet-50, 101 or 152)", file.path,
             file.model.text);
    ModelFile m{.model = std::move(*file.model.model),
                .classes = {},
                .input = {},
                .state = std::move(file.state),
                .lacks = file.model.lacks};
    if (const auto check = file.metadata.find(kBf16Check); check != file.metadata.end()) m.bf16_check = check->second;
    join_int8(file, m.state, m.model.int8, [&] { return m.model; });
    if (const auto report = file.metadata.find(kInt8); report != file.metadata.end()) m.int8_report = report->second;
    for (const std::string& text : file.notes) m.notes.push_back(fmt::format("{}: {}", file.path, text));
    StatedPreprocessing stated =
        preprocessing_of(file.metadata, m.model.name.ends_with("-keras"), how.input, file.path);
    m.input = stated.used;
    m.normalize_assumed = stated.normalize_assumed;
    if (how.initial && !m.model.int8.empty())
        fail(Fault::usage, "{}: is quantized, so it can only predict; train from its original", file.path);
    if (how.initial) return m;
    if (!stated.note.empty()) m.notes.push_back(fmt::format("{}: input {}", file.path, stated.note));
    if (!m.lacks.empty())
        fail(Fault::usage, "{}: holds {}: {}; `tundra train --init` takes it", file.path, file.model.text, m.lacks);
    const auto found = file.metadata.find("activation");
    const std::string activation = found == file.metadata.end() ? "" : found->second;
    if (m.model.classes > 1 && activation == "sigmoid")
        fail(Fault::usage,
             "{}: its {} outputs are sigmoids, so that an image may have several classes or none; tundra's classes "
             "exclude each other",
             file.path, m.model.classes);
    if (m.model.classes == 1 && activation == "softmax")
        fail(Fault::usage, "{}: its one output is a softmax, which is 1 for every image", file.path);
    if (m.model.classes == 1) {
        make_two_outputs(m.model, m.state);
        m.notes.push_back(
            fmt::format("{}: has one output, whose sigmoid is taken as the probability of the second of "
                        "two classes",
                        file.path));
    }
    take_classes(m, file, how.input.classes);
    return m;
}

void check_numbers(const Model& model, const StateDict& state, const std::string& where) {
    const std::set<std::string_view> layers = layers_of(model);
    for (const auto& [name, tensor] : state)
        if (!model.int8.empty() || is_of(layers, name))
            if (const std::string number = bad_number(name, tensor); !number.empty())
                fail(Fault::damaged, "{}: {}; download or train the weights again", where, number);
}
